"""What a goal will hold the trials against, checked and told before anything is trained."""

from pathlib import Path

from mobo.goal.baseline import ReferenceNetworks
from mobo.goal.reference_description import goal_of, narrower
from mobo.runs.directory import RunDirectory
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.setup import load_setup


def preview(config: StudyConfig) -> tuple[str, ...]:
    """Return what a study's goal asks for and how large its reference networks are in int8, one per line.

    Raises:
        MoboError, EnvError, HardwareModelError: The goal's networks cannot be built.
    """
    goal = goal_of(config)
    # Nothing is read from or written to the folder: there is no run yet.
    networks = ReferenceNetworks(config, load_setup(config), RunDirectory(Path("no-run-yet")))
    baseline = networks.describe_baseline()
    lines = [
        f"goal: least {goal.minimise} at an error at most {100 * goal.tolerance:g} points above the baseline's",
        f"baseline: {baseline.network.family}, {baseline.origin}, {networks.int8_bytes(baseline):,} bytes in int8; "
        + ", ".join(f"{name} {value}" for name, value in baseline.values.items()),
    ]
    if goal.width_sweep is not None:
        found = [narrower(config, baseline, goal.width_sweep, value) for value in goal.width_sweep.values]
        sizes = (f"{each.origin} {networks.int8_bytes(each):,} bytes" for each in found)
        lines.append("width sweep in int8: " + ", ".join(sizes))
    return tuple(lines)
