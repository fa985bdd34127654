from collections.abc import Mapping
from pathlib import Path

import pytest

from experiments.compression.promise.rows import RowFile


class Stopped(Exception):
    pass


def measured(calls: list[str], name: str) -> Mapping[str, object]:
    calls.append(name)
    return {"step": "baseline", "label": f'{name}, "quoted"', "error": 0.125}


def test_a_stopped_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path, calls = tmp_path / "new" / "cells.csv", list[str]()

    def fails() -> Mapping[str, object]:
        raise Stopped

    rows = RowFile(path)
    for name in ("a", "b"):
        rows.once(name, lambda name=name: measured(calls, name))
    with pytest.raises(Stopped):
        rows.once("c", fails)
    resumed = RowFile(path)
    for name in ("a", "b", "c"):
        resumed.once(name, lambda name=name: measured(calls, name))
    assert calls == ["a", "b", "c"]
    assert [row["key"] for row in RowFile(path)] == ["a", "b", "c"]
    assert RowFile(path)["b"] == {"key": "b", "step": "baseline", "label": 'b, "quoted"', "error": "0.125"}


def test_rows_with_other_columns_share_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    rows = RowFile(path)
    rows.once("a", lambda: {"error": 0.5})
    rows.once("b", lambda: {"message": "the loss is nan"})
    assert "a" in rows
    assert "c" not in rows
    found = RowFile(path)
    assert found["a"] == {"key": "a", "error": "0.5", "message": ""}
    assert found["b"] == {"key": "b", "error": "", "message": "the loss is nan"}
