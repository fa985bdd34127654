from pathlib import Path

import pytest
import typer

from experiments.compression.promise.__main__ import found_verdict, main, page
from mobo.base.errors import MoboError
from mobo.goal.verdict import write_verdict
from tests.mobo.goal.goal_study import made_up
from tests.mobo.synthetic_run import make_run


def test_the_page_has_a_row_for_every_run(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name) for name in ("one", "two")]
    for run, met in zip(runs, (True, False), strict=True):
        write_verdict(run, made_up(met=met))
    out = tmp_path / "results" / "goals.md"
    main([run.path for run in runs], out)
    text = out.read_text(encoding="utf-8")
    assert text == page([made_up(), made_up(met=False)])
    assert text.splitlines()[-2].startswith("| made-up | met (at most 1 points, 95 % confidence)")
    assert text.splitlines()[-1].startswith("| made-up | undecidable")


def test_a_run_that_is_not_at_its_end_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(MoboError, match=r"has no goal\.json; finish its search with --resume"):
        found_verdict(run.path)
    with pytest.raises(typer.Exit) as caught:
        main([run.path], tmp_path / "goals.md")
    assert caught.value.exit_code == 2
    assert "has no goal.json" in capsys.readouterr().err
    assert not (tmp_path / "goals.md").exists()
