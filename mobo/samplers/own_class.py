"""The user's own sampler: a class named in the config as ``package.module:Class``."""

import inspect
from typing import cast

from pydantic import BaseModel

from mobo.base.errors import SamplerError
from mobo.base.own_code import own_code
from mobo.samplers.base import SamplerClass

KEY = "the sampler class"


def is_own_class(name: str) -> bool:
    """Return whether a sampler is named as ``package.module:Class``."""
    return ":" in name


def own_class(target: str) -> SamplerClass:
    """Return the user's class, imported now: only commands that search or benchmark run its module.

    Args:
        target: ``package.module:Class``.

    Raises:
        MoboError: The module cannot be imported or has no such class.
        SamplerError: What was found is no class, or does not offer what a sampler must.
    """
    found = own_code(target, key=KEY, kind="class")
    if not isinstance(found, type):
        raise SamplerError(f"{KEY} {target!r} is a {type(found).__name__}, not a class; name a class")
    verbs = {verb for verb in ("suggest", "observe") if not callable(getattr(found, verb, None))}
    missing = sorted(verbs | getattr(found, "__abstractmethods__", frozenset()))
    if missing:
        raise SamplerError(
            f"{KEY} {target!r} lacks {' and '.join(missing)}; derive it from mobo.samplers.BaseSampler and say what to "
            "suggest"
        )
    settings = getattr(found, "Settings", None)
    if not (isinstance(settings, type) and issubclass(settings, BaseModel)):
        raise SamplerError(
            f"{KEY} {target!r} has no Settings, a pydantic model of what can be set; derive the class from "
            "mobo.samplers.BaseSampler, which has an empty one"
        )
    try:
        inspect.signature(found).bind((), (), (), seed=0, settings=None, known=None)
    except (TypeError, ValueError) as error:
        raise SamplerError(
            f"{KEY} {target!r} is called with (space, objectives, constraints, seed=, settings=, known=), which it "
            f"does not take: {error}; keep the constructor of mobo.samplers.BaseSampler"
        ) from error
    return cast(SamplerClass, found)
