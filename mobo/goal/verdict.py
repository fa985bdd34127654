"""What became of a goal, as it is written to ``goal.json`` and read back."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from hw_models.files import FileError, read_json
from mobo.base import atomic_write
from mobo.goal.decision import GoalVerdict, Judged
from mobo.goal.errors import GoalError
from mobo.goal.float_cost import ratios
from mobo.runs.directory import RunDirectory
from mobo.tinyml.goal_settings import GoalSettings

Costs = Mapping[str, float | None]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Gap(_Part):
    """An error minus another one on the same samples, with its interval, as shares of the samples."""

    difference: float
    low: float
    high: float


class BaselineFigures(_Part):
    """The float network that the trials are held against, and the same in int8.

    Attributes:
        origin: ``trained``, or the run and the trial it was taken from.
        family: Network family.
        design: Its hyperparameters.
        float_error: Its error on the validation split.
        int8_error: That of the same network in int8.
        float_costs: What it costs in float32.
        int8_costs: What it costs in int8.
    """

    origin: str
    family: str
    design: dict[str, bool | int | float | str]
    float_error: float
    int8_error: float
    float_costs: dict[str, float | None]
    int8_costs: dict[str, float | None]


class ChosenFigures(_Part):
    """The network that meets the goal.

    Attributes:
        trial: Its trial.
        validation_error: Its error on the validation split.
        gap: That minus the float baseline's.
        costs: What it costs.
    """

    trial: int
    validation_error: float
    gap: Gap
    costs: dict[str, float | None]


class NarrowerFigures(_Part):
    """The network of the width sweep: the widest in int8 that takes no more flash than the chosen one.

    Attributes:
        origin: What was swept and its value in this network.
        fits: Whether it takes no more flash; False where even the narrowest of the sweep takes more.
        validation_error: Its error in int8 on the validation split.
        gap: The chosen network's error minus it.
        costs: What it costs in int8.
    """

    origin: str
    fits: bool
    validation_error: float
    gap: Gap
    costs: dict[str, float | None]


class TestFigures(_Part):
    """Errors on the test split, which is read once, at the end, for the chosen network and what it is held against.

    Attributes:
        trial: The chosen network.
        samples: Size of the split.
        groups: Its groups; None where samples are independent.
        error: The chosen network's error.
        float_error: The float baseline's.
        int8_error: That of the baseline in int8.
        narrower_error: That of the width sweep's network; None without one.
        gap: The chosen network's error minus the float baseline's.
    """

    __test__ = False

    trial: int
    samples: int
    groups: int | None
    error: float
    float_error: float
    int8_error: float
    narrower_error: float | None
    gap: Gap


class Verdict(_Part):
    """What became of a goal.

    Attributes:
        study: Name of the study.
        verdict: ``met``, ``not met`` or ``undecidable``.
        goal: What was asked for.
        trials_finished: Trials the run had by then.
        trials_asked: Trials the study shall have.
        feasible: Networks that keep the study's constraints.
        samples: Size of the validation split.
        groups: Its groups; None where samples are independent.
        baseline: The baseline.
        judged: The networks that were judged; those whose mean error alone is above what is tolerated are left out.
        chosen: The network that meets the goal; None where none does.
        narrower: The width sweep's network; None without a sweep, without a chosen network, or before it was trained.
        test: Errors on the test split; None before it was read.
    """

    study: str
    verdict: GoalVerdict
    goal: GoalSettings
    trials_finished: int
    trials_asked: int
    feasible: int
    samples: int
    groups: int | None
    baseline: BaselineFigures
    judged: tuple[Judged, ...]
    chosen: ChosenFigures | None
    narrower: NarrowerFigures | None = None
    test: TestFigures | None = None

    @property
    def float_ratios(self) -> Costs:
        """How many times more the baseline costs in float32 than the chosen network; empty without one."""
        return {} if self.chosen is None else ratios(self.baseline.float_costs, self.chosen.costs)

    @property
    def int8_ratios(self) -> Costs:
        """How many times more the baseline costs in int8 than the chosen network; empty without one."""
        return {} if self.chosen is None else ratios(self.baseline.int8_costs, self.chosen.costs)


def write_verdict(run: RunDirectory, verdict: Verdict) -> None:
    """Write what became of a goal, whole."""
    atomic_write.write_text(run.goal_path, verdict.model_dump_json(indent=1) + "\n")


def read_verdict(run: RunDirectory) -> Verdict | None:
    """Return what a search wrote of its goal; None where none was written.

    Raises:
        GoalError: The file is damaged.
    """
    if not run.goal_path.is_file():
        return None
    try:
        return read_json(run.goal_path, Verdict)
    except FileError as error:
        raise GoalError(f"{error}; remove it and resume the search") from error
