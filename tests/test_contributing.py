"""CONTRIBUTING sends nobody to a file, a list, a test or a page that is not there."""

import re

from tests.test_readme import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
# Made by a command, not tracked.
MADE = ("build/", "dist/")


def named_paths(text: str) -> list[str]:
    """Return what is written as a path: with a slash or a file's ending, no command and no pattern."""
    words = re.findall(r"`([\w./-]+)`", text)
    paths = [word for word in words if "/" in word or re.search(r"\.(py|md|toml|yaml)$", word)]
    return [path for path in paths if not path.startswith(MADE)]


def named_lists(text: str) -> list[tuple[str, str]]:
    """Return every name that is said to stand in a file, with the file."""
    return re.findall(r"`(\w+)` in\s+`([\w./]+\.\w+)`", text)


def test_every_path_is_there() -> None:
    assert len(named_paths(TEXT)) > 30
    assert not [path for path in named_paths(TEXT) if not (ROOT / path).exists()]


def test_every_list_stands_in_the_file_that_is_named() -> None:
    assert len(named_lists(TEXT)) >= 9
    assert not [
        (name, path)
        for name, path in named_lists(TEXT)
        if not re.search(rf"^\s*{name}\b.*[=:]", (ROOT / path).read_text(encoding="utf-8"), flags=re.MULTILINE)
    ]


def test_what_is_not_there_would_be_seen() -> None:
    wrong = "`LAYER_TYPES` in `hw_models/graph/layer_graph.py`, `tests/no_such_test.py`"
    assert named_paths(wrong) == ["hw_models/graph/layer_graph.py", "tests/no_such_test.py"]
    assert named_lists(wrong) == [("LAYER_TYPES", "hw_models/graph/layer_graph.py")]
