"""Signs in a run that its networks were trained too short, in words."""

from statistics import median

from mobo.runs.record import RunRecord
from mobo.space.columns import FLOAT_VALIDATION_ERROR, VALIDATION_ERROR
from mobo.space.error_scale import SHARE
from mobo.space.trial import Trial, TrialState

# Below so many trainings nothing is said.
_FEWEST = 4
_HIGH_ERROR, _NEAR_WORST, _MANY = 0.4, 0.9, 1 / 3
# By so much a model must be better than the network it comes from, which it has less of.
_BETTER = 0.02


def training_hints(record: RunRecord) -> tuple[str, ...]:
    """Return what a run's errors say of the length of its trainings; nothing where they say nothing.

    Two signs: many trained networks with an error above 40 %, or of a regression 90 % of that of a constant; and models
    that are better than the uncompressed networks they come from, for their fine-tuning went on training.
    """
    scale = record.config.error_scale
    # Where errors are no shares, one that is hardly below that of a constant.
    worst = next(item.reference for item in record.config.objectives if item.name == VALIDATION_ERROR)
    limit, better = (_HIGH_ERROR, _BETTER) if scale == SHARE else (_NEAR_WORST * worst, _BETTER * worst)
    trained = [error for trial in record.trials if (error := _float_error(trial)) is not None and not trial.is_child]
    high = sum(error > limit for error in trained)
    hints = []
    if len(trained) >= _FEWEST and high >= _MANY * len(trained):
        high_text = f"{100 * limit:.0f} %" if scale == SHARE else scale.text(limit)
        hints.append(
            f"{high} of {len(trained)} trained networks have an {scale.name} above {high_text} before any "
            "compression: train longer (space.epochs), search larger networks, or look at the data"
        )
    gains = [
        before - after
        for trial in record.front
        if (before := _float_error(trial)) is not None and (after := trial.outcome.get(VALIDATION_ERROR)) is not None
    ]
    if len(gains) >= _FEWEST and (gain := median(gains)) > better:
        gain_text = f"{100 * gain:.1f} points" if scale == SHARE else scale.text(gain)
        hints.append(
            f"the median model of the front is better by {gain_text} than the uncompressed network it "
            "comes from: its fine-tuning still trained it, so longer trainings (space.epochs) will probably pay"
        )
    return tuple(hints)


def _float_error(trial: Trial) -> float | None:
    return trial.outcome.get(FLOAT_VALIDATION_ERROR) if trial.state is TrialState.DONE else None
