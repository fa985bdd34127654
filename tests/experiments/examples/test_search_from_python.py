"""The example of a search from Python runs, and its front is a DataFrame with units in the names."""

from pathlib import Path

import pytest

from experiments.examples.search_from_python import main
from mobo import read_run
from mobo.runs.front_table import front_table


def test_the_front_is_a_data_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(tmp_path / "run")
    said = capsys.readouterr().out
    record = read_run(tmp_path / "run")
    front = record.front_frame()
    assert said.count("finished: trial") == len(record.trials) == len(record.trials_frame()) == 4
    assert front.index.tolist() == [trial.number for trial in record.front.trials]
    assert front.ram_bytes.max() <= 8192
    assert front.test_error.between(0, 1).all()
    # The same table as front.csv, the trial's number as index.
    assert [front.index.name, *front.columns] == list(front_table(record.front.trials, record.test_errors).header)
    assert str(front.index[0]) in said
