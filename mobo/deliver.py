"""A trial delivered: exported, verified and shown in the run's report, all in one go."""

from dataclasses import dataclass
from pathlib import Path

from hw_models.device import Device
from hw_models.runtime import DECODE_RUNTIME
from mobo.export.trial_export import Export, export_trial
from mobo.export.verify.checks import verify
from mobo.export.verify.findings import Verification
from mobo.report import write_report
from mobo.runs.record import RunRecord

DELIVERED_FORMATS = ("tflite", "c")


@dataclass(frozen=True)
class Delivery:
    """What became of a delivered trial.

    Attributes:
        export: Its export.
        verification: What verifying it found; None if that was not asked for.
    """

    export: Export
    verification: Verification | None


def deliver_trial(record: RunRecord, number: int, out: Path, device: Device, *, verified: bool) -> Delivery:
    """Export a trial as tflite and C, and, if asked to, verify it.

    A run for the engine that decodes weights gives the file that it decodes, too.

    What the verification found is written into the exported folder and beside the run's model, and the run's report is
    written anew to show it.

    Args:
        record: The run.
        number: The trial; it must be done.
        out: The folder to make.
        device: The board it was picked for.
        verified: Whether to verify it.

    Raises:
        ExportError: The folder exists, or a format cannot hold the model.
        MoboError, EnvError, HardwareModelError: The model, the data or the run cannot be read, costed or written.
    """
    if verified:
        record.directory.check_writable()
    decodes = record.config.device.runtime == DECODE_RUNTIME
    formats = (*DELIVERED_FORMATS, *(("tflite-decode",) if decodes else ()))
    export = export_trial(record, number, formats, out, device=device)
    if not verified:
        return Delivery(export, None)
    verification = verify(export.model, device)
    for folder in (out, record.delivered_directory(number)):
        verification.write(folder)
    write_report(record)
    return Delivery(export, verification)
