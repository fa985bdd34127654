"""Which network should we try next, and how does the picked one leave?

The names on this page, and those of :mod:`mobo.testing`, are public: they change with a new version and a line in the
changelog. So are those on the pages of :mod:`envs` and :mod:`hw_models`. Every module below may change without notice.

A study from Python, as ``mobo search`` runs it::

    config = mobo.load_config(Path("study.toml"), ["trials=12"])
    run = mobo.prepare_run(config, out=Path("runs/mine"), resume=False)
    mobo.run_search(config, run)
    front = mobo.read_run(run.path).front_frame()  # a pandas DataFrame

Parts of it: a :class:`Problem` of your own with a :class:`SearchSpace`, a sampler from :func:`build_sampler`, a
:class:`Store` and a :class:`Study` that joins them.
"""

from importlib import import_module
from typing import Any

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
    "KnownOutcomes": "mobo.space.known_outcomes",
    "MoboError": "mobo.base.errors",
    "Objective": "mobo.space.objectives",
    "OrdinalParameter": "mobo.space.search_space",
    "Problem": "mobo.space.problem",
    "RunDirectory": "mobo.runs.directory",
    "RunRecord": "mobo.runs.record",
    "SearchEvent": "mobo.search",
    "SearchSpace": "mobo.space.search_space",
    "Store": "mobo.study.store",
    "Study": "mobo.study.loop",
    "StudyConfig": "mobo.tinyml.config",
    "Trial": "mobo.space.trial",
    "TrialFailed": "mobo.base.errors",
    "TrialState": "mobo.space.trial",
    "build_sampler": "mobo.samplers",
    "load_config": "mobo.tinyml.config_file",
    "parse_config": "mobo.tinyml.config",
    "prepare_run": "mobo.runs.start",
    "read_run": "mobo.runs.record",
    "run_search": "mobo.search",
    "sampler_names": "mobo.samplers",
    "write_report": "mobo.report",
}

# Modules that are used by their name, ``mobo.ray.trainable``.
_MODULES = frozenset({"ray", "testing"})

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import a public name's module when the name is first used."""
    if name in _MODULES:
        return import_module(f"mobo.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'mobo' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
