"""``mobo pick``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mobo.cli.arguments import AsJson, Run
from mobo.cli.output import (
    errors_text,
    number,
    print_json,
    quantity,
    retrained_text,
    say,
    text_table,
    verification_summary,
)
from mobo.runs.front_table import confirmed_object, retrained_object
from mobo.runs.pick import Basis, Margin, Pick

if TYPE_CHECKING:
    from hw_models.device import Device
    from mobo.runs.pick_for_device import PickAnswer
    from mobo.runs.record import RunRecord

NAME = "pick"
EXAMPLE = "mobo pick runs/quickstart-001 --device nucleo-l4r5zi --ram-kib 8 --latency-ms 5"
NOTHING_FITS = BROKEN = 1
GOAL_RULE = "the model that the goal of the run chose"

Upper = float | None


def command(
    run: Run,
    device: Annotated[str, typer.Option(help="Board the model shall run on (see `mobo devices`).", show_default=False)],
    flash_kib: Annotated[Upper, typer.Option(help="Largest whole image: model, engine and kernels together.")] = None,
    flash_model_kib: Annotated[
        Upper, typer.Option(help="Largest model: what it adds to a program with the engine.")
    ] = None,
    ram_kib: Annotated[Upper, typer.Option(help="Largest arena.")] = None,
    latency_ms: Annotated[Upper, typer.Option(help="Longest inference.")] = None,
    energy_uj: Annotated[Upper, typer.Option(help="Largest energy per inference.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many to show, the best first.")] = 1,
    device_file: Annotated[Path | None, typer.Option(help="TOML file with a board of your own.")] = None,
    runtime: Annotated[
        str | None,
        typer.Option(help="Engine (see `mobo runtimes`); without it the run's, or the other board's default."),
    ] = None,
    runtime_file: Annotated[Path | None, typer.Option(help="TOML file of a runtime of your own.")] = None,
    by_goal: Annotated[
        bool, typer.Option("--goal", help="Pick the model that the run's goal chose, if it keeps every limit.")
    ] = False,
    by: Annotated[
        Basis | None,
        typer.Option(
            help="Which error counts: the mean of a model's repeats (the default in a confirmed run, see `mobo "
            "confirm`), the upper end of its 80 % interval, or the single measurement of the search.",
            show_default=False,
        ),
    ] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Export the picked model as tflite and C into this new folder.")
    ] = None,
    verified: Annotated[
        bool, typer.Option("--verify", help="Verify what was exported; the run's report then shows the result.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Pick the model with the lowest validation error that keeps every limit, and name the limit that binds.

    In a confirmed run only the confirmed models are compared, by the mean error of their repeats.
    The flash and SRAM of the board are limits too. For a board the run was not made for, the costs are estimated anew.
    Exit code 1: no model fits (the message names the smallest limit that would do), or a promise of it is broken.
    """
    from hw_models.device import load_device
    from mobo.base.errors import MoboError
    from mobo.runs.pick_for_device import limits_in_bytes, pick_for_device
    from mobo.runs.pick_hints import hints
    from mobo.runs.record import read_run

    asked = limits_in_bytes(
        flash_kib=flash_kib,
        flash_model_kib=flash_model_kib,
        ram_kib=ram_kib,
        latency_ms=latency_ms,
        energy_uj=energy_uj,
    )
    record = read_run(run)
    if by_goal and by is not None:
        raise MoboError("--goal and --by are two rules; give one of them")
    only, basis = (_chosen_by_goal(record), Basis.SINGLE) if by_goal else (None, by)
    answer = pick_for_device(
        record,
        device,
        asked,
        count=count,
        device_file=device_file,
        runtime=runtime,
        runtime_file=runtime_file,
        only=only,
        basis=basis,
    )
    for note in answer.notes:
        say(f"note: {note}", err=True)
    for hint in () if by_goal else hints(answer.question, answer.picks[0] if answer.picks else None):
        say(f"hint: {hint}", err=True)
    if verified and export is None:
        raise MoboError("--verify verifies what was exported; give --export DIR too")
    if as_json:
        print_json([_object(entry, answer, record) for entry in answer.picks])
    if not answer.picks:
        say(_nothing_fits(answer.needed, answer.device), err=True)
        raise typer.Exit(NOTHING_FITS)
    if not as_json:
        for entry in answer.picks:
            say(
                _text(
                    entry,
                    answer.device,
                    answer.question.runtime.title,
                    answer.power.described,
                    record,
                    rule=GOAL_RULE if by_goal else answer.rule,
                )
            )
    if export is not None:
        board = load_device(device, extra_file=device_file or record.config.device.file)
        _export(record, answer.picks[0].candidate.trial, export, board, verified=verified, as_json=as_json)


def _chosen_by_goal(record: "RunRecord") -> int:
    from mobo.goal.errors import GoalError
    from mobo.goal.verdict import read_verdict

    verdict = read_verdict(record.directory)
    if verdict is None:
        raise GoalError(
            f"{record.directory.path} has no goal.json; a search of a study with a table [goal] writes it at its end: "
            "resume the search, or pick without --goal"
        )
    if verdict.chosen is None:
        raise GoalError(
            f"the goal of {record.directory.path} is {verdict.verdict}, so it chose no model; see `mobo goal`"
        )
    return verdict.chosen.trial


def _export(record: "RunRecord", trial: int, out: Path, device: "Device", *, verified: bool, as_json: bool) -> None:
    from mobo.deliver import deliver_trial
    from mobo.export.verify.c_costs import emulated_core
    from mobo.tinyml.model_names import VERIFICATION

    done = deliver_trial(record, trial, out, device, verified=verified)
    for note in done.export.notes:
        say(f"note: {note}", err=True)
    say(f"exported: {out} ({', '.join(done.export.model.manifest.formats)})", err=as_json)
    if done.verification is not None:
        found, core = done.verification.to_dict(), emulated_core(device.core)
        say(verification_summary(found, core, out / VERIFICATION), err=as_json)
        say(f"report: {record.directory.report_path}", err=as_json)
        if done.verification.broken:
            raise typer.Exit(BROKEN)


def _object(entry: Pick, answer: "PickAnswer", record: "RunRecord") -> dict[str, Any]:
    candidate = entry.candidate
    again = record.retrained_model(candidate.trial)
    margins = {
        margin.limit.cost: {
            "limit": margin.limit.upper,
            "used": margin.used,
            "margin": margin.remaining,
            "relative_margin": margin.relative,
            "source": margin.limit.source,
        }
        for margin in entry.margins
    }
    return {
        "trial": candidate.trial,
        "validation_error": candidate.validation_error,
        "test_error": candidate.test_error,
        **({} if candidate.confirmation is None else confirmed_object(candidate.confirmation)),
        **({} if again is None else {"retrained_on": again.splits, **retrained_object(again)}),
        **candidate.costs,
        "energy_is_estimated": answer.energy_is_estimated,
        "power": answer.power._asdict(),
        "device": answer.device,
        "runtime": answer.runtime,
        "release": answer.question.runtime.release,
        "binding_constraint": entry.binding.limit.cost,
        "margins": margins,
    }


def _text(entry: Pick, device: str, runtime: str, power: str, record: "RunRecord", *, rule: str) -> str:
    candidate, binding, scale = entry.candidate, entry.binding, record.config.error_scale
    again = record.retrained_model(candidate.trial)
    costs = ", ".join(f"{name} {quantity(name, value)}" for name, value in candidate.costs.items() if value is not None)
    test = "not read yet" if candidate.test_error is None else scale.text(candidate.test_error)
    lines = [
        f"picked trial {candidate.trial} for {device} ({runtime})",
        f"rule: {rule}",
        f"{errors_text(candidate, scale)}, {scale.called('test')} {test}",
        *([] if again is None else [retrained_text(again, scale)]),
        costs,
        f"energy is of {power}",
        _margin_table(entry.margins),
        f"binding constraint: {binding.limit.cost}, {quantity(binding.limit.cost, binding.remaining)} "
        f"({100 * binding.relative:.1f} %) left of {quantity(binding.limit.cost, binding.limit.upper)} "
        f"(limit from {binding.limit.source})",
        f"model: {record.delivered_directory(candidate.trial)}",
    ]
    return "\n".join(lines) + "\n"


def _margin_table(margins: Sequence[Margin]) -> str:
    rows = [
        (
            margin.limit.cost,
            quantity(margin.limit.cost, margin.used),
            quantity(margin.limit.cost, margin.limit.upper),
            quantity(margin.limit.cost, margin.remaining),
            number(100 * margin.relative),
            margin.limit.source,
        )
        for margin in margins
    ]
    return text_table(("limit on", "used", "limit", "margin", "margin %", "limit from"), rows)


def _nothing_fits(needed: Sequence[Margin], device: str) -> str:
    if not needed:
        return "no trial of this run is finished and feasible yet, so there is no model to pick"
    wishes = " and ".join(
        f"{margin.limit.cost} of at least {quantity(margin.limit.cost, margin.used, round_up=True)} "
        f"(now {quantity(margin.limit.cost, margin.limit.upper)}, from {margin.limit.source})"
        for margin in needed
    )
    return f"no model of this run fits {device} under these limits; the smallest that would do: {wishes}"
