"""``mobo tasks``."""

import sys
from typing import Annotated

import typer

from mobo.cli.arguments import AsJson
from mobo.cli.output import print_json, say

NAME = "tasks"
EXAMPLE = "mobo tasks --download cifar10"

Download = Annotated[
    str | None,
    typer.Option("--download", metavar="NAME", help="Get the official archive of a task first.", show_default=False),
]


def command(as_json: AsJson = False, download: Download = None) -> None:
    """List the learning tasks a config may name, or get a task's official archive."""
    from mobo.tinyml.tasks import describe_task, task_names

    if download is not None:
        _download(download)
        return
    objects = [{"name": name, "description": describe_task(name)} for name in task_names()]
    if as_json:
        print_json(objects)
        return
    for entry in objects:
        say(f"{entry['name']}: {entry['description']}")


def _download(task: str) -> None:
    from mobo.tinyml.tasks.archives import archive_for
    from mobo.tinyml.tasks.download import download

    archive = archive_for(task)
    # The bar is silent where nobody looks at a terminal.
    with typer.progressbar(length=archive.size_bytes, label=archive.file, file=sys.stderr) as bar:
        path = download(archive, progress=lambda done_bytes: bar.update(done_bytes - bar.pos))
    say(f"{path}: {archive.size_bytes:,} bytes, checksum right")
