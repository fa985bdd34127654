"""What another engine or the next larger board would change about a pick: asked only of models that are on disk."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hw_models.device import Device, load_devices
from hw_models.errors import HardwareModelError
from hw_models.runtime import DEFAULT_RUNTIME, GENERATED_C_RUNTIME, Runtime, load_runtime
from mobo.runs.candidates import SavedGraphs, device_limits, estimated_candidates, saved_graphs
from mobo.runs.pick import Basis, Limit, Pick, comparable, pick, tightest
from mobo.runs.record import RunRecord

# Below this share of the flash left, another engine is worth a word though a model fits.
_LITTLE_FLASH = 0.05
_ENGINES = (GENERATED_C_RUNTIME, DEFAULT_RUNTIME)
"""The engines that networks are exported to."""


@dataclass(frozen=True)
class Question:
    """What was asked of a pick.

    Attributes:
        record: The run.
        device: The board.
        runtime: The engine.
        limits: Limits beside those of a board.
        basis: Which error counts.
    """

    record: RunRecord
    device: Device
    runtime: Runtime
    limits: tuple[Limit, ...]
    basis: Basis


def hints(question: Question, picked: Pick | None) -> tuple[str, ...]:
    """Return a line about another engine and one about the next larger board, where they would help.

    Args:
        question: What was asked.
        picked: The best model; None where nothing fits.
    """
    graphs = saved_graphs(question.record)
    if not graphs.by_trial:
        return ()
    return (*_other_engine(question, picked, graphs), *_larger_board(question, picked, graphs))


def _other_engine(question: Question, picked: Pick | None, graphs: SavedGraphs) -> Iterator[str]:
    for name in _ENGINES:
        engine = load_runtime(name)
        if name == question.runtime.name or not engine.covers(question.device):
            continue
        found = _best(question, question.device, engine, graphs)
        if found is None or not (_is_better(found, picked, question.basis) or _flash_is_short(picked)):
            continue
        flash = next(margin for margin in found.margins if margin.limit.cost == "flash_image_bytes")
        yield (
            f"--runtime {name}: trial {found.candidate.trial} fits with {_error(found, question)} and leaves "
            f"{100 * flash.relative:.0f} % of the flash, for that engine is smaller there"
            if flash.used < _flash_used(picked)
            else f"--runtime {name}: trial {found.candidate.trial} fits with {_error(found, question)}"
        )


def _larger_board(question: Question, picked: Pick | None, graphs: SavedGraphs) -> Iterator[str]:
    own = question.device
    larger = [
        board
        for board in load_devices().values()
        if board.core == own.core
        and board.flash_bytes >= own.flash_bytes
        and board.arena_bytes >= own.arena_bytes
        and (board.flash_bytes, board.arena_bytes) != (own.flash_bytes, own.arena_bytes)
    ]
    for board in sorted(larger, key=lambda board: (board.flash_bytes, board.arena_bytes, board.name)):
        found = _best(question, board, question.runtime, graphs)
        if found is not None and _is_better(found, picked, question.basis):
            now = "nothing fits here" if picked is None else f"here {_error(picked, question)}"
            yield (
                f"the next larger board with this core that helps is {board.name} ({board.flash_kib:g} KiB of flash, "
                f"{board.sram_kib:g} KiB of SRAM): trial {found.candidate.trial} with {_error(found, question)}; "
                f"{now}"
            )
            return


def _best(question: Question, device: Device, runtime: Runtime, graphs: SavedGraphs) -> Pick | None:
    limits: Sequence[Limit] = tightest((*question.limits, *device_limits(device)))
    try:
        models = estimated_candidates(question.record, device, runtime, graphs).models
    except HardwareModelError:
        # That engine does not run these networks.
        return None
    return next(iter(pick(comparable(models, question.basis), limits, basis=question.basis)), None)


def _is_better(found: Pick, picked: Pick | None, basis: Basis) -> bool:
    if picked is None:
        return True
    before, after = picked.candidate.error(basis), found.candidate.error(basis)
    return before is not None and after is not None and after < before


def _flash_is_short(picked: Pick | None) -> bool:
    return picked is not None and any(
        margin.limit.cost == "flash_image_bytes" and margin.relative < _LITTLE_FLASH for margin in picked.margins
    )


def _flash_used(picked: Pick | None) -> float:
    if picked is None:
        return float("inf")
    return picked.candidate.costs.get("flash_image_bytes") or 0.0


def _error(found: Pick, question: Question) -> str:
    scale = question.record.config.error_scale
    return f"an {scale.name} of {scale.text(found.candidate.error(question.basis))}"
