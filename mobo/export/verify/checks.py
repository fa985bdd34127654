"""The checks of an exported model: which there are, what each one needs, and running them all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType

from hw_models.cost import Cost, estimate
from hw_models.device import Device
from hw_models.runtime import default_runtime, load_runtime
from mobo.export.errors import ExportError, MissingToolError
from mobo.export.exported_model import ExportedModel
from mobo.export.formats import FIRMWARE
from mobo.export.verify.findings import Findings, Row, Verification

CheckFunction = Callable[[ExportedModel, Device], tuple[Row, ...]]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        format: The format it looks at; None for the model as such.
        function: ``"module:function"``, from the model and the board to rows. It raises
            :class:`~mobo.export.errors.MissingToolError` where it cannot run here.
    """

    format: str | None
    function: str


# In the order of the table. A check's module is imported only when it runs.
CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "integer interpreter": Check(None, "mobo.export.verify.model_checks:check_interpreter"),
        "board": Check(None, "mobo.export.verify.model_checks:check_board"),
        "tflite in LiteRT": Check("tflite", "mobo.export.verify.tflite_checks:check_litert"),
        "tflite in TFLM": Check("tflite", "mobo.export.verify.tflite_checks:check_tflm"),
        "tflite-decode in TFLM": Check("tflite-decode", "mobo.export.verify.tflite_checks:check_decode"),
        "onnx in onnxruntime": Check("onnx", "mobo.export.verify.onnx_checks:check_onnx"),
        "download decoded": Check("download", "mobo.export.verify.download_checks:check_download"),
        "C on this machine": Check("c", "mobo.export.verify.c_checks:check_host"),
        "C on an emulated core": Check("c", "mobo.export.verify.c_checks:check_emulated"),
        "C in QEMU": Check("c", "mobo.export.verify.c_checks:check_qemu"),
        "firmware on an emulated board": Check(FIRMWARE, "mobo.export.verify.c_checks:check_firmware"),
    }
)


def verify(model: ExportedModel, device: Device) -> Verification:
    """Run every check that concerns an exported model.

    Args:
        model: The model.
        device: The board the predictions are for.

    Raises:
        ExportError: A file is missing or was changed.
        MoboError, EnvError, HardwareModelError: A file cannot be read, or nothing can be predicted for the board.
    """
    model.check_files()
    asked = {name: check for name, check in CHECKS.items() if check.format in (None, *model.manifest.formats)}
    findings = tuple(_findings(name, check, model, device) for name, check in asked.items())
    return Verification(model.manifest.name, device.name, findings)


def _findings(name: str, check: Check, model: ExportedModel, device: Device) -> Findings:
    module, _, function = check.function.partition(":")
    run: CheckFunction = getattr(import_module(module), function)
    try:
        return Findings(name, run(model, device))
    except MissingToolError as error:
        return Findings(name, skipped=str(error))


def predicted_cost(model: ExportedModel, device: Device, *, runtime_name: str | None = None) -> Cost:
    """Return what the cost model predicts for a board.

    Args:
        model: The folder.
        device: The board.
        runtime_name: The engine that is asked about; None for the run's. One that does not cover the board gives way to
            the board's default.

    Raises:
        ExportError: No runtime covers the board.
        RuntimeModelError: The runtime cannot execute the model.
    """
    manifest = model.manifest
    runtime = load_runtime(manifest.runtime if runtime_name is None else runtime_name)
    found = runtime if runtime.covers(device) else default_runtime(device)
    if found is None:
        raise ExportError(f"no runtime covers {device.name} ({device.core}), so nothing is predicted for it")
    clock_mhz = manifest.clock_mhz if device.name == manifest.device else None
    return estimate(model.network.graph, device, found, clock_mhz=clock_mhz, front_end=manifest.counted)
