"""Compiled files that are kept: the same image, nothing compiled twice, nothing stale."""

from pathlib import Path

from mobo.export.firmware.image import build_firmware
from mobo.export.firmware.toolchain import Compiler
from tests.mobo.export.c.projects import layer_networks, write_project

NETWORKS = layer_networks()


def test_kept_objects_give_the_same_image_and_change_with_what_they_include(compiler: Compiler, tmp_path: Path) -> None:
    objects = tmp_path / "objects"
    objects.mkdir()
    project = write_project(NETWORKS["depthwise w8"], tmp_path / "project")
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
