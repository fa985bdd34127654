"""The smallest study with a goal, and made-up verdicts."""

from mobo.goal.decision import Judged
from mobo.goal.verdict import BaselineFigures, ChosenFigures, Gap, NarrowerFigures, TestFigures, Verdict
from mobo.tinyml.config import StudyConfig, parse_config
from mobo.tinyml.goal_settings import GoalSettings, WidthSweepSettings
from tests.mobo.small_study import TEXT

GOAL = """
[goal]
tolerance = 0.9
baseline_design = {epochs = 2}
width_sweep = {parameter = "width", values = [2, 8]}
"""
GOAL_TEXT = TEXT + GOAL
"""Almost any network is within a tolerance of 90 points."""


def goal_config(*overrides: str) -> StudyConfig:
    """Return the study with overrides."""
    return parse_config(GOAL_TEXT, overrides)


COSTS = {"flash_model_bytes": 1000.0, "ram_bytes": 400.0, "latency_ms": 2.0}


def made_up(*, met: bool = True, verdict: str = "undecidable", finished: int = 3) -> Verdict:
    """Return a verdict, with a chosen network or without."""
    judged = (Judged(4, 1000.0, 0.005, -0.01, 0.009, "met"), Judged(7, 900.0, 0.02, -0.02, 0.06, "undecided"))
    return Verdict(
        study="made-up",
        verdict="met" if met else verdict,  # type: ignore[arg-type]
        goal=GoalSettings(tolerance=0.01, width_sweep=WidthSweepSettings(parameter="width", values=(2, 4))),
        trials_finished=finished,
        trials_asked=3,
        feasible=3,
        samples=200,
        groups=12,
        baseline=BaselineFigures(
            origin="trained",
            family="lenet5",
            design={"width_multiplier": 1.0},
            float_error=0.025,
            int8_error=0.0275,
            float_costs={name: 8 * value for name, value in COSTS.items()} | {"ram_bytes": None},
            int8_costs={name: 2 * value for name, value in COSTS.items()},
        ),
        judged=judged if met else judged[1:],
        chosen=ChosenFigures(
            trial=4, validation_error=0.03, gap=Gap(difference=0.005, low=-0.01, high=0.009), costs=COSTS
        )
        if met
        else None,
        narrower=NarrowerFigures(
            origin="width=4",
            fits=True,
            validation_error=0.08,
            gap=Gap(difference=-0.05, low=-0.09, high=-0.01),
            costs=COSTS | {"flash_model_bytes": 950.0},
        )
        if met
        else None,
        test=TestFigures(
            trial=4,
            samples=300,
            groups=None,
            error=0.04,
            float_error=0.03,
            int8_error=0.035,
            narrower_error=0.1,
            gap=Gap(difference=0.01, low=-0.005, high=0.03),
        )
        if met
        else None,
    )
