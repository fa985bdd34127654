"""Signs in a run that its networks were trained too short, in words."""

from statistics import median

from mobo.runs.record import RunRecord
from mobo.space.columns import FLOAT_VALIDATION_ERROR, VALIDATION_ERROR
from mobo.space.trial import Trial, TrialState

# Below so many trainings nothing is said.
_FEWEST = 4
_HIGH_ERROR, _MANY = 0.4, 1 / 3
# By so much a model must be better than the network it comes from, which it has less of.
_BETTER = 0.02


def training_hints(record: RunRecord) -> tuple[str, ...]:
    """Return what a run's errors say of the length of its trainings; nothing where they say nothing.

    Two signs: many trained networks with an error above 40 %; and models that are better than the uncompressed
    networks they come from, for their fine-tuning went on training.
    """
    trained = [error for trial in record.trials if (error := _float_error(trial)) is not None and not trial.is_child]
    high = sum(error > _HIGH_ERROR for error in trained)
    hints = []
    if len(trained) >= _FEWEST and high >= _MANY * len(trained):
        hints.append(
            f"{high} of {len(trained)} trained networks have an error above {100 * _HIGH_ERROR:.0f} % before any "
            "compression: train longer (space.epochs), search larger networks, or look at the data"
        )
    gains = [
        before - after
        for trial in record.front
        if (before := _float_error(trial)) is not None and (after := trial.outcome.get(VALIDATION_ERROR)) is not None
    ]
    if len(gains) >= _FEWEST and (gain := median(gains)) > _BETTER:
        hints.append(
            f"the median model of the front is better by {100 * gain:.1f} points than the uncompressed network it "
            "comes from: its fine-tuning still trained it, so longer trainings (space.epochs) will probably pay"
        )
    return tuple(hints)


def _float_error(trial: Trial) -> float | None:
    return trial.outcome.get(FLOAT_VALIDATION_ERROR) if trial.state is TrialState.DONE else None
