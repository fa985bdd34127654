"""``mobo tasks``."""

import typer

from mobo.cli.arguments import AsJson
from mobo.cli.output import print_json

NAME = "tasks"
EXAMPLE = "mobo tasks"


def command(as_json: AsJson = False) -> None:
    """List the learning tasks a config may name."""
    from mobo.tasks import describe_task, task_names

    objects = [{"name": name, "description": describe_task(name)} for name in task_names()]
    if as_json:
        print_json(objects)
        return
    for entry in objects:
        typer.echo(f"{entry['name']}: {entry['description']}")
