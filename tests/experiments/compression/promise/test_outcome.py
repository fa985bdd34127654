"""Targets and the page, from results that nobody measured."""

from dataclasses import replace

import pytest

from experiments.compression.promise.bootstrap import Difference
from experiments.compression.promise.config import PromiseConfig
from experiments.compression.promise.markdown import table
from experiments.compression.promise.outcome import Outcome, targets, verdict
from experiments.compression.promise.page import page
from experiments.compression.promise.run import FLOAT, INT8, OURS, WIDTH, Choices
from tests.experiments.compression.promise.small import small_promise

COSTS = {"ram_bytes": "4096", "energy_uj": "50", "float_validation_error": "0.02", "download_bytes": "900"}


def made(
    config: PromiseConfig,
    *,
    flash_ratio: float = 25.0,
    latency_ratio: float = 6.0,
    high: float = 0.5,
    lead: float = -1.0,
) -> Outcome:
    """Return an outcome of one seed: our model takes 1,000 bytes and 1 ms."""
    ours = {"flash_model_bytes": "1000", "latency_ms": "1", "validation_error": "0.02"}
    int8 = {
        "flash_model_bytes": "6000",
        "float_flash_bytes": str(1000 * flash_ratio),
        "latency_ms": str(latency_ratio),
        "validation_error": "0.03",
    }
    return Outcome(
        config=config,
        choices=Choices("lr 0.003", "half", 4, 0.25, {}),
        rows={INT8: [int8 | COSTS], OURS: [ours | COSTS], WIDTH: [ours | COSTS]},
        test_errors={FLOAT: 0.02, INT8: 0.03, OURS: 0.025, WIDTH: 0.035},
        loss=Difference(0.5, -0.5, high),
        against_width=Difference(lead, -2.0, 0.5),
        group_count=7,
        are_groups_known=True,
    )


def networks(*kinds: str) -> list[PromiseConfig]:
    return [small_promise(f"name=n{number}", f"kind={kind}") for number, kind in enumerate(kinds)]


def test_every_target_is_met_missed_or_open() -> None:
    configs = networks("typical", "typical", "small")
    outcomes = [made(configs[0]), made(configs[2], flash_ratio=7.9)]
    verdicts = dict(targets(configs, outcomes))
    assert list(verdicts.values()) == [
        "open (1 of 1 run)", "missed (0 of 1 run)", "open (2 of 2 run)", "open (2 of 2 run)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({}, (True, True, True)),
        ({"flash_ratio": 19.9}, (False, True, True)),
        ({"latency_ratio": 4.9}, (True, False, True)),
        ({"lead": 0.1}, (True, True, False)),
        # What loses meets no target of size or speed, however small it is.
        ({"high": 1.01}, (False, False, True)),
        ({"high": 1.0}, (True, True, True)),
    ],
)
def test_small_and_fast_count_at_no_loss_only(changes: dict[str, float], met: tuple[bool, bool, bool]) -> None:
    outcome = made(networks("typical")[0], **changes)
    assert (outcome.is_flash_met, outcome.is_latency_met, outcome.is_better_than_width) == met


@pytest.mark.parametrize(
    ("met", "needed", "asked", "expected"),
    [
        ([], 3, 5, "open (0 of 0 run)"),
        ([True, True, True], 3, 5, "met (3 of 3 run)"),
        ([False, False], 3, 5, "open (0 of 2 run)"),
        ([False, False, False], 3, 5, "missed (0 of 3 run)"),
    ],
)
def test_a_verdict_waits_as_long_as_it_may_change(met: list[bool], needed: int, asked: int, expected: str) -> None:
    assert verdict(met, needed, asked) == expected


def test_the_page_gives_ratios_intervals_and_the_assumed_power() -> None:
    config = networks("typical")[0]
    text = page([config], [replace(made(config), are_groups_known=False)], {})
    assert "| digits, tiny | 1 | none: 7 samples | 2.00 | 3.00 | 2.50 | +0.50 [-0.50, +0.50] | yes |" in text
    assert "| 25,000 | 1,000 | 25.0 (20) | 6,000 | 6.0 -> 1.0 | 6.0 |" in text
    # 0.25 ms at 22 W are 5,500 uJ, 110 times the board's 50.
    assert "| digits, tiny | 0.25 | 5,500 | 50 | 110 |" in text
    assert "Not finished" not in text


def test_a_table_has_a_line_per_row() -> None:
    assert table(["a", "b"], [["1", "2"], ["3", "4"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |"


def test_a_stopped_run_shows_what_it_measured() -> None:
    rows = [
        {"step": "baseline", "label": "lr 0.003", "message": ""} | cell
        for cell in (
            {
                "float_validation_error": "0.02",
                "validation_error": "0.03",
                "flash_model_bytes": "6000",
                "latency_ms": "4",
            },
            {
                "float_validation_error": "0.04",
                "validation_error": "0.05",
                "flash_model_bytes": "6000",
                "latency_ms": "5",
            },
        )
    ]
    failed = {"step": "ladder", "label": "tiny", "message": "the loss is nan", "validation_error": ""}
    text = page(networks("typical"), [], {"digits, tiny": [*rows, failed]})
    assert "Not finished: digits, tiny." in text
    assert "## digits, tiny: stopped" in text
    assert "| baseline | lr 0.003 | 2 | 3.00 | 4.00 | 6,000 | 4.5 |" in text
    assert "| ladder |" not in text
