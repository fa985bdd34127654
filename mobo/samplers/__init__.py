"""The samplers by name: one dict, one way to build; a user's own class is built in the same way."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pydantic import BaseModel

from hw_models.errors import unknown_name
from mobo.base.errors import SamplerError
from mobo.base.named_settings import checked_settings
from mobo.samplers.ars_mobopt.sampler import ArsEhviSampler, ArsMoboptSampler
from mobo.samplers.ax.sampler import AxSampler
from mobo.samplers.base import BaseSampler, NoSettings, Sampler, SamplerClass
from mobo.samplers.fresh_designs import SPARE_POINTS, fresh_designs
from mobo.samplers.latin_hypercube import LatinHypercubeSampler
from mobo.samplers.morbo.sampler import MorboSampler
from mobo.samplers.nsga2.sampler import NSGA2Sampler
from mobo.samplers.own_class import is_own_class, own_class
from mobo.samplers.polar_ehvi import PolarEhviSampler
from mobo.samplers.qlognehvi import QLogNehviSampler
from mobo.samplers.qparego import QParegoSampler
from mobo.samplers.random import RandomSampler
from mobo.samplers.sobol import SobolSampler
from mobo.samplers.turbo.sampler import TurboSampler
from mobo.space.earlier_study import EarlierStudy
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import SearchSpace
from mobo.space.work import Work

__all__ = [
    "SAMPLERS",
    "SPARE_POINTS",
    "BaseSampler",
    "NoSettings",
    "Sampler",
    "build_sampler",
    "fresh_designs",
    "sampler_class",
    "sampler_names",
    "sampler_settings",
]

SAMPLERS: Mapping[str, SamplerClass] = MappingProxyType(
    {
        "ars_ehvi": ArsEhviSampler,
        "ars_mobopt": ArsMoboptSampler,
        "ax": AxSampler,
        "latin_hypercube": LatinHypercubeSampler,
        "morbo": MorboSampler,
        "nsga2": NSGA2Sampler,
        "polar_ehvi": PolarEhviSampler,
        "qlognehvi": QLogNehviSampler,
        "qparego": QParegoSampler,
        "random": RandomSampler,
        "sobol": SobolSampler,
        "turbo": TurboSampler,
    }
)


def sampler_names() -> tuple[str, ...]:
    """Return the names of all samplers, sorted."""
    return tuple(sorted(SAMPLERS))


def sampler_class(name: str) -> SamplerClass:
    """Return a sampler's class.

    Args:
        name: One of :func:`sampler_names`, or ``package.module:Class`` of the user's own.

    Raises:
        SamplerError: There is no such sampler, or the class is none.
        MoboError: The class cannot be imported.
    """
    if is_own_class(name):
        return own_class(name)
    if name not in SAMPLERS:
        raise SamplerError(unknown_name("sampler", name, SAMPLERS))
    return SAMPLERS[name]


def sampler_settings(name: str, values: Mapping[str, object]) -> BaseModel:
    """Return a sampler's settings, checked.

    Raises:
        SamplerError, MoboError: See :func:`sampler_class`; or a setting is unknown, or a value is not allowed.
    """
    return checked_settings(f"sampler {name!r}", sampler_class(name).Settings, values, error=SamplerError)


def build_sampler(
    name: str,
    space: SearchSpace,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint] = (),
    *,
    seed: int,
    settings: Mapping[str, object] | None = None,
    known: KnownOutcomes | None = None,
    work: Work | None = None,
    earlier: Sequence[EarlierStudy] = (),
) -> Sampler:
    """Return a sampler by name.

    Args:
        name: One of :func:`sampler_names`, or ``package.module:Class`` of the user's own.
        space: What to search.
        objectives: What is minimised.
        constraints: What must hold.
        seed: The study's seed.
        settings: The sampler's settings as plain values; what is left out has its default.
        known: Outcomes that the problem can compute without an evaluation, if it has any; most samplers ignore them.
        work: What evaluations cost and which can share a training; most samplers ignore it.
        earlier: What earlier studies found; most samplers ignore it.

    Raises:
        SamplerError, MoboError: See :func:`sampler_class`; or a setting is unknown, or a value is not allowed; or the
            space has priors and the sampler does not look at them.
    """
    checked = sampler_settings(name, settings or {})
    _check_priors(name, space)
    sampler = sampler_class(name)(space, objectives, constraints, seed=seed, settings=checked, known=known)
    if isinstance(sampler, BaseSampler):
        # Not arguments: classes of users' own, which need not know of them, take theirs.
        sampler.work, sampler.earlier = work, tuple(earlier)
    return sampler


def _check_priors(name: str, space: SearchSpace) -> None:
    believed = [parameter.name for parameter in space if parameter.prior is not None]
    if believed and not getattr(sampler_class(name), "takes_priors", False):
        takers = ", ".join(sorted(taker for taker, known in SAMPLERS.items() if getattr(known, "takes_priors", False)))
        raise SamplerError(
            f"space.{believed[0]} has a prior, which the sampler {name!r} does not look at; drop it, or take {takers}"
        )
