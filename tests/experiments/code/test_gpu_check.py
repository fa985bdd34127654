"""The check for a machine with a GPU, as far as one without can run it."""

import pytest
import torch
import typer

from experiments.code import gpu_check
from tests.pretended_device import pretended_device


@pytest.mark.slow
def test_an_epoch_shorter_than_the_steps_asked_for_is_timed_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "mobilenetv3_daliac"
    monkeypatch.setattr(gpu_check, "FULL_SIZES", {name: ((1, 64, 24), 13, 20)})
    monkeypatch.setattr(gpu_check, "PRECISIONS", ("float32",))
    with pretended_device() as device:
        rows = gpu_check.epoch_rows(name, 30, 8, device)
    assert [row[1:3] for row in rows] == [["cpu", "float32"], [device, "float32"]]
    assert all(float(row[3]) >= 0 for row in rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_where_there_is_no_gpu_it_says_so_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        gpu_check.main(trials=1, epochs=1, steps=1, batch=2, device="cuda")
    assert ended.value.exit_code == 2
    assert "cuda" in capsys.readouterr().err
