"""``mobo watch``."""

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mobo.base.plain_text import visible
from mobo.cli.arguments import AsJson, Run
from mobo.cli.output import duration, print_json, say, text_table
from mobo.space.columns import COSTS, VALIDATION_ERROR
from mobo.space.error_scale import SHARE, ErrorScale

if TYPE_CHECKING:
    from mobo.runs.record import RunRecord

NAME = "watch"
EXAMPLE = "mobo watch runs/quickstart-001"

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 50
_PENDING_SHOWN = 2
_COLUMNS = 80
_ROWS_BESIDE_FRONT = 10
"""What stands above the models and below them, with one line in two."""

Once = Annotated[bool, typer.Option("--once", help="Print one screen and end.")]
Every = Annotated[float, typer.Option("--every", min=0.2, metavar="SECONDS", help="How often to look.")]


def command(run: Run, once: Once = False, every: Every = 2.0, as_json: AsJson = False) -> None:
    """Show how a search goes: trials that run and that wait, hypervolume, front, time left; nothing is changed.

    On a terminal the screen is kept up to date until the search has all its trials, or Ctrl-C, and shows as much of the
    front as there is room for; elsewhere, and with --once or --json, all of it is printed once. The time left is
    counted from the mean trial so far.
    """
    from mobo.runs.record import read_run

    if as_json:
        print_json([watched(read_run(run), datetime.now(UTC))])
        return
    if once or not sys.stdout.isatty():
        record = read_run(run)
        say(screen(watched(record, datetime.now(UTC)), record.config.error_scale))
        return
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False) as live:
        try:
            while True:
                record = read_run(run)
                seen, scale = watched(record, datetime.now(UTC)), record.config.error_scale
                size = live.console.size
                text = screen(seen, scale, columns=size.width, rows=size.height)
                live.update(Text(visible(text, kept="\n")), refresh=True)
                if seen["finished"] == seen["trials"]:
                    return
                time.sleep(every)
        except KeyboardInterrupt:
            return


def watched(record: "RunRecord", now: datetime) -> dict[str, Any]:
    """Return what there is to see of a run.

    Args:
        record: The run.
        now: The time, for how long ago trials were proposed.
    """
    from mobo.runs.time_split import trial_seconds
    from mobo.space.pareto import hypervolume_history
    from mobo.space.trial import TrialState
    from mobo.study.store import is_written

    finished, config = record.finished, record.config
    history = hypervolume_history(finished, config.objectives, record.front.constraints)
    pending: dict[TrialState, list[dict[str, Any]]] = {TrialState.RUNNING: [], TrialState.PROPOSED: []}
    for trial in record.trials:
        if trial.state in pending:
            since_s = (now - datetime.fromisoformat(trial.started_utc)).total_seconds()
            pending[trial.state].append({"trial": trial.number, "proposed_s_ago": round(since_s, 1)})
    spent_s = sum(trial_seconds(trial) for trial in finished) / config.compute.jobs
    return {
        "study": config.name,
        "run": str(record.directory.path),
        "trials": config.trials,
        "hours": config.hours,
        "jobs": config.compute.jobs,
        "finished": len(finished),
        "states": dict(Counter(trial.state.value for trial in finished)),
        "is_searched": is_written(record.directory.store_path),
        "running": pending[TrialState.RUNNING],
        "waiting": pending[TrialState.PROPOSED],
        "hypervolume": record.front.hypervolume,
        "hypervolume_history": list(history),
        "time_left_s": _time_left_s(len(finished), config.trials, config.hours, spent_s),
        "costs": _costs(record),
        "front": [dict(entry) for entry in record.front_objects()],
    }


def _costs(record: "RunRecord") -> list[str]:
    """Return the costs that a study minimises, then those that it limits."""
    asked = [item.name for item in record.config.objectives] + [item.outcome for item in record.config.constraints]
    return [name for name in dict.fromkeys(asked) if name in COSTS]


def _time_left_s(finished: int, trials: int | None, hours: float | None, spent_s: float) -> float | None:
    """Return the seconds until the trials are done or the hours over, whatever comes first; None where nobody knows."""
    if trials is not None and finished >= trials:
        return 0.0
    left_s = [] if trials is None or not finished else [(trials - finished) * spent_s / finished]
    left_s += [] if hours is None else [max(0.0, 3600 * hours - spent_s)]
    return min(left_s, default=None)


def screen(
    seen: Mapping[str, Any], scale: ErrorScale = SHARE, *, columns: int = _COLUMNS, rows: int | None = None
) -> str:
    """Return what :func:`watched` found as text for people.

    Args:
        seen: What was found.
        scale: How the study's errors are shown.
        columns: How wide the front may be; costs beyond are left out, the last first.
        rows: How high the whole may be; of a longer front the best by error are shown. Without it all of it is.
    """
    states = ", ".join(f"{count} {state}" for state, count in seen["states"].items()) or "none yet"
    total = f" of {seen['trials']}" if seen["trials"] else ""
    budget = f", for {seen['hours']:g} h" if seen["hours"] else ""
    left = "unknown" if seen["time_left_s"] is None else duration(seen["time_left_s"])
    lines = [
        f"{seen['study']} in {seen['run']}",
        f"trials: {seen['finished']}{total} finished{budget} ({states}); time left: {left}",
        *_under_way(seen),
        f"hypervolume: {seen['hypervolume']:.4f}  {_spark(seen['hypervolume_history'])}",
        "",
    ]
    front = seen["front"]
    if not front:
        return "\n".join([*lines, "the front is empty: no finished trial is feasible yet"])
    shown = front if rows is None else front[: max(1, rows - _ROWS_BESIDE_FRONT)]
    lines += [f"front ({len(front)} models):", _front(shown, seen["costs"], scale, columns)]
    if len(shown) < len(front):
        lines.append(f"and {len(front) - len(shown)} more: a higher window or `mobo front` shows them")
    return "\n".join(lines)


def _front(front: Sequence[Mapping[str, Any]], costs: Sequence[str], scale: ErrorScale, columns: int) -> str:
    """Return models with their error and as many of the costs as a width holds."""
    # Here only: the report takes plotly.
    from mobo.report.quantities import quantities

    known = quantities(scale)
    rows = [
        (str(entry["trial"]), scale.number(entry[VALIDATION_ERROR]), *(known[cost].text(entry[cost]) for cost in costs))
        for entry in front
    ]
    headers = (
        "trial",
        f"{scale.name} {scale.unit}",
        *(f"{known[cost].label} {known[cost].unit}".rstrip() for cost in costs),
    )
    table = text_table(headers, rows)
    is_too_wide = max(map(len, table.splitlines())) > columns
    return _front(front, costs[:-1], scale, columns) if is_too_wide and costs else table


def _under_way(seen: Mapping[str, Any]) -> list[str]:
    """Return the lines of the trials that are not finished."""
    left = [*seen["running"], *seen["waiting"]]
    if left and not seen["is_searched"]:
        return [
            "running: none; no search has this run open, as far as this machine sees",
            f"under way when it was stopped: {_pending(left)}; `mobo search` with --resume goes on",
        ]
    return [f"running: {_pending(seen['running'])}", f"waiting for a worker: {_pending(seen['waiting'])}"]


def _pending(trials: Sequence[Mapping[str, Any]]) -> str:
    """Return trials for one line, those that wait longest first."""
    first = sorted(trials, key=lambda entry: -entry["proposed_s_ago"])[:_PENDING_SHOWN]
    shown = [f"{entry['trial']} (proposed {duration(max(0.0, entry['proposed_s_ago']))} ago)" for entry in first]
    more = len(trials) - len(first)
    return ", ".join([*shown, *([f"{more} more"] if more else [])]) or "none"


def _spark(values: list[float]) -> str:
    """Return numbers as a line of bars, the last of every stretch where there are more than fit.

    >>> _spark([0.0, 0.5, 1.0])
    '▁▄█'
    """
    highest = max(values, default=0.0)
    if not highest:
        return ""
    step = max(1, -(-len(values) // _WIDTH))
    kept = [values[min(start + step, len(values)) - 1] for start in range(0, len(values), step)]
    return "".join(_BARS[int(value / highest * (len(_BARS) - 1))] for value in kept)
