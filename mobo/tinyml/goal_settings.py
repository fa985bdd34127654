"""What a config may say of a goal: the smallest network that is no worse than a baseline, by so much and so surely."""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from hw_models.cost import COST_NAMES
from hw_models.errors import unknown_name
from mobo.space.columns import DOWNLOAD_BYTES
from mobo.tinyml.networks import OWN_MODULE

TRAINED = "trained"
"""The baseline is a float network that the study trains itself."""

MINIMISED = (*COST_NAMES, DOWNLOAD_BYTES)
"""What a goal may minimise: every outcome but the errors."""


def _plain(value: object) -> object:
    """Refuse anything else in one line, where the union would have one for each of its types."""
    if not isinstance(value, bool | int | float | str):
        raise ValueError("give a plain value: a number, a text, true or false")
    return value


PlainValue = Annotated[bool | int | float | str, BeforeValidator(_plain)]


class WidthSweepSettings(BaseModel):
    """Narrower networks of the baseline's family, trained the same way and quantised to int8, for comparison.

    Of those that take no more model flash than the chosen network, the widest is trained.

    Attributes:
        parameter: The hyperparameter that makes the baseline narrower.
        values: Its values.
        epochs: How long the narrower network is trained; without it as long as the baseline.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    parameter: str
    values: Annotated[tuple[int | float, ...], Field(min_length=1)]
    epochs: Annotated[int, Field(ge=1)] | None = None


class GoalSettings(BaseModel):
    """The least of something at an error that is no higher than a float network's, by more than is tolerated.

    Attributes:
        tolerance: How much higher the error may be, as a share of the samples: 0.01 is one percentage point.
        confidence: Of the interval of the difference, whose upper end must be within the tolerance.
        minimise: The outcome of which the chosen network has the least.
        baseline: ``trained``: the study trains the float network that the others are held against; ``RUN:TRIAL``: it is
            the float network of a trial of an earlier run, e.g. ``runs/digits-001:8``.
        baseline_family: Network family of a trained baseline; without it the study's. A study of several must name one.
        baseline_design: Hyperparameters of a trained baseline. Those that are not given are what the study fixes, else
            the upper end of what it searches of the network, the fullest of the inputs that it searches, and the middle
            of what it searches of the training.
        width_sweep: Narrower networks to compare with at equal flash; none without it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.01
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    minimise: str = "flash_model_bytes"
    baseline: str = TRAINED
    baseline_family: str | None = None
    baseline_design: dict[str, PlainValue] = Field(default_factory=dict)
    width_sweep: WidthSweepSettings | None = None

    @field_validator("minimise")
    @classmethod
    def _is_an_outcome(cls, name: str) -> str:
        if name not in MINIMISED:
            raise ValueError(unknown_name("outcome", name, MINIMISED))
        return name

    @field_validator("baseline")
    @classmethod
    def _names_a_baseline(cls, baseline: str) -> str:
        if baseline != TRAINED and re.fullmatch(r".+:\d+", baseline) is None:
            raise ValueError(
                f'it must be "{TRAINED}", or a run and the number of a trial of it, like "runs/digits-001:8"'
            )
        return baseline

    @field_validator("baseline_family")
    @classmethod
    def _is_built_in(cls, family: str | None) -> str | None:
        if family == OWN_MODULE:
            raise ValueError(
                f'"{OWN_MODULE}" is a network of your own: make it the network of a run and name the trial in baseline'
            )
        return family

    @model_validator(mode="after")
    def _only_a_trained_baseline_has_a_design(self) -> "GoalSettings":
        if self.earlier is not None and (self.baseline_family is not None or self.baseline_design):
            raise ValueError(
                f'baseline = "{self.baseline}" is a network that is trained already; drop baseline_family and '
                f'baseline_design, or let the study train one with baseline = "{TRAINED}"'
            )
        return self

    @property
    def earlier(self) -> tuple[str, int] | None:
        """The run and the trial whose float network is the baseline; None where the study trains one."""
        if self.baseline == TRAINED:
            return None
        run, _, trial = self.baseline.rpartition(":")
        return run, int(trial)
