"""The pages of this room: their examples run, and they name every file there is and no other."""

import re
from pathlib import Path
from typing import Any

import pytest

import envs

ROOM = Path(envs.__file__).parent
PAGE = (ROOM / "README.md").read_text(encoding="utf-8")
COMPRESSION_PAGE = (ROOM / "compression" / "README.md").read_text(encoding="utf-8")

_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
_ROW = re.compile(r"^\| (`[^|]*`) \|", re.MULTILINE)
_NAME = re.compile(r"`([\w/]+\.py)`")


def modules(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.py") if path.name != "__init__.py"}


def listed(page: str) -> list[str]:
    return [name for cells in _ROW.findall(page) for name in _NAME.findall(cells)]


def test_the_tables_list_every_file_once() -> None:
    assert sorted(listed(COMPRESSION_PAGE)) == sorted(modules(ROOM / "compression"))
    assert sorted(listed(PAGE)) == sorted(name for name in modules(ROOM) if not name.startswith("compression/"))


def test_every_file_the_pages_name_exists() -> None:
    for page, folder in ((PAGE, ROOM), (COMPRESSION_PAGE, ROOM / "compression")):
        homes = (folder, ROOM, ROOM / "compression", ROOM.parent)
        missing = [name for name in _NAME.findall(page) if not any((home / name).is_file() for home in homes)]
        assert not missing


@pytest.fixture(scope="module")
def ran() -> dict[str, Any]:
    names: dict[str, Any] = {}
    for block in _BLOCK.findall(PAGE):
        exec(block, names)  # the page of this checkout, as a doctest would
    return names


def test_the_example_ends_with_a_network_inside_the_targets(ran: dict[str, Any]) -> None:
    assert ran["found"].feasible
    assert ran["cost_of"](ran["integers"].graph).flash_model_bytes <= ran["targets"].limits["flash_model_bytes"]
    assert ran["integers"].graph == ran["evaluator"].graph(ran["found"].policy)
    assert ran["info"]["feasible"]


def test_the_example_of_the_compression_page_runs(ran: dict[str, Any]) -> None:
    (block,) = _BLOCK.findall(COMPRESSION_PAGE)
    names = {"network": ran["network"], "train": ran["samples"], "reward": ran["samples"]}
    exec(block, names)
    assert names["data"][:2] == b"PK"
