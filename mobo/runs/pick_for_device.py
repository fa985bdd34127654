"""Pick from a run for a device: the run's own with recorded costs, or any other with fresh estimates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hw_models.device import Device, load_device
from hw_models.energy import InferencePower, inference_power
from hw_models.runtime import Runtime, asked_runtime, default_runtime
from mobo.base.errors import MoboError
from mobo.runs.candidates import (
    Candidates,
    best_of,
    constraint_limits,
    device_limits,
    estimated_candidates,
    recorded_candidates,
)
from mobo.runs.pick import (
    Basis,
    Candidate,
    Limit,
    Margin,
    Pick,
    PickError,
    check_limits,
    comparable,
    fitting,
    needed,
    pick,
    rule,
    tightest,
)
from mobo.runs.pick_hints import Question
from mobo.runs.record import RunRecord
from mobo.space import columns
from mobo.tinyml.study_runtime import study_runtime

KIB = 1024
ASKED = "asked"
_ASSUMED_POWER = "the energy on {} is of an assumed power: none was measured on this board at this clock"


class NoRuntimeError(MoboError):
    """No inference engine is known for the device, so nothing can be costed on it."""


@dataclass(frozen=True)
class PickAnswer:
    """The answer to "which model for this device under these limits?".

    Attributes:
        device: Name of the device.
        runtime: Name of the inference engine the costs are for.
        picks: The best models, the best first; empty if nothing fits.
        needed: If nothing fits, what would have to be allowed; empty too if there is no model at all.
        notes: What the reader should know about the costs and the models that were compared.
        basis: Which error counted.
        question: What was asked, for :func:`mobo.runs.pick_hints.hints`.
        power: The power that the energy is of, and how it is known.
    """

    device: str
    runtime: str
    picks: tuple[Pick, ...]
    needed: tuple[Margin, ...]
    notes: tuple[str, ...]
    basis: Basis
    question: Question
    power: InferencePower

    @property
    def energy_is_estimated(self) -> bool:
        """True unless the power was measured on this board at this clock."""
        return self.power.is_estimated

    @property
    def rule(self) -> str:
        """The rule that picked, in one sentence."""
        return rule(self.basis)


def limits_in_bytes(
    *,
    flash_kib: float | None = None,
    flash_model_kib: float | None = None,
    ram_kib: float | None = None,
    latency_ms: float | None = None,
    energy_uj: float | None = None,
) -> tuple[Limit, ...]:
    """Return the limits a person gave, in the units of the costs; ``flash_kib`` is the whole image."""
    asked = {
        "flash_image_bytes": None if flash_kib is None else flash_kib * KIB,
        "flash_model_bytes": None if flash_model_kib is None else flash_model_kib * KIB,
        "ram_bytes": None if ram_kib is None else ram_kib * KIB,
        "latency_ms": latency_ms,
        "energy_uj": energy_uj,
    }
    return tuple(Limit(name, upper, ASKED) for name, upper in asked.items() if upper is not None)


def pick_for_device(
    record: RunRecord,
    device_name: str,
    asked: Sequence[Limit],
    *,
    count: int = 1,
    device_file: Path | None = None,
    runtime: str | None = None,
    runtime_file: Path | None = None,
    only: int | None = None,
    basis: Basis | None = None,
) -> PickAnswer:
    """Return the best models of a run on a device under limits.

    First come the limits, then dominance: of the models that fit, those count that no other one beats in error and the
    run's objectives on that device. So a limit can bring in a model that is not on the run's own front, because what
    beat it does not fit.

    Args:
        record: The run.
        device_name: The board.
        asked: Limits beside those of the board.
        count: How many to return at most.
        device_file: TOML file with a board of the user's own.
        runtime: Name of the engine; without it that of the file, the run's, or the other board's default.
        runtime_file: TOML file with an engine of the user's own.
        only: The one trial that may be picked, if it was chosen by something else.
        basis: Which error counts; without it the mean of the repeats in a confirmed run, else the one measurement.

    Raises:
        HardwareModelError: An unknown board, or a model its runtime cannot execute.
        NoRuntimeError: The board has no runtime.
        PickError: A limit that is not a positive number, or on an unknown cost, or an error that no model has.
    """
    if basis is None:
        basis = Basis.MEAN if record.confirmed else Basis.SINGLE
    own = record.config.device
    device = load_device(device_name, extra_file=device_file or own.file)
    asked_engine = asked_runtime(runtime, runtime_file)
    engine = asked_engine or _runtime(record, device)
    check_limits((*asked, *device_limits(device)))
    is_own = device.name == own.name and device_file is None
    is_recorded = is_own and asked_engine is None
    candidates = recorded_candidates(record) if is_recorded else estimated_candidates(record, device, engine)
    if only is not None:
        candidates = replace(candidates, models=tuple(model for model in candidates.models if model.trial == only))
    compared = _compared(record, candidates.models, basis)
    standing = constraint_limits(record.front.constraints) if is_own else ()
    limits = tightest((*asked, *device_limits(device), *standing))
    objectives = [item.name for item in record.config.objectives if item.name in columns.COSTS]
    front = best_of(fitting(compared, limits), objectives, basis)
    picks = pick(front, limits, count=count, basis=basis)
    clock_mhz = (is_recorded and own.clock_mhz) or device.clock_mhz
    power = inference_power(device, clock_mhz, release=engine.release)
    return PickAnswer(
        device=device.name,
        runtime=engine.name,
        picks=picks,
        needed=() if picks or not compared else needed(compared, limits),
        notes=(
            *_notes(candidates, device, engine, own.name, is_own=is_own, is_recorded=is_recorded),
            *([_ASSUMED_POWER.format(device.name)] if power.is_estimated else []),
            *_left_out(len(compared), len(candidates.models)),
        ),
        basis=basis,
        question=Question(record, device, engine, (*asked, *standing), basis),
        power=power,
    )


def _compared(record: RunRecord, models: Sequence[Candidate], basis: Basis) -> tuple[Candidate, ...]:
    """Return the models that have the error that counts.

    Raises:
        PickError: None has it, though there are models.
    """
    compared = comparable(models, basis)
    if models and not compared:
        path = record.directory.path
        if not record.confirmed:
            reason = f"{path} is not confirmed; `mobo confirm {path}` does that"
        elif not any(model.confirmation for model in models):
            reason = f"none of the confirmed models of {path} is among them; `mobo confirm {path}` confirms the front"
        else:
            reason = f"an interval needs two repeats of a model; `mobo confirm {path} --seeds 3` makes more"
        raise PickError(f"no model has what --by {basis} compares: {reason}, or pick with --by {Basis.SINGLE}")
    return compared


def _left_out(compared: int, models: int) -> tuple[str, ...]:
    if compared == models:
        return ()
    return (
        f"only the {compared} confirmed of {models} models are compared, for others were measured once and may be low "
        f"by luck; --by {Basis.SINGLE} compares all by that one measurement",
    )


def _runtime(record: RunRecord, device: Device) -> Runtime:
    own = record.config.device
    runtime = study_runtime(own, device) if device.name == own.name else default_runtime(device)
    if runtime is None:
        raise NoRuntimeError(
            f"no runtime covers {device.name} ({device.core}), so nothing can be costed on it; "
            "`mobo devices` lists the boards with their runtimes"
        )
    return runtime


def _notes(
    candidates: Candidates, device: Device, runtime: Runtime, own: str, *, is_own: bool, is_recorded: bool
) -> tuple[str, ...]:
    notes = []
    if is_own and not is_recorded:
        notes.append(f"all costs are estimated anew for {runtime.name}; the run was made for another engine or its own")
    if not is_own:
        notes.append(
            f"the run was made for {own}; all costs are estimated anew for {device.name} at {device.clock_mhz:g} MHz"
        )
    if candidates.left_out:
        numbers = ", ".join(str(number) for number in candidates.left_out)
        notes.append(f"trials {numbers} have no saved layer graph and were left out")
    if runtime.is_borrowed(device.core):
        notes.append(f"latencies on {device.core} are borrowed from another core: good for ranking, not for promises")
    return tuple(notes)
