from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from envs.search.registry import method_names
from experiments.compression import agent_comparison
from experiments.compression.agent_comparison import (
    COLUMNS,
    ERRORS,
    KEY,
    METHODS,
    MORE,
    SETUPS,
    ratio_text,
    run,
    summary,
    tasks,
)
from mobo.base.rows import RowFile

ROWS_PER_NETWORK = len(METHODS) + 1


def row(network: str, seed: int, method: str, error: float, evaluations: int = 8) -> dict[str, str]:
    values = dict.fromkeys(COLUMNS, "0") | {"network": network, "seed": str(seed), "method": method}
    return (
        values | {"evaluations": str(evaluations)} | dict(zip(ERRORS, map(str, (error, error, error / 2)), strict=True))
    )


def test_the_methods_compared_exist() -> None:
    assert set(METHODS) <= set(method_names())


def rows_of(folder: Path, evaluations: int) -> RowFile:
    return RowFile(folder / f"evaluations-{evaluations}.csv", key=KEY, columns=COLUMNS)


def test_every_seed_network_and_method_has_a_task() -> None:
    every = list(tasks(seeds=2, evaluations=8))
    assert len(every) == len(set(every)) == 2 * len(SETUPS) * ROWS_PER_NETWORK
    assert sum(count == MORE * 8 for *_, count in every) == 2 * len(SETUPS)


def test_the_committed_rows_are_those_of_the_committed_page() -> None:
    folder = Path(__file__).parents[3] / "results" / "compression" / "agent_comparison"
    assert summary(rows_of(folder, 64)) == (folder / "evaluations-64.md").read_text(encoding="utf-8")


def test_summary_gives_mean_and_spread_in_percent() -> None:
    # 10 % and 30 %: mean 20, sample standard deviation sqrt(200) = 14.14.
    text = summary([row("residual", 0, "sac", 0.1), row("residual", 1, "sac", 0.3)])
    assert "| residual | sac 8 | 2 | 20.00 ± 14.14 | 20.00 ± 14.14 | 10.00 ± 7.07 |" in text


def test_ratios_pair_methods_on_the_same_network_and_name_the_best_rival() -> None:
    rows = [row("residual", 0, "sac", 0.02), row("residual", 0, "greedy", 0.04), row("residual", 0, "uniform", 0.1)]
    rows += [row("residual", 1, "greedy", 0.5)]
    text = summary(rows)
    assert "| residual | greedy 8 | 1 | 0.50 | 0.50 | 0.50 |" in text
    assert "| residual | best | 1 | 0.50 | 0.50 | 0.50 |" in text


def test_the_interval_of_a_ratio_holds_it_and_is_none_where_all_seeds_agree() -> None:
    assert ratio_text(pd.Series([0.1, 0.2, 0.3]), pd.Series([0.2, 0.4, 0.6])) == "0.50 (0.50 to 0.50)"
    # One seed of two says 0.5, the other 2: resampled, the ratio of means is anything between.
    assert ratio_text(pd.Series([0.1, 0.2]), pd.Series([0.2, 0.1])) == "1.00 (0.50 to 2.00)"


def test_a_stopped_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[tuple[int, str, int]] = []

    def measure(prepared: object, *, seed: int, method: str, evaluations: int) -> dict[str, object]:
        if len(measured) == 5:
            raise KeyboardInterrupt
        measured.append((seed, method, evaluations))
        return dict(row("", seed, method, 0.1, evaluations)) | dict.fromkeys(ERRORS, 0.1)

    def ready(network: str, seed: int) -> None:
        return None

    monkeypatch.setattr(agent_comparison, "ready", ready)
    monkeypatch.setattr(agent_comparison, "measure", measure)
    monkeypatch.setattr(agent_comparison, "SETUPS", {"residual": SETUPS["residual"]})
    quiet = Console(quiet=True)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, seeds=1, evaluations=3, console=quiet)
    assert len(rows_of(tmp_path, 3)) == 5
    first, measured[:] = list(measured), []
    rows = run(tmp_path, seeds=1, evaluations=3, console=quiet)
    assert [*first, *measured] == [task[1:] for task in tasks(seeds=1, evaluations=3)]
    assert {entry["network"] for entry in rows} == {"residual"}
    assert "| residual | sac 3 |" in (tmp_path / "evaluations-3.md").read_text()
