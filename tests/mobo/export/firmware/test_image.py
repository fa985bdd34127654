"""Compiled files that are kept: the same image, nothing compiled twice, nothing stale."""

import shutil
from pathlib import Path

import pytest

from mobo.export.firmware.image import build_firmware
from tests.mobo.export.c.projects import layer_networks, write_project

needs_gcc = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="no gcc for Cortex-M")
NETWORKS = layer_networks()


@needs_gcc
def test_kept_objects_give_the_same_image_and_change_with_what_they_include(tmp_path: Path) -> None:
    objects = tmp_path / "objects"
    objects.mkdir()
    project = write_project(NETWORKS["depthwise w8"], tmp_path / "project")
    apart = build_firmware(project, "cortex-m4")
    kept = build_firmware(project, "cortex-m4", objects=objects)
    assert kept.segments == apart.segments
    made = {path.name for path in objects.iterdir()}
    build_firmware(project, "cortex-m4", objects=objects)
    assert {path.name for path in objects.iterdir()} == made
    # A larger window is in a header alone; the kernel that includes it must be compiled anew, the others not.
    config = project / "kernels/mobo_config.h"
    config.write_text(config.read_text().replace("MOBO_MOST_TAPS 9", "MOBO_MOST_TAPS 25"))
    larger = build_firmware(project, "cortex-m4", objects=objects)
    assert larger.segments == build_firmware(project, "cortex-m4").segments != apart.segments
    assert len({path.name for path in objects.iterdir()} - made) == 1
