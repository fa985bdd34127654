"""What commands share that go on working on the front of a finished run, and show it again at the end."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import typer

from mobo.cli.output import front_text, print_json, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from mobo.runs.directory import RunDirectory
    from mobo.tinyml.config import StudyConfig

INTERRUPTED = 130


class FrontWork(Protocol):
    """Work on a run's front: :func:`mobo.runs.confirm.confirm`, :func:`mobo.runs.retrain.retrain`."""

    def __call__(self, config: "StudyConfig", run: "RunDirectory", /, *, on_note: "Callable[[str], None]") -> None:
        """Do it; what is finished is kept."""


def work_on_front(
    run: Path,
    work: FrontWork,
    *,
    title: str,
    changes: Sequence[str],
    again: Sequence[str],
    kept: str,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Do some work on a run's front, then write the run's tables and report and show the front.

    Args:
        run: The run's folder.
        work: The work.
        title: What is being done, for the log.
        changes: Overrides of the run's config.
        again: The command that goes on where it is interrupted, without ``--jobs``.
        kept: What is kept then.
        jobs: How many to work at a time; None for as many as the config says.
        as_json: Whether to print the front as JSON.
    """
    from mobo.cli.progress_log import ProgressLog
    from mobo.report import write_report
    from mobo.runs.record import read_run
    from mobo.tinyml.config import parse_config

    record = read_run(run)
    record.directory.check_writable()
    changes = [*changes, *([] if jobs is None else [f"compute.jobs={jobs}"])]
    config = parse_config(record.config.to_toml(), changes, source=str(record.directory.config_path))
    try:
        with ProgressLog(record.directory.append_log, title, total=None, err=as_json) as output:
            work(config, record.directory, on_note=output.say)
    except KeyboardInterrupt as error:
        command = shlex.join([*again, *([] if jobs is None else ["--jobs", str(jobs)])])
        say(f"\ninterrupted; every finished {kept} is kept. To go on:\n  {command}", err=True)
        raise typer.Exit(INTERRUPTED) from error
    record = read_run(run)
    record.write_tables()
    report = write_report(record)
    objects = record.front_objects()
    if as_json:
        print_json(objects)
        return
    say(front_text(objects, record.config.error_scale))
    say(f"report: {report}")
