"""What became of one network, from the files of its folder alone: figures, differences with intervals, targets."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.compression.promise.bench import ROWS
from experiments.compression.promise.bootstrap import Difference, error_difference
from experiments.compression.promise.config import PromiseConfig
from experiments.compression.promise.desktop import ASSUMED_POWER_W
from experiments.compression.promise.ladder import mean
from experiments.compression.promise.predictions import GROUP, Predictions
from experiments.compression.promise.rows import Row, RowFile
from experiments.compression.promise.run import CHOICES, FLOAT, INT8, OURS, PREDICTIONS, WIDTH, Choices

FLASH_RATIO_TARGETS = {"typical": 20.0, "small": 8.0}
LATENCY_RATIO_TARGET = 5.0
LATENCY_NEEDED = 3
NO_LOSS_POINTS = 1.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The results of one network.

    Attributes:
        config: What was asked.
        choices: What was decided on the validation split.
        rows: Rows of the final networks by kind, seed by seed.
        test_errors: Mean error on the test split by kind.
        loss: How much larger our error is than the float baseline's.
        against_width: How much larger our error is than that of the width sweep's network.
        group_count: Groups of the test split.
        are_groups_known: Whether samples share groups; else every sample is one.
    """

    config: PromiseConfig
    choices: Choices
    rows: dict[str, list[Row]]
    test_errors: dict[str, float]
    loss: Difference
    against_width: Difference
    group_count: int
    are_groups_known: bool

    def figure(self, kind: str, name: str) -> float:
        """Return a column's mean over the seeds of a kind of network."""
        return mean(self.rows[kind], name)

    @property
    def seeds(self) -> int:
        """Seeds behind the figures."""
        return len(self.rows[OURS])

    @property
    def flash_ratio(self) -> float:
        """Model flash in float32 over ours."""
        return self.figure(INT8, "float_flash_bytes") / self.figure(OURS, "flash_model_bytes")

    @property
    def latency_ratio(self) -> float:
        """Latency of the same network in int8 over ours."""
        return self.figure(INT8, "latency_ms") / self.figure(OURS, "latency_ms")

    @property
    def desktop_uj(self) -> float:
        """Energy of one float inference on a desktop core of the assumed power, uJ."""
        return self.choices.desktop_cpu_ms * ASSUMED_POWER_W * 1000

    @property
    def is_lossless(self) -> bool:
        """Whether the upper end of the interval of the loss is at most the allowed points."""
        return self.loss.high <= NO_LOSS_POINTS

    @property
    def is_flash_met(self) -> bool:
        """Whether the model is so many times smaller, at no loss."""
        return self.is_lossless and self.flash_ratio >= FLASH_RATIO_TARGETS[self.config.kind]

    @property
    def is_latency_met(self) -> bool:
        """Whether it is so many times faster than the same network in int8, at no loss."""
        return self.is_lossless and self.latency_ratio >= LATENCY_RATIO_TARGET

    @property
    def is_better_than_width(self) -> bool:
        """Whether our mean test error is below that of the best int8 network of the sweep that is no larger."""
        return self.against_width.points < 0


def read_outcome(config: PromiseConfig, folder: Path) -> Outcome | None:
    """Return what became of a network; None where it was not finished."""
    if not (folder / CHOICES).is_file():
        return None
    choices = Choices(**json.loads((folder / CHOICES).read_text(encoding="utf-8")))
    found, predictions = RowFile(folder / ROWS), Predictions(folder / PREDICTIONS)
    groups = predictions.table[GROUP].to_numpy()
    columns = choices.keys | {FLOAT: [f"{FLOAT}-{key}" for key in choices.keys[INT8]]}
    wrong = {kind: predictions.wrong(names) for kind, names in columns.items()}
    group_count = len(np.unique(groups))
    return Outcome(
        config=config,
        choices=choices,
        rows={kind: [found[key] for key in keys] for kind, keys in choices.keys.items()},
        test_errors={kind: float(mistakes.mean()) for kind, mistakes in wrong.items()},
        loss=error_difference(wrong[OURS], wrong[FLOAT], groups),
        against_width=error_difference(wrong[OURS], wrong[WIDTH], groups),
        group_count=group_count,
        are_groups_known=group_count < len(groups),
    )


def targets(configs: Sequence[PromiseConfig], outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    """Return every target with its verdict: ``met``, ``missed``, or ``open`` while networks are missing.

    Args:
        configs: All networks.
        outcomes: Those that were run.
    """
    verdicts = []
    for kind, ratio in FLASH_RATIO_TARGETS.items():
        asked = sum(config.kind == kind for config in configs)
        met = [outcome.is_flash_met for outcome in outcomes if outcome.config.kind == kind]
        verdicts.append((f"model flash {ratio:g}x smaller at no loss, {kind} networks", verdict(met, asked, asked)))
    fast, better = ([getattr(item, name) for item in outcomes] for name in ("is_latency_met", "is_better_than_width"))
    return [
        *verdicts,
        (
            f"latency {LATENCY_RATIO_TARGET:g}x lower at no loss, at least {LATENCY_NEEDED}",
            verdict(fast, LATENCY_NEEDED, len(configs)),
        ),
        (
            "lower test error than the best int8 network of the width sweep, all",
            verdict(better, len(configs), len(configs)),
        ),
    ]


def verdict(met: Sequence[bool], needed: int, asked: int) -> str:
    """Return whether enough networks meet a target, whatever those come to that were not run.

    >>> verdict([True, False], 2, 3), verdict([True, False], 3, 3), verdict([True, True], 2, 3)
    ('open (1 of 2 run)', 'missed (1 of 2 run)', 'met (2 of 2 run)')
    """
    found = sum(met)
    state = "met" if found >= needed else "open" if found + asked - len(met) >= needed else "missed"
    return f"{state} ({found} of {len(met)} run)"
