"""What a config names, loaded: the data, the board and the runtime."""

from collections.abc import Iterable
from dataclasses import dataclass

from hw_models.device import Device, load_device
from hw_models.runtime import Runtime
from mobo.base.errors import ConfigError
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.inputs import base_task, check_inputs_searched
from mobo.tinyml.study_runtime import study_runtime
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.data import TaskData


@dataclass(frozen=True)
class StudySetup:
    """The parts of the outside world a study needs.

    Attributes:
        data: The task's data; of the smallest input where the study searches it.
        device: The board.
        runtime: The inference engine.
    """

    data: TaskData
    device: Device
    runtime: Runtime


def load_setup(config: StudyConfig) -> StudySetup:
    """Load board, runtime and data, cheap things first so that a typing error shows at once.

    Raises:
        HardwareModelError: The board or the runtime does not exist, or the runtime does not cover the board's core.
        ConfigError: No runtime covers the board, or the runtime cannot compute with the bit widths asked for, or
            some of the inputs that are searched make no sense.
        TaskError: The data cannot be used.
    """
    device = load_device(config.device.name, extra_file=config.device.file)
    runtime = study_runtime(config.device, device)
    if runtime is None:
        raise ConfigError(
            f"no runtime covers {device.name!r} ({device.core}), so its costs are unknown; see `mobo runtimes`"
        )
    runtime.check_device(device)
    _check_widths("weight", config.compression.weight_bits, runtime.name, runtime.weight_bits)
    _check_widths("activation", config.compression.activation_bits, runtime.name, runtime.activation_bits)
    data = load_task(base_task(config))
    check_inputs_searched(config, data.sensor)
    return StudySetup(data, device, runtime)


def _check_widths(kind: str, asked: Iterable[int], runtime: str, allowed: Iterable[int]) -> None:
    unknown = sorted(set(asked) - set(allowed))
    if unknown:
        raise ConfigError(
            f"compression.{kind}_bits asks for {unknown[0]}-bit {kind}s, which {runtime!r} cannot compute with; "
            f"allowed are {', '.join(str(bits) for bits in sorted(allowed))}"
        )
