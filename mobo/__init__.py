"""Which network should we try next, and how does the picked one leave?"""

from importlib import import_module

__version__ = "0.1.0"
"""The version of the distribution; `pyproject.toml` reads it from here."""

# Public name -> the module it lives in; imported at the first use, so that ``import mobo`` costs nothing.
_HOME = {
    "CategoricalParameter": "mobo.space.search_space",
    "Constraint": "mobo.space.objectives",
    "Design": "mobo.space.search_space",
    "Evaluation": "mobo.space.problem",
    "Feasibility": "mobo.space.problem",
    "FloatParameter": "mobo.space.search_space",
    "Front": "mobo.space.pareto",
    "IntParameter": "mobo.space.search_space",
    "MoboError": "mobo.base.errors",
    "Objective": "mobo.space.objectives",
    "OrdinalParameter": "mobo.space.search_space",
    "Problem": "mobo.space.problem",
    "SearchSpace": "mobo.space.search_space",
    "Store": "mobo.study.store",
    "Study": "mobo.study.loop",
    "Trial": "mobo.space.trial",
    "TrialFailed": "mobo.base.errors",
    "TrialState": "mobo.space.trial",
    "build_sampler": "mobo.samplers",
    "sampler_names": "mobo.samplers",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    """Import a public name's module when the name is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'mobo' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
