"""``mobo retrain``."""

from typing import Annotated

import typer

from mobo.cli.arguments import AsJson, Run
from mobo.cli.front_work import work_on_front

NAME = "retrain"
EXAMPLE = "mobo retrain runs/quickstart-001"


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
    became worse on the validation split by more than a standard error.
    """
    from mobo.runs.retrain import retrain

    work_on_front(
        run,
        retrain,
        title="training again",
        changes=[f"retrain.validation={str(validation).lower()}"],
        again=["mobo", "retrain", str(run), *(["--validation"] if validation else [])],
        kept="model",
        jobs=jobs,
        as_json=as_json,
    )
