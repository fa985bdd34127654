"""``mobo retrain``."""

import shlex
from typing import Annotated

import typer

from mobo.cli.arguments import AsJson, Run
from mobo.cli.output import front_text, print_json, say

NAME = "retrain"
EXAMPLE = "mobo retrain runs/quickstart-001"
INTERRUPTED = 130


def command(
    run: Run,
    validation: Annotated[
        bool, typer.Option("--validation", help="Train on the validation split, too; only the test error is left.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="How many trainings to do at a time, in processes.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train the models of a run's front again on train and reward together, and deliver those from then on.

    The search holds the reward split back, and the front is chosen by the validation split; once it stands, both may be
    learnt from. Layers, policy, recipe, seed and costs stay. Every model is kept at once, beside that of the search, so
    it can be stopped: the same command goes on. `mobo pick` and `mobo export` then take these, but for models that
    became worse on the validation split.
    """
    from mobo.cli.progress_log import ProgressLog
    from mobo.report import write_report
    from mobo.runs.record import read_run
    from mobo.runs.retrain import retrain
    from mobo.tinyml.config import parse_config

    record = read_run(run)
    record.directory.check_writable()
    changes = [f"retrain.validation={str(validation).lower()}"]
    changes += [] if jobs is None else [f"compute.jobs={jobs}"]
    config = parse_config(record.config.to_toml(), changes, source=str(record.directory.config_path))
    try:
        with ProgressLog(record.directory.append_log, "training again", total=None, err=as_json) as output:
            retrain(config, record.directory, on_note=output.say)
    except KeyboardInterrupt as error:
        again = ["mobo", "retrain", str(run), *(["--validation"] if validation else [])]
        again += [] if jobs is None else ["--jobs", str(jobs)]
        say(f"\ninterrupted; every finished model is kept. To go on:\n  {shlex.join(again)}", err=True)
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
