"""``mobo convert``."""

from pathlib import Path
from typing import Annotated

import typer

from mobo.cli.arguments import AsJson, Run
from mobo.cli.output import print_json, say

NAME = "convert"
EXAMPLE = "mobo convert runs/quickstart-001 --to optuna sqlite:///study.db"
FORMATS = ("optuna", "tensorboard")

Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="Where: for optuna a storage like sqlite:///study.db, for tensorboard a folder.",
        show_default=False,
    ),
]
To = Annotated[str, typer.Option("--to", metavar="FORMAT", help="optuna or tensorboard.", show_default=False)]


def command(run: Run, target: Target, to: To, as_json: AsJson = False) -> None:
    """Write a run for another tool: as an Optuna study (optuna-dashboard shows it), or as TensorBoard events."""
    from hw_models.errors import unknown_name
    from mobo.base.errors import ConfigError
    from mobo.runs.record import read_run

    if to not in FORMATS:
        raise ConfigError(unknown_name("format", to, FORMATS))
    record = read_run(run)
    if to == "tensorboard":
        from mobo.runs.tensorboard_events import RunEvents

        with RunEvents(Path(target)) as events:
            count, what = events.add(record), "values"
        then = f"tensorboard --logdir {target}"
    else:
        from mobo.runs.optuna_study import write_optuna_study
        from mobo.tinyml.hyperparameters import hyperparameters
        from mobo.tinyml.methods import method_of
        from mobo.tinyml.setup import load_setup

        config = record.config
        shape = load_setup(config).data.input_shape
        space = hyperparameters(config, shape, method_of(config.compression)).space
        count, what = write_optuna_study(record, space, target), "trials"
        then = f"optuna-dashboard {target}"
    if as_json:
        print_json([{"run": str(run), "format": to, "target": target, what: count}])
        return
    say(f"{count} {what} of {run} written to {target}; to look at them: {then}")
