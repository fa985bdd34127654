import shutil
import struct
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from mobo.export.c.memory import plan_arena
from mobo.export.errors import ExportError, MissingToolError
from mobo.export.firmware import toolchain
from mobo.export.firmware.elf import constant_bytes, read_image
from mobo.export.firmware.emulator import EmulatedCore, instruction_count, load_unicorn
from mobo.export.firmware.image import build_firmware, run_emulated
from mobo.export.firmware.toolchain import Compiler
from tests.mobo.export.c.projects import STORED, layer_networks, packed_network, vectors, write_project
from tests.mobo.export.quantised_networks import family

CORES = ("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")
LAYERS = layer_networks()
needs_emulator = pytest.mark.skipif(find_spec("unicorn") is None, reason="no emulator: pip install unicorn")


# The wide path is one with DSP instructions and one without; the other cores of each kind have it in the slow tests.
@needs_emulator
@pytest.mark.parametrize(
    ("core", "activation_bits"),
    [
        pytest.param(core, bits, marks=() if len(bits) == 1 or core in ("cortex-m0", "cortex-m4") else pytest.mark.slow)
        for core in CORES
        for bits in ((8,), (16, 8, 8))
    ],
)
def test_a_core_computes_what_the_integer_interpreter_computes(core, activation_bits, compiler, tmp_path):
    network = family("depthwise", bits=(8, 4), activation_bits=activation_bits)
    inputs, expected = vectors(network, 3)
    image = build_firmware(write_project(network, tmp_path), core, compiler=compiler)
    found = run_emulated(image, core, inputs, expected.shape[1])
    np.testing.assert_array_equal(found.outputs, expected)
    np.testing.assert_array_equal(found.classes, expected.argmax(axis=1))
    assert image.sizes["arena"] == plan_arena(network.graph).bytes
    assert 64 <= found.stack_bytes < 1024
    assert found.instructions.min() > network.graph.macs


@needs_emulator
@pytest.mark.slow
@pytest.mark.parametrize("core", ["cortex-m0", "cortex-m7", "cortex-m33"])
@pytest.mark.parametrize(("bits", "stored"), STORED)
def test_every_stored_width_on_other_cores(core, bits, stored, compiler, tmp_path):
    network = packed_network(bits, stored)
    inputs, expected = vectors(network, 3)
    image = build_firmware(write_project(network, tmp_path), core, compiler=compiler)
    np.testing.assert_array_equal(run_emulated(image, core, inputs, expected.shape[1]).outputs, expected)
    assert image.sizes["arena"] == plan_arena(network.graph).bytes


@needs_emulator
@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_on_the_dsp_path(name, compiler, tmp_path):
    inputs, expected = vectors(LAYERS[name], 4)
    image = build_firmware(write_project(LAYERS[name], tmp_path), "cortex-m4", compiler=compiler)
    found = run_emulated(image, "cortex-m4", inputs, expected.shape[1])
    np.testing.assert_array_equal(found.outputs, expected)


@needs_emulator
@pytest.mark.slow
@pytest.mark.parametrize("core", CORES)
def test_a_network_with_branches_computes_the_same(core, compiler, tmp_path):
    network = family("residual", activation_bits=(8, 16))
    inputs, expected = vectors(network, 3)
    image = build_firmware(write_project(network, tmp_path), core, compiler=compiler)
    np.testing.assert_array_equal(run_emulated(image, core, inputs, expected.shape[1]).outputs, expected)


@needs_emulator
def test_instruction_counts_are_repeatable_and_the_dsp_path_saves_some(compiler, tmp_path):
    network = LAYERS["conv w8 even channels, stride 2"]
    inputs, expected = vectors(network, 2)
    project = write_project(network, tmp_path)
    counts = {}
    for core in ("cortex-m3", "cortex-m4"):
        images = [build_firmware(project, core, compiler=compiler) for _ in "ab"]
        counts[core] = [run_emulated(image, core, inputs, expected.shape[1]).instructions for image in images]
    for first, second in counts.values():
        np.testing.assert_array_equal(first, second)
    assert counts["cortex-m4"][0][0] < counts["cortex-m3"][0][0]


@needs_emulator
def test_an_image_that_jumps_into_nowhere_is_reported_with_its_address(compiler, tmp_path):
    project = write_project(LAYERS["dense w8"], tmp_path)
    # Not every linker can be told to keep a function that nobody calls; what main reads, all of them keep.
    main = (
        "typedef void (*function)(void);\nint wild(void);\nint8_t scores[1];\n"
        "int wild(void) { ((function)0x60000001)(); return 0; }\n"
        "static int (*const volatile kept)(void) = wild;\nint main(void) { for (;;) { (void)kept; } }\n"
    )
    (project / "bare_metal/main.c").write_text("#include <stdint.h>\n" + main)
    image = build_firmware(project, "cortex-m4", compiler=compiler, flags=("-O1",))
    machine = EmulatedCore(image, "cortex-m4")
    with pytest.raises(ExportError, match="failed on the emulated cortex-m4 at address 0x60000000"):
        machine.call("wild")
    with pytest.raises(ExportError, match="no symbol 'model_input'"):
        machine.call("model_input")


@needs_emulator
def test_an_unknown_core_offers_the_nearest(compiler, tmp_path):
    image = build_firmware(write_project(LAYERS["dense w8"], tmp_path), "cortex-m3", compiler=compiler)
    with pytest.raises(ExportError, match="cortex-m4"):
        EmulatedCore(image, "cortex-m5")


def test_thumb_instructions_are_counted_by_their_first_halfword():
    # push {r4, lr}; bl <4 bytes>; mov.w (32 bits); bx lr
    assert instruction_count(bytes.fromhex("10b5 fff7fefe 4ff00100 7047")) == 4


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF\x02\x01" + bytes(60), b"MZ" + bytes(60)])
def test_foreign_bytes_are_no_image(data):
    with pytest.raises(ExportError, match="no 32-bit little-endian ARM executable"):
        read_image(data)


def test_the_compiler_can_be_named(monkeypatch):
    here = {"gcc": toolchain.Compiler(("arm-none-eabi-gcc",)), "ziglang": toolchain.Compiler(("zig",), is_zig=True)}
    monkeypatch.setattr(toolchain, "arm_compilers", lambda: here)
    monkeypatch.delenv("MOBO_ARM_COMPILER", raising=False)
    assert toolchain.arm_compiler() is here["gcc"]
    monkeypatch.setenv("MOBO_ARM_COMPILER", "ziglang")
    assert toolchain.arm_compiler() is here["ziglang"]
    monkeypatch.setenv("MOBO_ARM_COMPILER", "armcc")
    with pytest.raises(ExportError, match="MOBO_ARM_COMPILER asks for 'armcc'; on this machine are: gcc, ziglang"):
        toolchain.arm_compiler()


def test_missing_tools_are_named_with_what_installs_them(monkeypatch):
    monkeypatch.setattr(toolchain, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingToolError, match="gcc-arm-none-eabi"):
        toolchain.arm_compiler()
    with pytest.raises(MissingToolError, match="apt-get install gcc"):
        toolchain.host_compiler()
    monkeypatch.setitem(sys.modules, "unicorn", None)
    with pytest.raises(MissingToolError, match=r"pip install .*verify"):
        load_unicorn()


def test_kept_objects_give_the_same_image_and_change_with_what_they_include(compiler: Compiler, tmp_path: Path) -> None:
    objects = tmp_path / "objects"
    objects.mkdir()
    project = write_project(LAYERS["depthwise w8"], tmp_path / "project")
    apart = build_firmware(project, "cortex-m4", compiler=compiler)
    kept = build_firmware(project, "cortex-m4", compiler=compiler, objects=objects)
    assert kept.segments == apart.segments
    made = {path.name for path in objects.iterdir()}
    build_firmware(project, "cortex-m4", compiler=compiler, objects=objects)
    assert {path.name for path in objects.iterdir()} == made
    # A larger window is in a header alone; the kernel that includes it must be compiled anew, the others not.
    config = project / "kernels/mobo_config.h"
    config.write_text(config.read_text().replace("MOBO_MOST_TAPS 9", "MOBO_MOST_TAPS 25"))
    larger = build_firmware(project, "cortex-m4", compiler=compiler, objects=objects)
    assert larger.segments == build_firmware(project, "cortex-m4", compiler=compiler).segments != apart.segments
    assert len({path.name for path in objects.iterdir()} - made) == 1


def test_code_and_constants_of_an_object_file_are_counted_without_variables() -> None:
    # Sections: none, code, a variable, constants, symbols; 40 bytes each behind the head of 52.
    kinds = ((0, 0, 0), (1, 2, 10), (1, 3, 100), (1, 2, 7), (2, 2, 1000))
    head = b"\x7fELF\x01\x01" + bytes(12) + struct.pack("<H", 40) + bytes(12) + struct.pack("<I", 52)
    head += bytes(46 - len(head)) + struct.pack("<HH", 40, len(kinds)) + bytes(2)
    sections = b"".join(struct.pack("<7I", 0, kind, flags, 0, 0, size, 0) + bytes(12) for kind, flags, size in kinds)
    assert constant_bytes(head + sections) == 17
    with pytest.raises(ExportError, match="damaged"):
        constant_bytes(head + sections[:-20])
    with pytest.raises(ExportError, match="no 32-bit little-endian ARM"):
        constant_bytes(b"nothing")
