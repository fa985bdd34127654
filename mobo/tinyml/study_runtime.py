"""Which inference engine a study's board is costed with."""

from hw_models.device import Device
from hw_models.runtime import Runtime, asked_runtime, default_runtime
from mobo.tinyml.config import DeviceSettings


def study_runtime(settings: DeviceSettings, device: Device) -> Runtime | None:
    """Return the runtime the settings name, else that of their file, else the board's default (None if it has none).

    Raises:
        HardwareModelError: The runtime does not exist, or its file cannot be read.
    """
    return asked_runtime(settings.runtime, settings.runtime_file) or default_runtime(device)
