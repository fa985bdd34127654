"""What a compression shows while it works."""

import pytest

from mobo.cli.compress_output import CompressOutput
from mobo.tinyml.config import CompressionSettings


@pytest.mark.parametrize("err", [False, True])
def test_the_bar_counts_policies_and_lines_go_to_the_log_too(err: bool, capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    with CompressOutput(lines.append, CompressionSettings(evaluations=3), err=err) as output:
        output.say("[red]compressing")
        output.show("policy")
        output.show("policy")
        (task,) = output._progress.tasks
        assert (task.description, task.completed, task.total) == ("measuring policies", 2, 3)
        output.show("finetuning")
        output.show("scoring")
        (task,) = output._progress.tasks
        assert (task.description, task.completed) == ("fine-tuning", 2)
    assert lines == ["[red]compressing", "policy chosen; fine-tuning for 1000 steps", "reading the test split"]
    out, error = capsys.readouterr()
    assert (error if err else out).splitlines() == lines
    assert (out if err else error) == ""
