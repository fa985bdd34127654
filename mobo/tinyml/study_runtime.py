"""Which inference engine a study's board is costed with."""

from hw_models.device import Device
from hw_models.runtime import Runtime, default_runtime, load_runtime, read_runtime
from mobo.tinyml.config import DeviceSettings


def study_runtime(settings: DeviceSettings, device: Device) -> Runtime | None:
    """Return the runtime the settings name, else that of their file, else the board's default (None if it has none).

    Raises:
        HardwareModelError: The runtime does not exist, or its file cannot be read.
    """
    if settings.runtime is not None:
        return load_runtime(settings.runtime, extra_file=settings.runtime_file)
    if settings.runtime_file is not None:
        return read_runtime(settings.runtime_file)
    return default_runtime(device)
