"""From a trial of a run to the folder of an exported model."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isclose
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from envs.compression.float_network.purpose import Purpose, Reconstruction, Regression
from envs.compression.float_network.samples import LabelledSamples
from envs.compression.float_network.stored_inputs import in_memory
from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.integer.kernels import quantise_values
from envs.compression.integer.network import QuantisedNetwork
from envs.compression.integer.network_file import network_to_bytes
from envs.compression.policy import CompressionPolicy
from hw_models.cost import COST_NAMES, Cost, estimate
from hw_models.device import Device, load_device
from hw_models.errors import unknown_name
from hw_models.files import FileError, read_text
from hw_models.front_end import FrontEndWork
from hw_models.graph.layer_graph import INPUT
from mobo.export.c.patching import AskedPatches, with_patches
from mobo.export.errors import ExportError
from mobo.export.exported_model import (
    NETWORK,
    POLICY,
    SAMPLES,
    ExportedModel,
    Manifest,
    Samples,
    check_free,
    digests,
    export_request,
    write_export,
)
from mobo.export.firmware.machines import MACHINES
from mobo.export.fixed_front_end import FixedScore
from mobo.export.formats import FIRMWARE, load_format
from mobo.export.front_end import distance, fixed_front_end, raw_inputs
from mobo.export.request import (
    TEST_BYTES,
    TEST_INPUTS,
    AnomalyThreshold,
    Board,
    EngineName,
    FrontEnd,
    LabelScale,
    PurposeName,
    Raw,
)
from mobo.runs.record import RunRecord
from mobo.space.columns import DOWNLOAD_BYTES, VALIDATION_ERROR
from mobo.space.confirmation import Retrained
from mobo.space.trial import Trial
from mobo.tinyml.inputs import Inputs
from mobo.tinyml.model_files import load_quantised
from mobo.tinyml.model_names import POLICY as POLICY_NAME
from mobo.tinyml.setup import StudySetup, load_setup
from mobo.tinyml.tasks.data import TaskData
from mobo.tinyml.tasks.settings import SplitSettings

Split = Literal["test", "validation"]

ENGINES: tuple[str, ...] = get_args(EngineName)
"""What may run the network in a firmware."""

LARGEST_SAMPLES_BYTES = 2**24
"""Of a split larger than this, only the first samples go into the folder."""


FALSE_ALARMS = 0.05
"""Share of the normal validation samples that may lie above the threshold of an anomaly."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Source:
    """A trial with all that its export is made of."""

    record: RunRecord
    trial: Trial
    again: Retrained | None
    network: QuantisedNetwork
    policy: CompressionPolicy
    setup: StudySetup
    cost: Cost
    searched_cost: Cost
    patch_notes: tuple[str, ...]
    counted: FrontEndWork | None
    split: Split
    split_samples: int
    samples: Samples
    front_end: FrontEnd | None
    without_front_end: str
    anomaly: AnomalyThreshold | None


@dataclass(frozen=True)
class Export:
    """What was exported.

    Attributes:
        model: The folder.
        notes: What the reader should know.
    """

    model: ExportedModel
    notes: tuple[str, ...]


def export_trial(
    record: RunRecord,
    number: int,
    formats: Sequence[str],
    out: Path,
    *,
    max_samples: int | None = None,
    board: str | None = None,
    engine: str | None = None,
    searched: bool = False,
    patches: AskedPatches | None = None,
    device: Device | None = None,
) -> Export:
    """Write the model of one trial in some formats, with everything that is needed to verify it.

    A trial off the front is exported too, and said to be; its error is the one on the validation split, because the
    test split is read for the front alone. Where the front was trained again, that model is exported, with its error
    on the test split.

    Args:
        record: The run.
        number: The trial; it must be done.
        formats: Names of formats.
        out: The folder to make.
        max_samples: Keep at most so many samples; None for the whole split up to 16 MiB.
        board: The board of the format ``firmware``, one of QEMU's machines among them; None for the run's.
        engine: What runs the network in the format ``firmware``, one of :data:`ENGINES`; None for the C of the model.
        searched: Whether to export the model that the search made, also where there is one that was trained again.
        patches: In which patches the C runs its first layers; None for the fastest that fit where the network does not.
        device: The board whose RAM the C shall fit; None for that of the firmware, or the run's.

    Raises:
        NoModelError: No such trial, or it is not done.
        ExportError: The format cannot hold it, or the folder exists.
        MoboError, EnvError, HardwareModelError: The model or the data cannot be read or costed.
        MissingToolError: A format needs a package that is not installed.
    """
    check_free(out)
    exporters = {name: load_format(name) for name in dict.fromkeys(formats)}
    place, runs_it = _board(record, exporters, board), _engine(exporters, board, engine)
    again = None if searched else record.retrained_model(number)
    with_c = "c" in exporters or (FIRMWARE in exporters and runs_it == "mobo-c")
    if patches is not None and not with_c:
        raise ExportError(
            f"patches are a matter of the C, so of the formats c and, without TFLM, {FIRMWARE}; give --format c too"
        )
    target = _target(record, place) if device is None else device
    asked = (patches or AskedPatches(), target) if with_c else None
    source = _source(record, record.done_trial(number), again, max_samples, asked)
    known = _manifest(source).model_copy(update={"board": place, "engine": runs_it})
    request = export_request(known, source.network, source.policy, source.samples)
    made = {name: exporter(request) for name, exporter in exporters.items()}
    files = {f"{name}/{path}": data for name, found in made.items() for path, data in found.items()}
    files |= {
        POLICY: source.policy.to_json().encode(),
        NETWORK: network_to_bytes(source.network),
        SAMPLES: source.samples.to_bytes(),
    }
    listed = {"formats": {name: tuple(sorted(found)) for name, found in made.items()}, "sha256": digests(files)}
    manifest = Manifest.model_validate(dict(known) | listed)
    return Export(write_export(out, files, manifest), _notes(manifest, source))


def _board(record: RunRecord, formats: Collection[str], name: str | None) -> Board | None:
    if FIRMWARE not in formats:
        if name is not None:
            raise ExportError(f"--board is the board of the format {FIRMWARE}; give --format {FIRMWARE} too")
        return None
    config = record.config.device
    if name is not None and name in MACHINES:
        return MACHINES[name].board
    device = load_device(name or config.name, extra_file=config.file)
    return Board(**{key: getattr(device, key) for key in Board.model_fields})


def _engine(formats: Collection[str], board: str | None, name: str | None) -> EngineName:
    if name is None:
        return "mobo-c"
    if FIRMWARE not in formats:
        raise ExportError(f"--engine is what runs the network in the format {FIRMWARE}; give --format {FIRMWARE} too")
    if name not in ENGINES:
        raise ExportError(unknown_name("engine", name, ENGINES))
    if name == "tflm" and board in MACHINES:
        raise ExportError(
            f"{board} is a machine of QEMU, for bare-metal images, and TFLM's firmware has none; give --board with a "
            "real board (see `mobo devices`)"
        )
    return "tflm" if name == "tflm" else "mobo-c"


def _target(record: RunRecord, board: Board | None) -> Device:
    """Return the board that the C is for; QEMU's machines, which have more RAM than any, stand for the run's."""
    config = record.config.device
    name = config.name if board is None or board.name in MACHINES else board.name
    return load_device(name, extra_file=config.file)


def _policy(path: Path) -> CompressionPolicy:
    try:
        return CompressionPolicy.from_json(read_text(path))
    except FileError as error:
        raise ExportError(f"the policy of the model: {error}") from error


def _source(
    record: RunRecord,
    trial: Trial,
    again: Retrained | None,
    max_samples: int | None,
    asked: tuple[AskedPatches, Device] | None,
) -> _Source:
    """Return all that an export is made of; ``asked`` are the patches and the board of the C, None without C."""
    directory = record.directory
    folder = (directory.model_directory if again is None else directory.retrained_directory)(trial.number)
    trained = load_quantised(folder)
    policy = _policy(folder / POLICY_NAME)
    setup = load_setup(record.config)
    inputs = Inputs(record.config, setup.data)
    setup = replace(setup, data=inputs.data(trial.design))
    # The recorded error of a scored trial is on the test split, of any other one on the validation split.
    split: Split = "test" if again is not None or trial.number in record.test_errors else "validation"
    whole = setup.data.load_test() if split == "test" else setup.data.validation
    cost_of = partial(
        estimate,
        device=setup.device,
        runtime=setup.runtime,
        clock_mhz=record.config.device.clock_mhz,
        front_end=inputs.front_end(trial.design),
    )
    searched_cost, with_c = cost_of(trained.graph), asked is not None
    network = trained
    notes: tuple[str, ...] = ()
    if asked is not None:
        beside_bytes = 0 if searched_cost.front_end is None else searched_cost.front_end.ram_bytes
        network, notes = with_patches(trained, asked[1], asked[0], beside_bytes=beside_bytes)
    samples = _samples(network, whole, max_samples)
    front_end, raw, without = _front_end(inputs.settings(trial.design), network, setup) if with_c else (None, None, "")
    return _Source(
        record=record,
        trial=trial,
        again=again,
        network=network,
        policy=policy,
        setup=setup,
        cost=cost_of(network.graph),
        searched_cost=searched_cost,
        patch_notes=notes,
        counted=inputs.front_end(trial.design),
        split=split,
        split_samples=len(whole),
        samples=replace(samples, raw=raw),
        front_end=front_end,
        without_front_end=without,
        anomaly=_threshold(network, setup.data.validation) if with_c and samples.targets is not None else None,
    )


def _recorded_error(source: _Source) -> float:
    trial = source.trial
    if source.again is not None and source.again.test_error is not None:
        return source.again.test_error
    error = source.record.test_errors[trial.number] if source.split == "test" else trial.outcome.get(VALIDATION_ERROR)
    if error is None:
        raise ExportError(f"trial {trial.number} has no recorded {source.split} error, so nothing can be promised")
    return error


def _samples(network: QuantisedNetwork, split: LabelledSamples, max_samples: int | None) -> Samples:
    reconstructs = isinstance(split.purpose, Reconstruction)
    sample_bytes = int(np.prod(network.graph.input_shape)) * (1 + 4 * reconstructs)
    count = min(len(split), max(1, LARGEST_SAMPLES_BYTES // sample_bytes), max_samples or len(split))
    if reconstructs and len(torch.unique(split.y[:count])) < 2:
        raise ExportError(
            f"the first {count} samples are all normal or all anomalous, so the error of a reconstruction is unknown "
            "on them; keep more with --samples"
        )
    inputs = quantise_values(split.x[:count], network.tensors[INPUT])
    outputs = IntegerInterpreter(network).run(inputs)[network.graph.output]
    return Samples(
        inputs=np.ascontiguousarray(inputs.permute(0, 2, 3, 1).numpy()),
        labels=split.y[:count].numpy(),
        outputs=np.ascontiguousarray(torch.flatten(outputs, 1).numpy()),
        targets=split.x[:count].flatten(1).numpy() if reconstructs else None,
    )


def _front_end(
    task: SplitSettings, network: QuantisedNetwork, setup: StudySetup
) -> tuple[FrontEnd | None, Raw | None, str]:
    """Return a task's front end and a few raw inputs for it, or why there is none."""
    raw = raw_inputs(task)
    if isinstance(raw, str):
        return None, None, raw
    standardisation = setup.data.standardisation
    try:
        fixed = fixed_front_end(raw.form, network, standardisation.mean, standardisation.deviation)
    except ExportError as error:
        return None, None, str(error)
    expected = quantise_values(torch.from_numpy(standardisation.apply(raw.features)), network.tensors[INPUT]).numpy()
    return (
        FrontEnd(form=raw.form, distance=distance(raw, fixed, expected)),
        raw.raw[: min(TEST_INPUTS, max(1, TEST_BYTES // raw.form.sample_bytes))],
        "",
    )


def _threshold(network: QuantisedNetwork, validation: LabelledSamples) -> AnomalyThreshold | None:
    """Return the score that at most one normal sample in twenty of the validation split lies above."""
    inputs, labels = quantise_values(in_memory(validation.x), network.tensors[INPUT]), validation.y.numpy()
    outputs = IntegerInterpreter(network).run(inputs)[network.graph.output]
    scores = FixedScore.of(network)(inputs.permute(0, 2, 3, 1).numpy(), torch.flatten(outputs, 1).numpy())
    if len(np.unique(labels)) < 2:
        return None
    score = int(np.quantile(scores[labels == 0], 1 - FALSE_ALARMS, method="higher"))
    normal, anomalous = (int(np.count_nonzero(labels == label)) for label in (0, 1))
    false_alarms, detected = (int(np.count_nonzero(scores[labels == label] > score)) for label in (0, 1))
    return AnomalyThreshold(
        score=score, normal=normal, anomalous=anomalous, false_alarms=false_alarms, detected=detected
    )


def _manifest(source: _Source) -> Manifest:
    """Return all that is known before the files are made."""
    run, data = source.record.directory.path.resolve().name, source.setup.data
    cost = source.cost
    return Manifest.model_construct(
        name=f"{run}-{source.trial.number}",
        run=run,
        trial=source.trial.number,
        on_front=source.trial.number in {entry.number for entry in source.record.front.trials},
        device=cost.device,
        clock_mhz=cost.clock_mhz,
        runtime=cost.runtime,
        purpose=_purpose_name(data.train.purpose),
        error_kind=source.record.config.task.error,
        labels=_labels(data, source.record.config.error_scale.unit),
        class_names=data.class_names,
        mean=data.standardisation.mean.tolist(),
        deviation=data.standardisation.deviation.tolist(),
        split=source.split,
        split_samples=source.split_samples,
        samples=len(source.samples),
        error=_recorded_error(source),
        costs={name: getattr(cost, name) for name in COST_NAMES},
        download_bytes=_download_bytes(source),
        trained_on=("train",) if source.again is None else source.again.splits,
        front_end=source.front_end,
        counted=source.counted,
        anomaly=source.anomaly,
        formats={},
        sha256={},
    )


def _purpose_name(purpose: Purpose) -> PurposeName:
    if isinstance(purpose, Regression):
        return "regression"
    return "reconstruction" if isinstance(purpose, Reconstruction) else "classes"


def _labels(data: TaskData, unit: str) -> LabelScale | None:
    purpose = data.train.purpose
    if not isinstance(purpose, Regression):
        return None
    return LabelScale(
        names=data.label_names, unit=unit, mean=purpose.mean, deviation=purpose.deviation, worst=purpose.worst
    )


def _download_bytes(source: _Source) -> int | None:
    if source.again is not None:
        return source.again.download_bytes
    recorded = source.trial.outcome.get(DOWNLOAD_BYTES)
    return None if recorded is None else int(recorded)


def _notes(manifest: Manifest, source: _Source) -> tuple[str, ...]:
    notes, trial = list(source.patch_notes), source.trial
    if source.without_front_end:
        notes.append(f"no C for the front end of the task {source.record.config.task.name}: {source.without_front_end}")
    if source.again is not None:
        notes.append(
            f"this is the model that was trained again on {' and '.join(manifest.trained_on)}; that of the search: "
            "mobo export --searched"
        )
    if not manifest.on_front:
        notes.append(f"trial {manifest.trial} is not on the front: another model beats it, or it breaks a limit")
    if manifest.samples < manifest.split_samples:
        notes.append(
            f"the first {manifest.samples} of {manifest.split_samples} samples of the {manifest.split} split are kept "
            "to verify with"
        )
    changed = [name for name in COST_NAMES if _differs(trial.outcome.get(name), getattr(source.searched_cost, name))]
    if changed:
        notes.append(f"the cost model was changed since the run; {', '.join(changed)} were predicted anew")
    return tuple(notes)


def _differs(recorded: float | None, predicted: float | None) -> bool:
    if recorded is None or predicted is None:
        return False
    return not isclose(recorded, predicted, rel_tol=1e-9)
