"""Write a runtime file: plain TOML in the order of the schema, one line per coefficient table."""

import json
from pathlib import Path
from typing import Any

from hw_models.runtime import Runtime

_HEADER = """\
# Written by `python -m experiments.fit_runtime`; do not edit by hand. hw_models/README.md explains every key.
"""


def write_runtime(runtime: Runtime, path: Path) -> None:
    """Write a runtime as TOML."""
    data = runtime.model_dump(mode="json")
    lines = [_HEADER]
    _write_table(lines, "", data)
    path.write_text("\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n", encoding="utf-8")


def _write_table(lines: list[str], name: str, table: dict[str, Any]) -> None:
    """Write a table's values, then its subtables; a table of numbers only goes on one line."""
    if name:
        lines.append(f"[{name}]")
    values = {key: value for key, value in table.items() if not isinstance(value, dict) or _is_form(value)}
    lines += [f"{key} = {_value(value)}" for key, value in values.items()]
    lines.append("")
    for key, value in table.items():
        if key not in values:
            _write_table(lines, f"{name}.{key}" if name else key, value)


def _is_form(value: dict[str, Any]) -> bool:
    return all(isinstance(number, int | float) for number in value.values())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {number}" for key, number in value.items()) + " }" if value else "{}"
    # A JSON string, number, boolean or list of numbers is TOML as well.
    return json.dumps(value, ensure_ascii=False)
