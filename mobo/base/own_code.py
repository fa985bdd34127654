"""Code of the user's own that a config names as ``package.module:name``: imported when it is needed, and no earlier."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from hw_models.errors import unknown_name
from mobo.base.errors import MoboError

TARGET = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
"""Pattern of ``package.module:name``."""


def own_code(target: str, *, key: str, kind: str) -> Callable[..., Any]:
    """Return what the user named; its module is looked for where Python looks, and last in the current folder.

    Args:
        target: ``package.module:name``.
        key: The config's key, for messages.
        kind: What the name should be, for messages: ``function`` or ``class``.

    Raises:
        MoboError: The module cannot be imported, or has nothing callable of that name.
    """
    name, attribute = target.split(":")
    folder = str(Path.cwd())
    # Last, so that no file of the folder takes the place of an installed module.
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        module = import_module(name)
    except (ImportError, SyntaxError) as error:
        raise MoboError(
            f"{key} {target!r} cannot be imported: {error}. Looked where Python looks and in {folder}; start mobo in "
            "the folder that holds the module, or install it"
        ) from error
    except Exception as error:
        raise MoboError(
            f"{key} {target!r} cannot be imported: {name} raised {type(error).__name__}: {error}; mend the module"
        ) from error
    offered = {key: value for key, value in vars(module).items() if callable(value) and not key.startswith("_")}
    if attribute not in offered:
        raise MoboError(f"{key}: {unknown_name(f'{kind} of {name}', attribute, offered)}")
    found: Callable[..., Any] = offered[attribute]
    return found
