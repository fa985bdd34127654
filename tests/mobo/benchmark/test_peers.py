"""What every peer promises: our two verbs, on every kind of space."""

import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mobo.benchmark.contestants import build_contestant, contestant_settings
from mobo.benchmark.errors import BenchmarkError
from mobo.benchmark.peers import PEERS
from mobo.benchmark.problems import build_problem
from mobo.samplers import SAMPLERS, Sampler
from mobo.samplers.sobol import sobol_designs
from mobo.space.problem import Problem
from mobo.space.search_space import Design
from mobo.space.trial import Trial, TrialState
from mobo.study.evaluation import evaluated

# Every peer with settings that keep the suite quick; two take seconds a suggestion and are in the slow suite.
QUICK: dict[str, dict[str, object]] = {
    "ax_user": {},
    "optuna_gp": {"startup_trials": 4},
    "optuna_nsga2": {"population_trials": 3},
    "optuna_tpe": {"startup_trials": 4},
    "pymoo_nsga2": {"population_trials": 3},
}
EVERY = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in ("ax_user", "optuna_gp") else ()) for name in QUICK]
)


def test_every_peer_is_tested_and_no_name_is_ours_too() -> None:
    assert set(QUICK) == set(PEERS)
    assert not set(PEERS) & set(SAMPLERS)


def steps(name: str, problem: Problem, *, count: int, seed: int = 0) -> Iterator[Trial]:
    """Run a peer: four designs of a start, then its own."""
    peer: Sampler = build_contestant(name, problem, seed=seed, settings=QUICK[name])
    start = sobol_designs(problem.space, seed=3, start=0, count=4)
    for number in range(4 + count):
        design = start[number] if number < 4 else peer.suggest(1)[0]
        trial = evaluated(problem, Trial(number=number, design=design, seed=number))
        # One failed and one refused before training among the start.
        if number == 1:
            trial = replace(trial, state=TrialState.FAILED, outcome={})
        if number == 2:
            trial = replace(trial, state=TrialState.INFEASIBLE, outcome={"ram_bytes": 9e9})
        peer.observe([trial])
        yield trial


@EVERY
def test_designs_belong_to_a_mixed_conditional_space_with_constraints(name: str) -> None:
    problem = build_problem("toy_network")
    designs = [trial.design for trial in steps(name, problem, count=3)]
    for design in designs:
        problem.space.check(design)
    assert len(set(designs)) > 4


@EVERY
def test_the_same_seed_gives_the_same_designs(name: str) -> None:
    problem = build_problem("branin_currin")
    first, again = ([trial.design for trial in steps(name, problem, count=3)] for _ in range(2))
    assert first == again


@EVERY
def test_a_peer_learns_from_what_it_is_told(name: str) -> None:
    # Same start, same seed, other outcomes of the start: a sampler that listens proposes something else, at the latest
    # in its second proposal (Ax's first after trials of another source is still a Sobol point).
    problem = build_problem("zdt1", {"dim": 3})

    def proposals(sign: float) -> list[Design]:
        peer = build_contestant(name, problem, seed=0, settings=QUICK[name])
        designs = sobol_designs(problem.space, seed=3, start=0, count=6)
        told = [
            Trial(number=n, design=design, seed=n, state=TrialState.DONE, outcome={"f1": sign * n, "f2": sign * n**2})
            for n, design in enumerate(designs)
        ]
        peer.observe(told)
        first = peer.suggest(1)
        outcome = {"f1": sign * 7.0, "f2": sign * 7.0}
        peer.observe([Trial(number=6, design=first[0], seed=6, state=TrialState.DONE, outcome=outcome)])
        return [*first, *peer.suggest(1)]

    assert proposals(1.0) != proposals(-1.0)


def test_a_missing_package_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(BenchmarkError, match=r"'optuna' is needed here and not installed.*tinyml-mobo-rl\[peers\]"):
        build_contestant("optuna_tpe", build_problem("zdt1"), seed=0, settings={})


def test_settings_of_peers_are_checked() -> None:
    with pytest.raises(BenchmarkError, match="population_trials"):
        contestant_settings("pymoo_nsga2", {"population_trials": 1})
    with pytest.raises(BenchmarkError, match=r"setting of peer 'pymoo_nsga2'.*population_trials"):
        contestant_settings("pymoo_nsga2", {"population": 10})
