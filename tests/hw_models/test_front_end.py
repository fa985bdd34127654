"""The work of front ends: what is foretold of RAM, tables, instructions and time, and files of it."""

from dataclasses import replace

import pytest

from hw_models.cost import estimate
from hw_models.device import load_device
from hw_models.files import FileError
from hw_models.front_end import (
    FrontEndWork,
    ImageWork,
    MfccWork,
    WindowWork,
    instructions,
    work_from_json,
    work_to_json,
)
from hw_models.runtime import load_runtime
from tests.mobo.synthetic_run import network

MFCC = MfccWork(16000, 16000, 49, 480, 512, 10, 4000.0, 10)
WORKS: dict[str, FrontEndWork] = {
    "mfcc": MFCC,
    "window": WindowWork(128, 3, 3),
    "image": ImageWork((48, 64, 3), (16, 16, 1), 1),
    "image as it is": ImageWork((28, 28, 1), (28, 28, 1), 1),
}


@pytest.mark.parametrize("name", WORKS)
def test_a_work_is_read_back_and_costs_more_on_a_smaller_core(name: str) -> None:
    work = WORKS[name]
    assert work_from_json(work_to_json(work), source="here") == work
    assert instructions(work, "cortex-m0plus") >= instructions(work, "cortex-m4") > 0
    assert instructions(work, "cortex-m55") == instructions(work, "cortex-m33")


def test_the_mfcc_of_keywords_take_what_was_counted() -> None:
    # mobo/export/c/README.md, Front end: 2,128 bytes beside 32,000 of samples, 3,019 of tables.
    assert MFCC.ram_bytes == 2128 + 32000
    assert MFCC.table_bytes == 3019
    for core, counted in (("cortex-m0", 5.43e6), ("cortex-m3", 3.66e6), ("cortex-m4", 3.16e6), ("cortex-m33", 3.16e6)):
        assert instructions(MFCC, core) == pytest.approx(counted, rel=0.05)


@pytest.mark.parametrize("change", [{"step": 2}, {"fft_length": 1024}, {"coefficients": 20}, {"highest_hz": 8000.0}])
def test_less_of_it_costs_less(change: dict[str, float]) -> None:
    other = replace(MFCC, frames=24) if "step" in change else replace(MFCC, **change)
    more = instructions(other, "cortex-m4") - instructions(MFCC, "cortex-m4")
    assert more < 0 if "step" in change else more > 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[]", "is no front end"),
        (b'{"kind": "radar"}', "is no front end"),
        (b'{"kind": "window", "rows": 0, "channels": 3, "stage_rows": 3}', "rows"),
    ],
)
def test_a_damaged_file_is_named(text: bytes, said: str) -> None:
    with pytest.raises(FileError, match=f"somewhere.*{said}"):
        work_from_json(text, source="somewhere")


@pytest.mark.parametrize("board", ["nucleo-l4r5zi", "raspberry-pi-pico"])
def test_a_network_with_its_front_end_costs_the_sum_of_both(board: str) -> None:
    device, runtime, graph = load_device(board), load_runtime("tflm-cmsis-nn"), network(4)
    alone, both = (estimate(graph, device, runtime, front_end=work) for work in (None, WORKS["image"]))
    before = both.front_end
    assert before is not None
    assert alone.front_end is None
    for name, part in (
        ("latency_ms", before.latency_ms),
        ("energy_uj", before.energy_uj),
        ("ram_bytes", before.ram_bytes),
        ("flash_model_bytes", before.flash_bytes),
        ("flash_image_bytes", before.flash_bytes),
        ("macs", 0),
    ):
        assert both.value(name) == pytest.approx(alone.value(name) + part)
    assert both.log_std["ram_bytes"] < alone.log_std["ram_bytes"]
    assert "front_end" not in alone.to_dict()
    assert both.to_dict()["front_end"]["kind"] == "image"
    assert both.at_confidence("latency_ms", 0.9) > both.latency_ms
