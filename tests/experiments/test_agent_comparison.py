from pathlib import Path

import pytest
from rich.console import Console

from envs.policy_search import method_names
from experiments import agent_comparison
from experiments.agent_comparison import COLUMNS, LEVELS, as_csv, missing, read_rows, run, summary


def row(seed: int, level: float, method: str, error: float) -> dict[str, str]:
    values = dict.fromkeys(COLUMNS, "0")
    return values | {
        "seed": str(seed),
        "level": str(level),
        "method": method,
        "reward_error": str(error),
        "validation_error": str(error / 2),
    }


def test_rows_survive_the_file(tmp_path: Path) -> None:
    rows = [row(0, LEVELS[0], "sac", 0.1), row(1, LEVELS[1], "random", 0.2)]
    (tmp_path / "rows.csv").write_text(as_csv(rows))
    assert read_rows(tmp_path / "rows.csv") == rows
    assert read_rows(tmp_path / "absent.csv") == []


def test_only_what_is_missing_is_measured() -> None:
    every = list(missing([], seeds=2))
    assert len(every) == len(set(every)) == 2 * len(LEVELS) * len(method_names())
    rows = [row(seed, level, method, 0.1) for seed, level, method in every[:5]]
    assert list(missing(rows, seeds=2)) == every[5:]


def test_summary_gives_mean_and_spread_in_percent() -> None:
    # 10 % and 30 %: mean 20, sample standard deviation sqrt(200) = 14.14.
    text = summary([row(0, LEVELS[0], "sac", 0.1), row(1, LEVELS[0], "sac", 0.3)])
    assert f"| {LEVELS[0]:g} | sac | 2 | 20.00 ± 14.14 | 10.00 ± 7.07 |" in text


def test_a_stopped_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[tuple[int, float, str]] = []

    def measure(trained: object, *, seed: int, level: float, method: str, evaluations: int) -> dict[str, object]:
        if len(measured) == 5:
            raise KeyboardInterrupt
        measured.append((seed, level, method))
        return dict(row(seed, level, method, 0.1)) | {"reward_error": 0.1, "validation_error": 0.05}

    monkeypatch.setattr(agent_comparison, "prepare", lambda seed: None)
    monkeypatch.setattr(agent_comparison, "measure", measure)
    quiet = Console(quiet=True)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, seeds=1, evaluations=3, console=quiet)
    assert len(read_rows(tmp_path / "evaluations-3.csv")) == 5
    first, measured[:] = list(measured), []
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, seeds=1, evaluations=3, console=quiet)
    second, measured[:] = list(measured), []
    run(tmp_path, seeds=1, evaluations=3, console=quiet)
    assert [*first, *second, *measured] == list(missing([], seeds=1))
    assert (tmp_path / "evaluations-3.md").read_text().count("| sac |") == len(LEVELS)


def test_summary_pairs_methods_on_the_same_network_and_targets() -> None:
    # Differences of the reward error: 1 and 3 points, mean 2, standard error sqrt(2) / sqrt(2) = 1.
    rows = [row(0, LEVELS[0], "sac", 0.02), row(0, LEVELS[0], "greedy", 0.01)]
    rows += [row(1, LEVELS[0], "sac", 0.05), row(1, LEVELS[0], "greedy", 0.02)]
    rows += [row(2, LEVELS[0], "greedy", 0.5)]
    assert "| greedy | 2 | +2.00 ± 1.00 | +1.00 ± 0.50 |" in summary(rows)
