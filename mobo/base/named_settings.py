"""Settings of something chosen by name, checked with errors that name the key and the thing."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from hw_models.errors import unknown_name
from mobo.base.errors import MoboError

Model = TypeVar("Model", bound=BaseModel)


def checked_settings(thing: str, model: type[Model], values: Mapping[str, object], *, error: type[MoboError]) -> Model:
    """Return plain values as checked settings; what is left out has its default.

    Args:
        thing: What is configured, for messages, e.g. ``"sampler 'ax'"``.
        model: The model of its settings.
        values: The settings given.
        error: What to raise.

    Raises:
        MoboError: Of the kind given: a setting is unknown, or a value is not allowed.
    """
    for key in values:
        if key not in model.model_fields:
            raise error(unknown_name(f"setting of {thing}", key, model.model_fields))
    try:
        return model.model_validate(dict(values))
    except ValidationError as refusal:
        detail = refusal.errors()[0]
        key = ".".join(str(part) for part in detail["loc"])
        raise error(f"setting {key} = {detail['input']!r} of {thing} is not allowed: {detail['msg']}") from refusal
