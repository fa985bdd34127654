"""How far the numbers of a report can be trusted, in plain words."""

from math import exp

from hw_models.device import Device
from hw_models.runtime import Runtime
from mobo.run_record import RunRecord


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
        f"({runtime.flash.engine_bytes / 1024:.0f} KiB of it). “Times smaller” means something only if it says which.",
        _energy_point(device),
    )


def _error_points(record: RunRecord) -> tuple[str, ...]:
    tested = sum(trial.number in record.test_errors for trial in record.front)
    return (
        "The data are split four ways. Networks learn from the train split; the agent is rewarded on the reward split; "
        "designs are compared on the validation split; the test split is read once, when the front is finished.",
        "The lowest of many validation errors is too good by luck: the more trials, the more so. "
        f"The test error is the honest figure ({tested} of {len(record.front)} models of the front have one). "
        "Picking by test error would spoil it; nothing here does.",
        f"This is one run with one seed ({record.config.seed}) and one split. How far another seed would move these "
        "errors, the run itself cannot say: repeat it with --seed before relying on small differences.",
    )


def _latency_points(device: Device, runtime: Runtime) -> tuple[str, ...]:
    core = runtime.core(device.core)
    spread = exp(core.cycles_log_std)
    points = [
        f"Latency is an estimate for {runtime.name} on {device.core}, not a measurement of these models. Over the "
        f"{core.cycles_rows} measured layers behind it, two in three layers lie within a factor of {spread:.2f} of the "
        "estimate; errors of single layers partly cancel in the sum."
    ]
    if core.borrowed:
        points.append(
            f"No board with a {device.core} was measured: its cycles per instruction are borrowed from "
            f"{runtime.reference_core}. Good for ranking models, not for promising milliseconds."
        )
    return tuple(points)


def _energy_point(device: Device) -> str:
    if device.inference_power_mw is None:
        return f"Nobody measured the power of {device.board} under inference, so its energy is unknown and not guessed."
    return (
        f"Energy is latency times {device.inference_power_mw:g} mW ({device.power_source}): it can only be as good as "
        "the latency, and it says nothing new beside it."
    )
