"""``mobo goal``."""

import typer

from mobo.cli.arguments import AsJson, Run
from mobo.cli.output import print_json, say

NAME = "goal"
EXAMPLE = "mobo goal runs/quickstart-001 --json"
NOT_MET = 1


def command(run: Run, as_json: AsJson = False) -> None:
    """Show which model of a run meets the goal of its study, and what it saves against the float and int8 baseline.

    The goal is decided anew on the validation split, from the models of the run as far as it has come; nothing is
    trained and nothing written. Exit code 1: no model meets the goal, or the validation split is too small to decide.
    """
    from mobo.cli.goal_text import verdict_lines, verdict_object
    from mobo.goal.conclude import conclude
    from mobo.runs.record import read_run
    from mobo.tinyml.setup import load_setup

    record = read_run(run)
    verdict = conclude(record, load_setup(record.config), finish=False)
    if as_json:
        print_json([verdict_object(verdict)])
    else:
        for line in verdict_lines(verdict):
            say(line)
    if verdict.chosen is None:
        raise typer.Exit(NOT_MET)
