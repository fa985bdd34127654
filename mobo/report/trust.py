"""How far the numbers of a report can be trusted, in plain words."""

from math import exp

from hw_models.bars import bars_held
from hw_models.device import Device
from hw_models.energy import typical_powers
from hw_models.interval import Z80
from hw_models.runtime import Runtime
from mobo.runs.record import RunRecord


def trust_points(record: RunRecord, device: Device, runtime: Runtime) -> tuple[str, ...]:
    """Return what a reader should know before believing the numbers.

    Args:
        record: The run.
        device: Its board.
        runtime: Its inference engine.
    """
    return (
        *_error_points(record),
        *_latency_points(device, runtime),
        "RAM is the tensor arena the engine's own planner would need; the stack, the heap and the rest of the program "
        "come on top.",
        "Model flash is what the model adds to a program; image flash is the whole image with engine and kernels "
        f"({_engine(runtime)}). “Times smaller” means something only if it says which.",
        _energy_point(device),
    )


def _engine(runtime: Runtime) -> str:
    if runtime.flash.per_kernel:
        return "those that the model uses"
    return f"{runtime.flash.engine_bytes / 1024:.0f} KiB of it"


def _error_points(record: RunRecord) -> tuple[str, ...]:
    tested = sum(trial.number in record.test_errors for trial in record.front)
    return (
        "The data are split four ways. Networks learn from the train split; the agent is rewarded on the reward split; "
        "designs are compared on the validation split; the test split is read once, when the front is finished.",
        *_confirmation_points(record),
        *_retraining_points(record),
        "The lowest of many validation errors is too good by luck: the more trials, the more so. "
        f"The test error is the honest figure ({tested} of {len(record.front)} models of the front have one). "
        "Picking by test error would spoil it; nothing here does.",
        f"This is one run with one seed ({record.config.seed}) and one split. How far another seed would move these "
        "errors, the run itself cannot say: repeat it with --seed before relying on small differences.",
    )


def _confirmation_points(record: RunRecord) -> tuple[str, ...]:
    if not record.confirmed:
        return ()
    count = sum(trial.number in record.confirmed for trial in record.front)
    return (
        f"{count} of {len(record.front)} models of the front were made again with other seeds. The confirmed error is "
        "the mean of these repeats; the first measurement, which put the model on the front, is not in it. Four in "
        "five of the 80 % intervals hold the error that such a model has on average over seeds and such samples.",
    )


def _retraining_points(record: RunRecord) -> tuple[str, ...]:
    again = [entry for entry in record.retrained.values() if entry.is_there]
    if not again:
        return ()
    splits = " and ".join(again[0].splits)
    delivered = sum(record.retrained_model(entry.trial) is not None for entry in again)
    return (
        f"{len(again)} models were trained again on {splits} once the front stood: the same layers, policy, recipe and "
        f"costs. mobo pick and mobo export deliver {delivered} of them, and those of the search where the new ones are "
        "worse on the validation split by more than a standard error. The columns 'trained again' are theirs, every "
        "other figure is of the models that the search made and chose among.",
    )


def _latency_points(device: Device, runtime: Runtime) -> tuple[str, ...]:
    core = runtime.core(device.core)
    spread = exp(Z80 * core.cycles_log_std)
    points = [
        f"Latency is an estimate for {runtime.name} on {device.core}, not a measurement of these models. It rests on "
        f"{core.cycles_source}. In four cases of five the truth lies within a factor of about {spread:.2f}, more for "
        "networks of few kinds of kernels; what all models share cancels when they are compared.",
        f"How often such bars hold: {bars_held(runtime, device.core)}.",
    ]
    if core.borrowed:
        points.append(
            f"No board with a {device.core} was measured under this runtime: its cycles per instruction are borrowed "
            "from other cores and runtimes. Good for ranking models, not for promising milliseconds."
        )
    return tuple(points)


def _energy_point(device: Device) -> str:
    if device.inference_power_mw is None:
        typical = typical_powers()[device.core]
        return (
            f"Nobody measured the power of {device.board} under inference. Its energy uses the typical "
            f"{typical.mw_per_mhz:g} mW/MHz of a {device.core} ({typical.source}) and is known to a factor of "
            f"{exp(Z80 * typical.log_std):.1f} only."
        )
    supply = "at a supply not stated" if device.power_supply_v is None else f"at {device.power_supply_v:g} V"
    return (
        f"Energy is latency times {device.inference_power_mw:g} mW {supply} ({device.power_source}): it can only be as "
        "good as the latency, and it says nothing new beside it."
    )
