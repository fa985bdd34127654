"""The whole page: what was found, which model was picked and why, how the search went, how far to trust it."""

from collections import Counter
from html import escape
from pathlib import Path

from plotly.offline import get_plotlyjs

from hw_models.device import load_device
from hw_models.runtime import load_runtime
from mobo.base import atomic_write
from mobo.report.front_figure import front_figure, shown_costs
from mobo.report.hypervolume_figure import hypervolume_figure
from mobo.report.layers_figure import layers_figure
from mobo.report.markup import bullets, facts, figure_div, paragraph, preformatted, section, table
from mobo.report.memory_figure import memory_figure
from mobo.report.mistakes_section import mistakes_section
from mobo.report.quantities import COSTS, quantities
from mobo.report.saved_model import read_saved_model
from mobo.report.theme import STYLE
from mobo.report.time_figure import time_figure
from mobo.report.trust import trust_points
from mobo.report.verification_section import verification_section
from mobo.runs.front_table import retrained_object
from mobo.runs.pick import Pick
from mobo.runs.pick_for_device import PickAnswer, pick_for_device
from mobo.runs.record import RunRecord
from mobo.runs.time_split import time_split
from mobo.runs.training_hints import training_hints
from mobo.space import columns
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.tasks.settings import AnomalySettings


def write_report(record: RunRecord) -> Path:
    """Write a run's report and return its path.

    Args:
        record: The run, finished or not.

    Raises:
        OSError: The folder cannot be written.
        MoboError, HardwareModelError, EnvError: A model's files are damaged, or the board or the runtime is unknown.
    """
    path = record.directory.report_path
    atomic_write.write_text(path, report_html(record))
    return path


def report_html(record: RunRecord) -> str:
    """Return the report as one HTML text that needs nothing else; the same run gives the same text."""
    config = record.config
    answer = pick_for_device(record, config.device.name, ())
    picked = answer.picks[0] if answer.picks else None
    number = None if picked is None else picked.candidate.trial
    body = "".join(
        (
            f"<h1>{escape(config.name)}</h1>",
            f'<p class="lead">{escape(_lead(record, answer))}</p>',
            facts(_facts(record, picked)),
            _front_section(record, number),
            *([] if picked is None else _model_sections(record, picked, answer.rule)),
            _search_section(record),
            _trust_section(record, answer.runtime),
            _record_section(record),
        )
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(config.name)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style><script>{get_plotlyjs()}</script></head><body><main>{body}</main></body></html>\n"
    )


_PANEL_PX = 220
"""What a panel of a figure needs for its title."""

_ERRORS = {
    "share": "1 − accuracy",
    "balanced": "1 − the mean share of every class that is recognised",
    "macro_f1": "1 − the mean F1 score of the classes",
    "mae": "mean absolute error",
    "rmse": "root mean square error",
}


def _lead(record: RunRecord, answer: PickAnswer) -> str:
    config = record.config
    families = config.network.names
    kind = "family" if len(families) == 1 else "families"
    return (
        f"Task {config.task.name}, network {kind} {', '.join(families)}, for {answer.device} with {answer.runtime}; "
        f"sampler {config.sampler.chosen}, seed {config.seed}. Everything is minimised; error is {_error_word(config)}."
    )


def _error_word(config: StudyConfig) -> str:
    if isinstance(config.task, AnomalySettings):
        return "1 − area under the ROC curve"
    if config.task.is_regression:
        return f"the {_ERRORS[config.task.error]} in {config.error_scale.unit}"
    return _ERRORS[config.task.error]


def _facts(record: RunRecord, picked: Pick | None) -> list[tuple[str, str]]:
    known = quantities(record.config.error_scale)
    entries = [
        (f"{len(record.finished)} of {record.config.trials or record.config.budget}", "trials finished"),
        (str(len(record.front)), "models on the front"),
        (f"{record.front.hypervolume:.3f}", "hypervolume"),
    ]
    if picked is not None:
        candidate = picked.candidate
        values = {columns.VALIDATION_ERROR: candidate.validation_error, columns.TEST_ERROR: candidate.test_error}
        if candidate.confirmation is not None:
            values |= {"confirmed_error": candidate.confirmation.error}
        again = record.retrained_model(candidate.trial)
        if again is not None:
            values |= retrained_object(again)
        for name, value in {**values, **candidate.costs}.items():
            if name in (*values, "flash_model_bytes", "ram_bytes", "latency_ms") and value is not None:
                quantity = known[name]
                entries.append((f"{quantity.text(value)} {quantity.unit}", f"picked model: {quantity.label}"))
    return entries


def _front_section(record: RunRecord, picked: int | None) -> str:
    if not record.trials:
        return section("The front", paragraph("No trial was recorded yet."))
    front = figure_div(front_figure(record, picked), "front", least_px=_PANEL_PX * len(shown_costs(record)))
    if not len(record.front):
        advice = "The front is empty: no trial is feasible. Loosen a constraint, widen the space or try more designs."
        return section("The front", paragraph(advice), front)
    objects = record.front_objects()
    errors = (
        columns.VALIDATION_ERROR,
        columns.TEST_ERROR,
        *columns.CONFIRMED,
        *columns.RETRAINED,
        columns.FLOAT_VALIDATION_ERROR,
    )
    shown = (*errors, *columns.COSTS, columns.DOWNLOAD_BYTES, *columns.KEPT)
    if not record.confirmed:
        shown = tuple(name for name in shown if name not in columns.CONFIRMED)
    if not record.retrained:
        shown = tuple(name for name in shown if name not in columns.RETRAINED)
    known = quantities(record.config.error_scale)
    headers = ["trial", *(known[name].title for name in shown)]
    rows = [[str(entry["trial"]), *(known[name].text(entry[name]) for name in shown)] for entry in objects]
    marked = next((index for index, entry in enumerate(objects) if entry["trial"] == picked), None)
    text = (
        "No model on the front can be improved in one objective without losing in another. In each panel only two of "
        "the objectives meet, so a point of the front may look beaten: it wins in another one. "
        "Dashed lines are limits; bars are the 80 % intervals of the cost models."
    )
    return section("The front", paragraph(text), front, table(headers, rows, marked=marked))


def _model_sections(record: RunRecord, picked: Pick, rule: str) -> list[str]:
    number = picked.candidate.trial
    rows = [
        (
            COSTS[margin.limit.cost].title,
            COSTS[margin.limit.cost].text(margin.used),
            COSTS[margin.limit.cost].text(margin.limit.upper),
            f"{100 * margin.relative:.1f} %",
            margin.limit.source,
        )
        for margin in picked.margins
    ]
    binding = COSTS[picked.binding.limit.cost].label
    limits = section(
        f"Picked: trial {number}",
        paragraph(f"Rule: {rule}. The limit that binds first is {binding}."),
        table(("limit on", "used", "limit", "margin", "limit from"), rows, marked=picked.margins.index(picked.binding)),
        paragraph(f"`mobo pick {record.directory.path} --device NAME` picks under other limits or for another board."),
    )
    if not record.directory.model_directory(number).is_dir():
        return [limits, section("Layers and memory", paragraph(f"The files of trial {number} are not on disk."))]
    model = read_saved_model(record.directory, number)
    layers = section(
        "Layer by layer",
        paragraph("Layers in running order. A kept share stands at the layer that names its group of tied channels."),
        figure_div(layers_figure(model), "layers", least_px=3 * _PANEL_PX),
    )
    memory = section(
        "Memory timeline",
        paragraph(
            f"What is alive in the arena while each layer runs; {model.peak_layer} sets the peak. The arena can be "
            "larger than the peak: the engine's planner cannot always pack buffers without gaps."
        ),
        figure_div(memory_figure(model), "memory", least_px=2 * _PANEL_PX),
    )
    return [
        limits,
        mistakes_section(record.directory, number),
        layers,
        memory,
        verification_section(record.directory, record.delivered_directory(number)),
    ]


def _search_section(record: RunRecord) -> str:
    if not record.finished:
        return ""
    split = time_split(record.trials)
    rows = [
        (entry.stage, f"{entry.median_s:.3f}", f"{entry.total_s:.1f}", f"{100 * entry.share:.1f}") for entry in split
    ]
    states = Counter(trial.state.value for trial in record.trials)
    troubled = [
        f"trial {trial.number} {trial.state.value}: {trial.message}" for trial in record.finished if trial.message
    ]
    text = (
        "Hypervolume is the share of the box between every objective's ideal and reference (both fixed in the config) "
        "that the front dominates; it never falls. Trials: "
        + ", ".join(f"{count} {state}" for state, count in states.items())
        + "."
    )
    return section(
        "How the search went",
        paragraph(text),
        figure_div(hypervolume_figure(record), "hypervolume"),
        "<h2>Where the time went</h2>",
        figure_div(time_figure(record), "time"),
        table(("stage", "median s per trial", "total s", "%"), rows),
        *(["<h2>Long enough?</h2>", bullets(hints)] if (hints := training_hints(record)) else []),
        *(["<h2>Trials without a result</h2>", bullets(troubled)] if troubled else []),
    )


def _trust_section(record: RunRecord, runtime_name: str) -> str:
    device = load_device(record.config.device.name, extra_file=record.config.device.file)
    runtime = load_runtime(runtime_name, extra_file=record.config.device.runtime_file)
    return section("How far to trust these numbers", bullets(trust_points(record, device, runtime)))


def _record_section(record: RunRecord) -> str:
    versions = table(("package", "version"), list(record.versions.items()))
    return section("Config and versions", preformatted(record.config.to_toml()), versions)
