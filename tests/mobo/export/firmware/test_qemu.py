"""The C project on the Cortex-M55 of QEMU: bit for bit, counted as by the other emulator, and what is said without it."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from hw_models.device import load_device
from mobo.export.errors import ExportError, MissingToolError
from mobo.export.exported_model import read_export
from mobo.export.firmware import qemu
from mobo.export.firmware.image import build_firmware, run_emulated
from mobo.export.firmware.qemu import build_for_qemu, find_qemu, run_in_qemu
from mobo.export.firmware.toolchain import Compiler
from mobo.export.trial_export import export_trial
from mobo.export.verify import checks
from mobo.runs.record import read_run
from tests.mobo.export.c.projects import layer_networks, vectors, write_project
from tests.mobo.export.exportable_run import SCORED, make_exportable_run
from tests.mobo.export.quantised_networks import family

LAYERS = layer_networks()
needs_qemu = pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason=f"no QEMU: {qemu.INSTALL}")


@needs_qemu
@pytest.mark.parametrize("activation_bits", [(8,), (16, 8, 8)])
def test_the_core_computes_what_the_integer_interpreter_computes(
    activation_bits: tuple[int, ...], compiler: Compiler, tmp_path: Path
) -> None:
    network = family("depthwise", bits=(8, 4), activation_bits=activation_bits)
    inputs, expected = vectors(network, 3)
    found = run_in_qemu(build_for_qemu(write_project(network, tmp_path), compiler=compiler), inputs, expected.shape[1])
    np.testing.assert_array_equal(found.outputs, expected)
    assert found.instructions.min() > network.graph.macs


@needs_qemu
@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer(name: str, compiler: Compiler, tmp_path: Path) -> None:
    inputs, expected = vectors(LAYERS[name], 4)
    image = build_for_qemu(write_project(LAYERS[name], tmp_path), compiler=compiler)
    found = run_in_qemu(image, inputs, expected.shape[1])
    np.testing.assert_array_equal(found.outputs, expected)


@needs_qemu
@pytest.mark.slow
def test_a_network_with_branches_computes_the_same(compiler: Compiler, tmp_path: Path) -> None:
    network = family("residual", activation_bits=(8, 16))
    inputs, expected = vectors(network, 3)
    image = build_for_qemu(write_project(network, tmp_path), compiler=compiler)
    np.testing.assert_array_equal(run_in_qemu(image, inputs, expected.shape[1]).outputs, expected)


@needs_qemu
@pytest.mark.skipif(find_spec("unicorn") is None, reason="no other emulator")
def test_it_counts_what_the_other_emulator_counts(compiler: Compiler, tmp_path: Path) -> None:
    """Both run code for the M33; a read of the counter and the call itself lie between the two."""
    network = LAYERS["conv w8 even channels, stride 2"]
    inputs, expected = vectors(network, 2)
    project = write_project(network, tmp_path)
    image = build_firmware(project, "cortex-m33", compiler=compiler)
    counted = run_emulated(image, "cortex-m33", inputs, expected.shape[1])
    found = run_in_qemu(build_for_qemu(project, "cortex-m33", compiler=compiler), inputs, expected.shape[1])
    np.testing.assert_array_equal(found.outputs, counted.outputs)
    more = found.instructions - counted.instructions
    assert 0 <= more.min() <= more.max() <= 34


@needs_qemu
def test_a_fault_ends_the_run_at_once(compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wild = qemu._MAIN.replace("*counter_control = 1;", "*counter_control = 1;\n  ((void (*)(void))0x50000001)();")
    assert wild != qemu._MAIN
    monkeypatch.setattr(qemu, "_MAIN", wild)
    image = build_for_qemu(write_project(LAYERS["dense w8"], tmp_path), compiler=compiler)
    with pytest.raises(ExportError, match="Lockup"):
        run_in_qemu(image, *_one_input(LAYERS["dense w8"]))


@needs_qemu
def test_inputs_of_another_shape_are_refused(compiler: Compiler, tmp_path: Path) -> None:
    image = build_for_qemu(write_project(LAYERS["dense w8"], tmp_path), compiler=compiler)
    inputs, outputs = _one_input(LAYERS["dense w8"])
    with pytest.raises(ExportError, match="wrote 0 bytes for 1 inputs; they have another shape"):
        run_in_qemu(image, inputs.reshape(1, -1)[:, :-1], outputs)


@needs_qemu
@pytest.mark.usefixtures("compiler")
def test_verifying_lists_the_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _verified(tmp_path, monkeypatch)
    rows = {row.quantity: row for row in found.rows}
    assert rows["samples whose output differs, cortex-m55"].holds
    assert rows["instructions, cortex-m55"].holds is None
    assert rows["instructions_per_mac, cortex-m55"].measured > 1


def test_without_qemu_the_check_is_skipped_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu, "_PROGRAM", "qemu-that-is-not-here")
    found = _verified(tmp_path, monkeypatch)
    assert found.rows == ()
    assert "install it with: apt-get install qemu-system-arm" in found.skipped


def test_a_qemu_without_the_board_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(qemu, "run", lambda command: "mps2-an385  ARM MPS2 with AN385 FPGA image for Cortex-M3\n")
    with pytest.raises(MissingToolError, match=r"QEMU \(6\.0 or later, for its board mps3-an547\) is missing"):
        find_qemu()


def _one_input(network) -> tuple[np.ndarray, int]:
    inputs, expected = vectors(network, 2)
    return inputs[:1], expected.shape[1]


def _verified(folder: Path, monkeypatch: pytest.MonkeyPatch) -> checks.Findings:
    """Return what the check of QEMU alone finds on an exported trial."""
    monkeypatch.setattr(checks, "CHECKS", {"C in QEMU": checks.CHECKS["C in QEMU"]})
    run = make_exportable_run(folder / "run")
    export_trial(read_run(run.path), SCORED, ["c"], folder / "out")
    return checks.verify(read_export(folder / "out"), load_device("nucleo-l4r5zi")).findings[0]
