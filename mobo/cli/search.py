"""``mobo search``."""

import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobo.cli.arguments import Config, Overrides
from mobo.cli.expected_errors import EXPECTED_ERRORS
from mobo.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from mobo.runs.directory import RunDirectory
    from mobo.search import SearchEvent
    from mobo.study.store import StoreLock
    from mobo.tinyml.config import StudyConfig

NAME = "search"
EXAMPLE = "mobo search study.toml compression.evaluations=8 --trials 12"
INTERRUPTED = 130


def command(
    config: Config,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; without it runs/<study>-NNN.", show_default=False)
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many designs to try.", show_default=False)] = None,
    hours: Annotated[
        float | None,
        typer.Option(help="How long to go on proposing designs, in place of the config's trials.", show_default=False),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the study.", show_default=False)] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="How many designs to try at a time, in processes.", show_default=False)
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run the trials on a Ray cluster: auto, or host:port of its head.",
            show_default=False,
        ),
    ] = None,
    confirm: Annotated[
        int | None,
        typer.Option(min=0, help="With how many further seeds to repeat the models of the front.", show_default=False),
    ] = None,
    retrain: Annotated[
        bool,
        typer.Option("--retrain", help="Train the models of the front again on train and reward, and deliver those."),
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard events to RUN/tensorboard as trials end.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a run that was stopped (the newest, or --out).")
    ] = False,
) -> None:
    """Search for the front of a study; every finished trial is on disk at once, so it can be stopped and resumed."""
    from mobo.runs.start import claimed, prepare_run
    from mobo.tinyml.config_file import load_config

    options = {"trials": trials, "hours": hours, "seed": seed, "compute.jobs": jobs, "confirm.seeds": confirm}
    changes = [*(overrides or ()), *(f"{key}={value}" for key, value in options.items() if value is not None)]
    changes += ["retrain.front=true"] if retrain else []
    changes += [] if cluster is None else [f"compute.cluster='{cluster}'"]
    study = load_config(config, changes)
    if hours is not None and trials is None:
        study = study.model_copy(update={"trials": None})
    if tensorboard:
        from mobo.runs.tensorboard_events import check_installed

        check_installed()
    run = prepare_run(study, out=out, resume=resume)
    try:
        with claimed(study, run) as lock, ExitStack() as ended:
            _search(study, run, lock, _events(run, ended) if tensorboard else None)
    except KeyboardInterrupt as error:
        again = shlex.join(["mobo", "search", str(config), *changes, "--out", str(run.path), "--resume"])
        say(f"\ninterrupted; every finished trial is kept. To go on:\n  {again}", err=True)
        raise typer.Exit(INTERRUPTED) from error
    except EXPECTED_ERRORS:
        # Refused before the first trial: the folder must not stand in the way of the mended command.
        if not resume:
            run.remove_unused()
        raise


def _events(run: "RunDirectory", ended: ExitStack) -> "Callable[[], None]":
    """Return what writes the events of a run as far as it has come; those of an earlier process are written anew."""
    from mobo.runs.record import read_run
    from mobo.runs.tensorboard_events import EVENT_FILES, RunEvents

    opened: list[RunEvents] = []

    def write() -> None:
        if not opened:
            for old in run.events_path.glob(EVENT_FILES):
                old.unlink()
            opened.append(ended.enter_context(RunEvents(run.events_path)))
        opened[0].add(read_run(run.path))

    return write


def _done(before: int, study: "StudyConfig") -> str:
    if study.trials is None:
        return f"{before} trials done, for {study.budget}"
    if before > study.trials:
        return f"{before} trials done, more than the {study.trials} asked for: no new one is proposed"
    return f"{before} of {study.trials} trials done"


def _search(
    study: "StudyConfig", run: "RunDirectory", lock: "StoreLock", write_events: "Callable[[], None] | None"
) -> None:
    from mobo.cli.goal_text import verdict_lines
    from mobo.cli.search_output import SearchOutput
    from mobo.cli.search_summary import summary_lines
    from mobo.goal.verdict import read_verdict
    from mobo.report import write_report
    from mobo.runs.record import read_run
    from mobo.search import run_search

    record = read_run(run.path)
    resume, before = bool(record.trials), len(record.finished)
    count = None if study.trials is None else max(study.trials, before)
    with SearchOutput(run.append_log, finished_before=before, trial_count=count, scale=study.error_scale) as output:
        verb = "resuming" if resume else "searching"
        output.say(f"{verb} {study.name} in {run.path}, {_done(before, study)}")

        def show(event: "SearchEvent") -> None:
            output.show(event)
            if write_events is not None and event.kind in ("finished", "scored"):
                write_events()

        run_search(study, run, resume=resume, lock=lock, on_event=show, on_note=output.say)
    record = read_run(run.path)
    record.write_tables()
    report = write_report(record)
    verdict = None if study.goal is None else read_verdict(run)
    goal = () if verdict is None else (*verdict_lines(verdict), "")
    for line in (*summary_lines(record), *goal, f"report: {report}"):
        output.say(line)
