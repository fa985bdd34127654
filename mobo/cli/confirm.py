"""``mobo confirm``."""

import shlex
from typing import Annotated

import typer

from mobo.cli.arguments import AsJson, Run
from mobo.cli.output import front_text, print_json, say

NAME = "confirm"
EXAMPLE = "mobo confirm runs/quickstart-001 --seeds 3"
INTERRUPTED = 130


def command(
    run: Run,
    seeds: Annotated[int, typer.Option(min=1, help="How many further seeds every model shall have in all.")] = 3,
    trainings: Annotated[
        bool, typer.Option("--trainings", help="Train the networks anew with these seeds, too.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="How many repeats to make at a time, in processes.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the models of a run's front again with other seeds, and show the front with their mean error.

    The front holds the models whose one measurement was low, some by luck; the mean of the repeats, without that first
    measurement, is the honest error. Every finished repeat is kept, so it can be stopped: the same command goes on.
    `mobo pick` then goes by the mean.
    """
    from mobo.cli.progress_log import ProgressLog
    from mobo.report import write_report
    from mobo.runs.confirm import confirm
    from mobo.runs.record import read_run
    from mobo.tinyml.config import parse_config

    record = read_run(run)
    record.directory.check_writable()
    changes = [f"confirm.seeds={seeds}"]
    changes += ["confirm.trainings=true"] if trainings else []
    changes += [] if jobs is None else [f"compute.jobs={jobs}"]
    config = parse_config(record.config.to_toml(), changes, source=str(record.directory.config_path))
    try:
        with ProgressLog(record.directory.append_log, "confirming", total=None, err=as_json) as output:
            confirm(config, record.directory, on_note=output.say)
    except KeyboardInterrupt as error:
        again = ["mobo", "confirm", str(run), "--seeds", str(seeds), *(["--trainings"] if trainings else [])]
        again += [] if jobs is None else ["--jobs", str(jobs)]
        say(f"\ninterrupted; every finished repeat is kept. To go on:\n  {shlex.join(again)}", err=True)
        raise typer.Exit(INTERRUPTED) from error
    record = read_run(run)
    record.write_tables()
    report = write_report(record)
    objects = record.front_objects()
    if as_json:
        print_json(objects)
        return
    say(front_text(objects))
    say(f"report: {report}")
