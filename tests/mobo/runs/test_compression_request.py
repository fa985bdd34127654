"""What a request makes of a run's config, on a made-up run: nothing is trained."""

from pathlib import Path
from typing import Any

import pytest

from mobo.runs.compression_request import CompressionError, CompressionRequest, compression_config
from mobo.runs.pick import Limit, PickError
from mobo.runs.record import RunRecord, read_run
from mobo.tinyml.config import StudyConfig
from tests.mobo.synthetic_run import CONFIG, MadeUp, make_run

OWN, OTHER = "nucleo-l4r5zi", "nucleo-f446re"


def record(path: Path, config: str = CONFIG) -> RunRecord:
    return read_run(make_run(path / "run", (MadeUp(width=8),), config_toml=config).path)


def made(of: RunRecord, device: str = OWN, **request: Any) -> StudyConfig:
    return compression_config(of, 0, CompressionRequest(device=device, **request))


def test_the_own_board_keeps_engine_and_clock_and_another_one_does_not(tmp_path: Path) -> None:
    config = CONFIG.replace('runtime = "tflm-cmsis-nn"', 'runtime = "tflm-reference"\nclock_mhz = 80.0')
    run = record(tmp_path, config)
    assert (made(run).device.runtime, made(run).device.clock_mhz) == ("tflm-reference", 80.0)
    assert (made(run, OTHER).device.runtime, made(run, OTHER).device.clock_mhz) == (None, None)
    asked = made(run, runtime="mobo-c", clock_mhz=40.0).device
    assert (asked.runtime, asked.clock_mhz) == ("mobo-c", 40.0)


def test_a_limit_takes_the_place_of_the_constraint_on_the_same_cost(tmp_path: Path) -> None:
    run = record(tmp_path)
    limits = (Limit("ram_bytes", 70000.0, "asked"), Limit("latency_ms", 5.0, "asked"))
    bounds = {item.name: item.upper for item in made(run, limits=limits).constraints}
    assert bounds == {"ram_bytes": 70000, "latency_ms": 5}


def test_a_bound_that_no_board_decides_holds_on_every_board(tmp_path: Path) -> None:
    bound = '[[constraints]]\nname = "download_bytes"\nupper = 4096\n'
    run = record(tmp_path, CONFIG + bound)
    assert {item.name for item in made(run).constraints} == {"ram_bytes", "download_bytes"}
    assert {item.name for item in made(run, OTHER).constraints} == {"download_bytes"}


def test_the_runs_own_loop_is_the_default_and_a_fixed_one_gives_way_to_the_agent(tmp_path: Path) -> None:
    greedy = record(tmp_path / "a", CONFIG + '[compression]\nmethod = "greedy"\nevaluations = 7\nmin_keep = 0.5\n')
    found = made(greedy).compression
    assert (found.method, found.evaluations, found.min_keep) == ("greedy", 7, 0.5)
    changed = made(greedy, method="random", evaluations=3, min_keep=0.25, weight_bits=(8,)).compression
    assert (changed.method, changed.evaluations, changed.min_keep, changed.weight_bits) == ("random", 3, 0.25, (8,))
    fixed = CONFIG + '[compression]\nmethod = "fixed"\nschedule = "iterative"\nscope = "global"\n[space]\nkeep = 0.5\n'
    run = record(tmp_path / "b", fixed)
    found = made(run).compression
    assert (found.method, found.schedule, found.scope) == ("sac", "one-shot", "local")
    assert made(run, method="uniform").compression.scope == "global"
    assert "keep" not in made(run).space


def test_the_name_holds_study_trial_and_board(tmp_path: Path) -> None:
    board = tmp_path / "boards.toml"
    board.write_text(
        '[my-board]\nboard = "Mine"\nmcu = "X"\ncore = "cortex-m4"\nclock_mhz = 60\nflash_kib = 256\n'
        'sram_kib = 64\nfpu = "single"\nsource = "data sheet"\n'
    )
    found = made(record(tmp_path), "my-board", device_file=board)
    assert (found.name, found.trials) == ("made-up-0-my-board", 1)


def test_unknown_methods_and_impossible_limits_are_refused(tmp_path: Path) -> None:
    run = record(tmp_path)
    with pytest.raises(CompressionError, match="unknown method 'greed'; did you mean 'greedy'"):
        made(run, method="greed")
    with pytest.raises(PickError, match="must be a number greater than 0"):
        made(run, limits=(Limit("ram_bytes", float("nan"), "asked"),))
