"""Who can take part in a benchmark: our samplers, the user's own, and peers of other libraries with the same verbs."""

from collections.abc import Mapping

from pydantic import BaseModel

from hw_models.errors import unknown_name
from mobo.base.named_settings import checked_settings
from mobo.benchmark.errors import BenchmarkError
from mobo.benchmark.peers import PEERS
from mobo.samplers import SAMPLERS, build_sampler, sampler_settings
from mobo.samplers.base import Sampler
from mobo.samplers.own_class import is_own_class
from mobo.space.problem import Problem

RECORDED_PEERS = ("optuna", "pymoo")
"""Packages whose versions are recorded beside those of a study."""


def contestant_settings(name: str, values: Mapping[str, object]) -> BaseModel:
    """Return the settings of a sampler or peer, checked; a sampler of the user's own is named by its class.

    Raises:
        MoboError: The class of the user's own cannot be imported.
        SamplerError, BenchmarkError: The name or a setting is unknown, or a value is not allowed.
    """
    if _is_sampler(name):
        return sampler_settings(name, values)
    if name not in PEERS:
        raise BenchmarkError(unknown_name("sampler", name, (*SAMPLERS, *PEERS)))
    return checked_settings(f"peer {name!r}", PEERS[name].Settings, values, error=BenchmarkError)


def build_contestant(name: str, problem: Problem, *, seed: int, settings: Mapping[str, object]) -> Sampler:
    """Return a sampler of ours or a peer for a problem.

    Raises:
        SamplerError, BenchmarkError: The name or a setting is unknown, a value is not allowed, or a peer's package is
            not installed.
    """
    if _is_sampler(name):
        return build_sampler(
            name,
            problem.space,
            problem.objectives,
            problem.constraints,
            seed=seed,
            settings=settings,
            known=problem.known,
            work=problem.work,
        )
    checked = contestant_settings(name, settings)
    return PEERS[name].build(problem.space, problem.objectives, problem.constraints, seed=seed, settings=checked)


def can_continue(name: str) -> bool:
    """Return whether a stopped cell can go on: samplers, unlike peers, depend on nothing but the trials shown."""
    return _is_sampler(name)


def _is_sampler(name: str) -> bool:
    return name in SAMPLERS or is_own_class(name)
