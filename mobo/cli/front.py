"""``mobo front``."""

from mobo.cli.arguments import AsJson, Run
from mobo.cli.output import front_text, print_json, say

NAME = "front"
EXAMPLE = "mobo front runs/quickstart-001 --json"


def command(run: Run, as_json: AsJson = False) -> None:
    """Show the feasible models that no other one beats in every objective."""
    from mobo.runs.record import read_run

    record = read_run(run)
    objects = record.front_objects()
    if as_json:
        print_json(objects)
        return
    if not objects:
        say(f"the front is empty: none of {len(record.finished)} finished trials is feasible yet")
        return
    say(front_text(objects))
