"""``mobo confirm``."""

from typing import Annotated

import typer

from mobo.cli.arguments import AsJson, Run
from mobo.cli.front_work import work_on_front

NAME = "confirm"
EXAMPLE = "mobo confirm runs/quickstart-001 --seeds 3"


def command(
    run: Run,
    seeds: Annotated[int, typer.Option(min=1, help="How many further seeds every model shall have in all.")] = 3,
    trainings: Annotated[
        bool, typer.Option("--trainings", help="Train the networks anew with these seeds, too.")
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="In the place of seeds: train on all but one of so many folds, by group, and measure on that one.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="How many repeats to make at a time, in processes.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the models of a run's front again with other seeds, and show the front with their mean error.

    The front holds the models whose one measurement was low, some by luck; the mean of the repeats, without that first
    measurement, is the honest error. Every finished repeat is kept, so it can be stopped: the same command goes on.
    `mobo pick` then goes by the mean. Where few people, devices or days gave the samples, --folds says more than seeds:
    every model is judged on all of them in turn, trained on the others; the test split stays out of it.
    """
    from mobo.runs.confirm import confirm

    work_on_front(
        run,
        confirm,
        title="confirming",
        changes=[
            f"confirm.seeds={seeds}",
            *(["confirm.trainings=true"] if trainings else []),
            *([] if folds is None else [f"confirm.folds={folds}"]),
        ],
        again=[
            *("mobo", "confirm", str(run), "--seeds", str(seeds)),
            *(["--trainings"] if trainings else []),
            *([] if folds is None else ["--folds", str(folds)]),
        ],
        kept="repeat",
        jobs=jobs,
        as_json=as_json,
    )
