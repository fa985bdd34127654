"""Which network should we try next, and how does the picked one leave?"""

from importlib import import_module

# Public name -> the module it lives in; imported at the first use, so that ``import mobo`` costs nothing.
_HOME = {
    "CategoricalParameter": "mobo.space",
    "Constraint": "mobo.objectives",
    "Design": "mobo.space",
    "Evaluation": "mobo.problem",
    "Feasibility": "mobo.problem",
    "FloatParameter": "mobo.space",
    "Front": "mobo.pareto",
    "IntParameter": "mobo.space",
    "MoboError": "mobo.errors",
    "Objective": "mobo.objectives",
    "OrdinalParameter": "mobo.space",
    "Problem": "mobo.problem",
    "SearchSpace": "mobo.space",
    "Store": "mobo.store",
    "Study": "mobo.study",
    "Trial": "mobo.trial",
    "TrialFailed": "mobo.errors",
    "TrialState": "mobo.trial",
    "build_sampler": "mobo.samplers",
    "sampler_names": "mobo.samplers",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    """Import a public name's module when the name is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'mobo' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
