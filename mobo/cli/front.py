"""``mobo front``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mobo.cli.arguments import AsJson, Run
from mobo.cli.output import front_text, mistakes_text, print_json, say

if TYPE_CHECKING:
    from mobo.runs.record import RunRecord
    from mobo.tinyml.config import DeviceSettings

NAME = "front"
EXAMPLE = "mobo front runs/quickstart-001 --json"


def command(
    run: Run,
    mistakes: Annotated[
        int | None,
        typer.Option(metavar="TRIAL", help="Show what a model of the front takes for what, and on whom it errs."),
    ] = None,
    expected: Annotated[
        bool,
        typer.Option("--expected", help="Go by what the study expects of the errors, not by lucky measurements."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the feasible models that no other one beats in every objective."""
    from mobo.runs.record import read_run
    from mobo.runs.training_hints import training_hints

    record = read_run(run)
    if mistakes is not None:
        _show_mistakes(record, mistakes, as_json=as_json)
        return
    objects = _expected_objects(record) if expected else record.front_objects()
    if as_json:
        print_json(objects)
        return
    if not objects:
        say(f"the front is empty: none of {len(record.finished)} finished trials is feasible yet")
        return
    say(front_text(objects, record.config.error_scale))
    for note in _board_notes(record.config.device):
        say(note)
    for hint in training_hints(record):
        say(f"hint: {hint}")


def _expected_objects(record: "RunRecord") -> "tuple[dict[str, Any], ...]":
    # Here only: it takes torch.
    from mobo.runs.expected_front import expected_front_objects

    return expected_front_objects(record)


def _show_mistakes(record: "RunRecord", trial: int, *, as_json: bool) -> None:
    from mobo.base.errors import MoboError
    from mobo.runs.mistakes import read_mistakes

    record.done_trial(trial)
    found = read_mistakes(record.directory.model_directory(trial))
    if found is None:
        raise MoboError(
            f"no mistakes of trial {trial} are kept: they are written when the test split is read, for the models of "
            "the front of a finished search that tells classes apart"
        )
    if as_json:
        print_json([found.model_dump()])
    else:
        say(mistakes_text(found))


def _board_notes(settings: "DeviceSettings") -> tuple[str, ...]:
    """Return what the energy is of, and how often bars like those of the latency hold."""
    from hw_models.bars import bars_held
    from hw_models.device import load_device
    from hw_models.energy import inference_power
    from hw_models.errors import HardwareModelError
    from mobo.tinyml.study_runtime import study_runtime

    try:
        device = load_device(settings.name, extra_file=settings.file)
        engine = study_runtime(settings, device)
    except HardwareModelError as error:
        # A run outlives the file of its board.
        return (f"energy is of the power of a board or an engine that is no longer known: {error}",)
    release = None if engine is None else engine.release
    power = inference_power(device, settings.clock_mhz or device.clock_mhz, release=release)
    bars = () if engine is None else (f"latency bars (`mobo pick`): {bars_held(engine, device.core)}",)
    return (f"energy is of {power.described}", *bars)
