"""Write a runtime file: plain TOML in the order of the schema, one line per coefficient table."""

import json
import re
from pathlib import Path
from typing import Any

from hw_models.runtime import Runtime

_HEADER = """\
# Written by `mobo calibrate`; do not edit by hand. hw_models/README.md explains every key.
"""


def write_runtime(runtime: Runtime, path: Path, *, kernels_of: str | None = None) -> None:
    """Write a runtime as TOML.

    Args:
        runtime: The runtime.
        path: Where to.
        kernels_of: Name of a built-in runtime with the same kernels, which are then not written again.
    """
    data = runtime.model_dump(mode="json", exclude_unset=True)
    if kernels_of is not None:
        data = {"kernels_of": kernels_of} | data
        for core in data["cores"].values():
            del core["kernels"]
    lines = [_HEADER]
    _write_table(lines, "", data)
    path.write_text("\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n", encoding="utf-8")


def _write_table(lines: list[str], name: str, table: dict[str, Any]) -> None:
    """Write a table's values, then its subtables; a table of numbers only goes on one line."""
    if name:
        lines.append(f"[{name}]")
    values = {key: value for key, value in table.items() if not isinstance(value, dict) or _is_form(value)}
    lines += [f"{_key(key)} = {_value(value)}" for key, value in values.items()]
    lines.append("")
    for key, value in table.items():
        if key not in values:
            _write_table(lines, f"{name}.{_key(key)}" if name else _key(key), value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def _is_form(value: dict[str, Any]) -> bool:
    return all(isinstance(number, int | float) for number in value.values())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        numbers = ", ".join(f"{_key(key)} = {json.dumps(number)}" for key, number in value.items())
        return f"{{ {numbers} }}" if value else "{}"
    # A JSON string, number, boolean or list of them is TOML as well.
    return json.dumps(value, ensure_ascii=False)
