"""The page of this room: its example runs, and it names every file there is and no other."""

import re
from pathlib import Path
from typing import Any

import hw_models

ROOM = Path(hw_models.__file__).parent
PAGE = (ROOM / "README.md").read_text(encoding="utf-8")

_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
_ROW = re.compile(r"^\| (`[^|]*`) \|", re.MULTILINE)
_NAME = re.compile(r"`([\w/]+\.py)`")


def test_the_tables_list_every_file_once() -> None:
    listed = [name for cells in _ROW.findall(PAGE) for name in _NAME.findall(cells)]
    modules = [str(path.relative_to(ROOM)) for path in ROOM.rglob("*.py") if path.name != "__init__.py"]
    assert sorted(listed) == sorted(modules)


def test_every_file_the_page_names_exists() -> None:
    assert not [
        name for name in _NAME.findall(PAGE) if not any((home / name).is_file() for home in (ROOM, ROOM.parent))
    ]


def test_the_example_runs(capsys: Any) -> None:
    names: dict[str, Any] = {}
    (block,) = _BLOCK.findall(PAGE)
    exec(block, names)  # the page of this checkout, as a doctest would
    cost = names["cost"]
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(cost.rows) + len(cost.memory.timeline())
    assert cost.ram_bytes > 32 * 32 * 3
