"""Sizes of engines that plan in place: what is shipped is what the table gives, and it describes the table."""

from math import log

import numpy as np
import pytest

from hw_models.calibration.engines import family_of
from hw_models.calibration.sizes import PLANS_IN_PLACE, fitted_sizes, size_rows
from hw_models.runtime import DEFAULT_RUNTIME, load_runtime


@pytest.mark.parametrize("name", PLANS_IN_PLACE)
def test_what_is_shipped_is_fitted_on_the_table(name: str) -> None:
    shipped, fitted = load_runtime(name), fitted_sizes(name, load_runtime(DEFAULT_RUNTIME))
    assert shipped.memory == fitted["memory"]
    assert shipped.flash == fitted["flash"]


def test_interpreters_have_no_such_sizes() -> None:
    assert fitted_sizes("tflm-cmsis-nn-2020", load_runtime(DEFAULT_RUNTIME)) == {}


def test_images_and_arenas_of_the_table() -> None:
    model = fitted_sizes("stm32cubeai-7", load_runtime(DEFAULT_RUNTIME))
    memory, flash = model["memory"], model["flash"]
    images, arenas = [], []
    for row in size_rows():
        if family_of(row["runtime"]) != "stm32cubeai-7" or row["dtype"] != "int8" or not row["planned_bytes"]:
            continue
        operators, channels = float(row["operators"]), float(row["channels"])
        image = float(row["constant_bytes"]) + flash.engine_bytes
        image += flash.operator_bytes * operators + flash.channel_bytes * channels
        images.append(abs(log(image / float(row["flash_total_bytes"]))))
        arena = float(row["planned_bytes"]) + memory.base_bytes + memory.operator_bytes * operators
        arenas.append(log(arena / float(row["ram_total_bytes"])))
    assert len(images) >= 25
    assert np.mean(images) < 0.05
    assert np.sqrt(np.mean(np.square(arenas))) == pytest.approx(memory.log_std, abs=1e-3)
    assert memory.log_std < 0.15


def test_constants_are_what_the_engine_printed() -> None:
    # Exact to a few bytes where the table prints bytes; rows printed in KiB are rounded.
    printed = [
        float(row["constant_bytes"]) / float(row["flash_weights_bytes"])
        for row in size_rows()
        if family_of(row["runtime"]) == "stm32cubeai-7" and row["flash_weights_bytes"]
    ]
    assert np.median(np.abs(np.array(printed) - 1)) < 0.001
