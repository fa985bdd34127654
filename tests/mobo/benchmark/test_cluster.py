"""Cells away from the benchmark's folder: what goes out with them, what comes back, and that it is the same."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mobo.benchmark import cluster, folder
from mobo.benchmark.cell_record import CellState
from mobo.benchmark.run import run_benchmark
from mobo.space.trial import Trial
from tests.mobo.benchmark.small_benchmarks import config, cut_short, kept, only_cell
from tests.mobo.worker_tasks import InThisProcess


class Elsewhere(InThisProcess):
    """Ray's workers, in this process."""

    def __init__(self, build: Any, *, jobs: int, address: str, on_note: Any) -> None:
        super().__init__(build, jobs=jobs)
        assert address == "head:6379"


def designs_of(out: Path) -> list[tuple[str, tuple[Trial, ...]]]:
    return [
        (str(cell.record.key), tuple(replace(trial, times_s={}) for trial in cell.trials))
        for cell in folder.read_cells(out)
    ]


def test_a_benchmark_on_a_cluster_keeps_what_one_here_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "RayWorkers", Elsewhere)
    asked = config(seeds=[0, 1], samplers=["sobol", "nsga2"])
    here, there = tmp_path / "here", tmp_path / "there"
    for out, address in ((here, None), (there, "head:6379")):
        results = run_benchmark(asked, out, jobs=1, on_result=lambda cell, result: None, cluster=address)
        assert [result.state for result in results] == [CellState.DONE] * 4
    assert designs_of(here) == designs_of(there)


def test_a_worker_goes_on_where_a_cell_was_interrupted(tmp_path: Path) -> None:
    cell = only_cell(tmp_path / "here", samplers=["nsga2"])
    sent = cluster.SentCell(cell, None, ())
    whole = cluster.cell_runner()(pickle.loads(pickle.dumps(sent)))  # noqa: S301 - its own
    assert cluster._kept(cell).record is None
    assert whole.result is not None
    assert whole.result.state is CellState.DONE
    cluster._keep(cell, whole)
    assert kept(cell).trials == whole.trials
    some = cut_short(cell, 3)
    again = cluster.cell_runner()(cluster._kept(cell))
    assert again.trials[:3] == some
    assert [trial.times_s for trial in again.trials[:3]] == [trial.times_s for trial in some]
    assert again.trials == whole.trials


@pytest.mark.slow
def test_two_nodes_run_the_cells_of_a_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    from tests.mobo.base.test_ray_workers import two_nodes

    asked = config(seeds=[0, 1, 2, 3])
    nodes = two_nodes()
    try:
        run_benchmark(
            asked, tmp_path / "there", jobs=2, on_result=lambda cell, result: None, cluster=str(nodes.address)
        )
    finally:
        nodes.shutdown()
    monkeypatch.setattr(cluster, "RayWorkers", Elsewhere)
    run_benchmark(asked, tmp_path / "here", jobs=1, on_result=lambda cell, result: None, cluster="head:6379")
    assert designs_of(tmp_path / "here") == designs_of(tmp_path / "there")
