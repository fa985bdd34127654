"""The page of results as Markdown; every number on it comes from the files of the networks' folders."""

from collections.abc import Mapping, Sequence

from experiments.compression.promise.config import PromiseConfig
from experiments.compression.promise.desktop import ASSUMED_POWER_W
from experiments.compression.promise.markdown import interval, table
from experiments.compression.promise.outcome import FLASH_RATIO_TARGETS, NO_LOSS_POINTS, Outcome, targets
from experiments.compression.promise.progress import progress_table
from experiments.compression.promise.rows import Row
from experiments.compression.promise.run import FLOAT, INT8, OURS, WIDTH

_INTRODUCTION = """\
# Deep compression against networks trained as carefully

Written by `python -m experiments.compression.promise` from the files beside it. Every choice, of the recipe, of our
network and of the sweep's, was made on the validation split; the test split was read once, by the networks below. *No
loss*: the upper end of the 95 % interval of our error minus the float network's, bootstrapped over groups and seeds, is
at most {points:g} point. *float*: the network in float32, best of a small grid of recipes. *int8*: the same network
after training, quantised. *ours*: the first of our candidates, in the order of the config, that was no worse on the
validation split than the last table allows; more than 0 points are allowed where all that were tried (they are in
`cells.csv`) lost some. Costs are the estimates of `hw_models` for the board and engine named; sizes are those of the
model, without the engine."""

_STOPPED_NOTE = "The validation split only; the test split was not read. The same command goes on from here."
_SEEDS_WANTED = 5


def page(configs: Sequence[PromiseConfig], outcomes: Sequence[Outcome], stopped: Mapping[str, Sequence[Row]]) -> str:
    """Return the page.

    Args:
        configs: All networks.
        outcomes: Those that were run.
        stopped: What was measured of those whose run was stopped, by title.
    """
    parts = [
        _INTRODUCTION.format(points=NO_LOSS_POINTS),
        "## Targets\n\n" + table(["target", "verdict"], targets(configs, outcomes)),
    ]
    if outcomes:
        parts += [
            "## No loss?\n\n" + table(_LOSS_COLUMNS, map(_loss_row, outcomes)),
            "## Smaller, faster\n\n" + table(_COST_COLUMNS, map(_cost_row, outcomes)),
            "## Against a plain width sweep\n\n" + _WIDTH_NOTE + table(_WIDTH_COLUMNS, map(_width_row, outcomes)),
            "## One inference on a desktop core and on the board\n\n"
            + _energy_note()
            + table(_ENERGY_COLUMNS, map(_energy_row, outcomes)),
            "## What was chosen\n\n" + table(_CHOICE_COLUMNS, map(_choice_row, outcomes)),
        ]
    missing = [config.title for config in configs if config.name not in {outcome.config.name for outcome in outcomes}]
    if missing:
        parts.append("Not finished: " + "; ".join(missing) + ".")
    for title, rows in stopped.items():
        parts.append(f"## {title}: stopped\n\n{_STOPPED_NOTE}\n\n{progress_table(rows)}")
    few = [f"{outcome.config.title}, {outcome.seeds}" for outcome in outcomes if outcome.seeds < _SEEDS_WANTED]
    if few:
        parts.append(f"Fewer than {_SEEDS_WANTED} seeds: " + "; ".join(few) + ".")
    return "\n\n".join(parts) + "\n"


_LOSS_COLUMNS = (
    "network",
    "seeds",
    "groups",
    "float error %",
    "int8 error %",
    "our error %",
    "ours - float, points",
    "no loss",
)


def _loss_row(outcome: Outcome) -> list[str]:
    errors = [f"{100 * outcome.test_errors[kind]:.2f}" for kind in (FLOAT, INT8, OURS)]
    groups = f"{outcome.group_count}" if outcome.are_groups_known else f"none: {outcome.group_count} samples"
    verdict = "yes" if outcome.is_lossless else "no"
    return [outcome.config.title, str(outcome.seeds), groups, *errors, interval(outcome.loss), verdict]


_COST_COLUMNS = (
    "network", "board, engine", "float32 flash", "our flash", "flash ratio (target)", "int8 flash",
    "latency ms, int8 -> ours", "latency ratio", "RAM bytes", "energy uJ",
)  # fmt: skip


def _cost_row(outcome: Outcome) -> list[str]:
    def pair(name: str, form: str) -> str:
        return " -> ".join(format(outcome.figure(kind, name), form) for kind in (INT8, OURS))

    return [
        outcome.config.title,
        f"{outcome.config.device}, {outcome.config.runtime}",
        f"{outcome.figure(INT8, 'float_flash_bytes'):,.0f}",
        f"{outcome.figure(OURS, 'flash_model_bytes'):,.0f}",
        f"{outcome.flash_ratio:.1f} ({FLASH_RATIO_TARGETS[outcome.config.kind]:g})",
        f"{outcome.figure(INT8, 'flash_model_bytes'):,.0f}",
        pair("latency_ms", ".1f"),
        f"{outcome.latency_ratio:.1f}",
        pair("ram_bytes", ",.0f"),
        pair("energy_uj", ",.0f"),
    ]


_WIDTH_NOTE = """\
The sweep's network is of the float network's family, trained as long as ours with its fine-tuning or longer, and in
int8 no larger than ours; where several were trained, it is the best of them on the validation split.

"""
_WIDTH_COLUMNS = (
    "network",
    "sweep",
    "its flash",
    "our flash",
    "its error %",
    "our error %",
    "ours - sweep, points",
    "better",
)


def _width_row(outcome: Outcome) -> list[str]:
    return [
        outcome.config.title,
        f"{outcome.config.width.parameter} {outcome.choices.width:g}",
        f"{outcome.figure(WIDTH, 'flash_model_bytes'):,.0f}",
        f"{outcome.figure(OURS, 'flash_model_bytes'):,.0f}",
        f"{100 * outcome.test_errors[WIDTH]:.2f}",
        f"{100 * outcome.test_errors[OURS]:.2f}",
        interval(outcome.against_width),
        "yes" if outcome.is_better_than_width else "no",
    ]


def _energy_note() -> str:
    return (
        f"Desktop: processor time of the float network, one sample on one thread, times {ASSUMED_POWER_W:g} W, which "
        "is assumed.\n\n"
    )


_ENERGY_COLUMNS = ("network", "desktop ms", "desktop uJ", "board uJ, ours", "ratio")


def _energy_row(outcome: Outcome) -> list[str]:
    ours_uj = outcome.figure(OURS, "energy_uj")
    return [
        outcome.config.title,
        f"{outcome.choices.desktop_cpu_ms:.2f}",
        f"{outcome.desktop_uj:,.0f}",
        f"{ours_uj:,.0f}",
        f"{outcome.desktop_uj / ours_uj:.0f}",
    ]


_CHOICE_COLUMNS = (
    "network", "recipe", "ours", "validation error %, float -> ours", "points allowed", "download bytes",
)  # fmt: skip


def _choice_row(outcome: Outcome) -> list[str]:
    errors = (outcome.figure(INT8, "float_validation_error"), outcome.figure(OURS, "validation_error"))
    return [
        outcome.config.title,
        outcome.choices.recipe,
        outcome.choices.candidate,
        " -> ".join(f"{100 * error:.2f}" for error in errors),
        f"{outcome.config.tolerance_points:g}",
        f"{outcome.figure(OURS, 'download_bytes'):,.0f}",
    ]
