"""The folder of an exported model: what lies in it, written all or nothing, read back and checked.

The digests lie beside the files, so they tell a file that was damaged, not one that somebody wrote. What is run is
therefore never read from here: it is written anew from the network and must be the same, byte for byte.

Layout::

    manifest.json     where the model comes from, what was promised, the SHA-256 of every other file
    policy.json       what was done to the trained network
    network.npz       the integer network itself
    samples.npz       integer inputs, labels and the integer interpreter's outputs
    <format>/…        the files of each format
    verify.json       what `mobo verify` found
"""

import io
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from itertools import islice
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from envs.array_files import parse_arrays
from envs.compression.float_network.error_kinds import DISTANCES, ErrorKind
from envs.compression.integer.network import QuantisedNetwork
from envs.compression.integer.network_file import network_from_bytes
from envs.compression.policy import CompressionPolicy
from envs.errors import EnvError
from hw_models.errors import HardwareModelError
from hw_models.files import LARGEST_TEXT_BYTES, FileError, FileModel, parse_json, parse_json_object, read_bytes
from hw_models.front_end import Work
from mobo import __version__
from mobo.base import atomic_write
from mobo.base.errors import MoboError
from mobo.base.plain_text import visible
from mobo.export.errors import ExportError
from mobo.export.formats import load_format
from mobo.export.request import (
    TEST_INPUTS,
    AnomalyThreshold,
    Board,
    EngineName,
    ExportRequest,
    Files,
    FrontEnd,
    Integers,
    LabelScale,
    PurposeName,
    Raw,
)
from mobo.tinyml.model_names import VERIFICATION

if TYPE_CHECKING:
    from envs.compression.float_network.purpose import Purpose

MANIFEST, POLICY, NETWORK, SAMPLES = "manifest.json", "policy.json", "network.npz", "samples.npz"
VERSION = 3

TEST_VECTOR_SAMPLES = 32
"""How many samples a format may build into its files."""

_AGAIN = "export the model again"
_PLAIN_PATH = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_STRAYS_NAMED = 5
_LARGEST_FLOAT = float(np.finfo(np.float32).max)


class Manifest(FileModel):
    """What is known and promised of an exported model.

    Attributes:
        version: Of this layout.
        package: Version of the package that exported it.
        name: Of the model.
        run: The run it comes from.
        trial: The trial it comes from.
        on_front: Whether that is on the run's front.
        device: The board it was searched for; ``clock_mhz`` its clock, ``runtime`` the inference engine.
        purpose: What the outputs are for.
        class_names: One per class, in label order; none where labels are real numbers.
        mean, deviation: How raw inputs become real ones: ``(raw - mean) / deviation``, broadcast over (H, W, C).
        split: The split of the samples.
        split_samples: How many the split has; ``samples`` of them, from the first on, are in ``samples.npz``.
        error: The error on the whole split, as the run recorded it: ``error_kind``, of a regression in the unit of
            the labels, or for a reconstruction 1 minus the area under the ROC curve.
        costs: What the cost model predicts for the board, by name.
        download_bytes: Length of the coded network file, as the run recorded it; None where it did not.
        error_kind: What the error of a classification or a regression is, ``task.error`` of the study.
        trained_on: The splits that it was trained on.
        board: The board of the format ``firmware``; None without that. ``engine`` runs the network there.
        front_end: What stands between the sensor and the input; None, and not in the file, where no C is written for
            that. ``anomaly``, the threshold of a reconstruction, likewise.
        labels: What the outputs of a regression stand for; None, and not in the file, where they are for another thing.
        formats: Files of each format, relative to the format's folder.
        sha256: Digest of every file but this one, by path.
    """

    version: int = VERSION
    package: str = __version__
    name: str
    run: str
    trial: int
    on_front: bool
    device: str
    clock_mhz: float
    runtime: str
    purpose: PurposeName = "classes"
    class_names: tuple[str, ...]
    mean: list[list[list[float]]]
    deviation: list[list[list[float]]]
    split: Literal["test", "validation"]
    split_samples: int
    samples: int = Field(ge=1)
    error: float
    costs: dict[str, float | None]
    download_bytes: int | None
    error_kind: ErrorKind = "share"
    trained_on: tuple[str, ...] = ("train",)
    board: Board | None = None
    engine: EngineName = "mobo-c"
    front_end: FrontEnd | None = None
    counted: Work | None = None
    anomaly: AnomalyThreshold | None = None
    labels: LabelScale | None = None
    formats: dict[str, tuple[str, ...]]
    sha256: dict[str, str]

    @model_serializer(mode="wrap")
    def _without_nothing(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a front end, a threshold and labels that are not there."""
        fields: dict[str, Any] = serialise(self)
        absent = ("front_end", "counted", "anomaly", "labels")
        return {key: value for key, value in fields.items() if value is not None or key not in absent}

    @field_validator("mean", "deviation")
    @classmethod
    def _is_even(cls, table: list[list[list[float]]]) -> list[list[list[float]]]:
        shapes = {(len(rows), len(row)) for rows in table for row in rows}
        if len(shapes) != 1 or any(abs(value) > _LARGEST_FLOAT for rows in table for row in rows for value in row):
            raise ValueError("its rows differ in length, or a number is beyond float32")
        return table

    @model_validator(mode="after")
    def _labels_go_with_a_regression(self) -> "Manifest":
        is_regression = self.purpose == "regression"
        if is_regression != (self.labels is not None) or is_regression != (self.error_kind in DISTANCES):
            raise ValueError(f"purpose {self.purpose!r}, error_kind {self.error_kind!r} and labels do not go together")
        return self

    @model_validator(mode="after")
    def _lists_plain_files(self) -> "Manifest":
        for name, digest in self.sha256.items():
            if not _PLAIN_PATH.fullmatch(name):
                raise ValueError(f"sha256 lists {name!r}; files lie in the folder, under plain names")
            if not _SHA256.fullmatch(digest):
                raise ValueError(f"sha256 of {name!r} is {digest!r}; it has 64 hexadecimal digits")
        files = {f"{name}/{file}" for name, listed in self.formats.items() for file in listed}
        if self.sha256.keys() != files | {POLICY, NETWORK, SAMPLES}:
            odd = sorted(self.sha256.keys() ^ (files | {POLICY, NETWORK, SAMPLES}))[0]
            raise ValueError(f"formats and sha256 do not list the same files: {odd!r} is in one of them")
        return self


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs and what is known about them.

    Attributes:
        inputs: int8, N x H x W x C.
        labels: int64, N; of a regression float32, N x outputs, in their unit.
        outputs: int8 or int16, N x outputs: what the integer interpreter computes.
        targets: float32, N x outputs: the real numbers a reconstruction is compared with; None for classes.
        raw: int16 or uint8, n x samples: a few raw inputs of the front end, not those of the samples; None without one.
    """

    inputs: npt.NDArray[np.int8]
    labels: npt.NDArray[Any]
    outputs: Integers
    targets: npt.NDArray[np.float32] | None = None
    raw: Raw | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def to_bytes(self) -> bytes:
        """Return the arrays as the bytes of a compressed ``.npz`` file."""
        file = io.BytesIO()
        arrays: dict[str, npt.NDArray[Any]] = {"inputs": self.inputs, "labels": self.labels, "outputs": self.outputs}
        if self.targets is not None:
            arrays["targets"] = self.targets
        if self.raw is not None:
            arrays["raw"] = self.raw
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        return file.getvalue()


@dataclass(frozen=True, eq=False)
class ExportedModel:
    """An exported model on disk; get one with :func:`read_export`.

    Attributes:
        path: Its folder.
        manifest: What is known and promised.
    """

    path: Path
    manifest: Manifest
    _written: dict[str, Files] = field(default_factory=dict)

    def file(self, name: str) -> bytes:
        """Return a file's content, known to be what was exported, but not by whom.

        Args:
            name: Path inside the folder, e.g. ``"tflite/model.tflite"``.

        Raises:
            ExportError: It is missing, not part of the export, a link, no regular file, or was changed since.
        """
        if name not in self.manifest.sha256:
            raise ExportError(f"{self.path / MANIFEST} does not list {name}; {_AGAIN}")
        path = self.path
        for part in name.split("/"):
            path = path / part
            if path.is_symlink():
                raise ExportError(f"{path} is a link; the files of an export lie in its folder: {_AGAIN}")
        try:
            data = read_bytes(path)
        except FileError as error:
            raise ExportError(f"a file of the export: {error}; {_AGAIN}") from error
        if sha256(data).hexdigest() != self.manifest.sha256[name]:
            raise ExportError(
                f"{path} ({len(data)} bytes) is not what was exported: it was cut off or changed; {_AGAIN}"
            )
        return data

    def check_files(self) -> None:
        """Read every file once, and look for others.

        Raises:
            ExportError: One is missing or was changed, or there is one that is not part of the export.
        """
        for name in self.manifest.sha256:
            self.file(name)
        strays = [visible(name) for name in islice(self._strays(), _STRAYS_NAMED)]
        if strays:
            raise ExportError(
                f"{self.path} holds what is not part of the export: {', '.join(strays)}; nothing was run. "
                f"Move it away, or {_AGAIN}"
            )

    def _strays(self) -> Iterator[str]:
        known = {MANIFEST, VERIFICATION, *self.manifest.sha256}
        folders = {parent.as_posix() for name in known for parent in Path(name).parents}
        waiting = [self.path]
        while waiting:
            for entry in sorted(_entries(waiting.pop())):
                name = entry.relative_to(self.path).as_posix()
                if entry.is_dir() and not entry.is_symlink() and name in folders:
                    waiting.append(entry)
                elif name not in known:
                    yield name

    def written(self, name: str) -> Files:
        """Return the files of a format as this installation writes them from the network; the folder's are equal.

        What a check compiles or gives to an interpreter is this, so that no file of a stranger is run.

        Args:
            name: A format of the export.

        Raises:
            ExportError: The folder holds other files, or the network cannot be written in this format.
            MissingToolError: The format needs a package that is not installed.
        """
        if name not in self._written:
            files = self._made(name)
            for path, data in files.items():
                if self.file(f"{name}/{path}") != data:
                    raise ExportError(
                        f"{self.path / name / path} is not what this installation writes from {NETWORK}: it was "
                        f"changed, or the packages that write it have other versions; it was not run: {_AGAIN}"
                    )
            extra = sorted(set(self.manifest.formats[name]) - files.keys())
            if extra:
                raise ExportError(f"{self.path / name / extra[0]} is no file of the format {name}; {_AGAIN}")
            self._written[name] = files
        return self._written[name]

    def _made(self, name: str) -> Files:
        try:
            return load_format(name)(self.request)
        except (MoboError, EnvError, HardwareModelError):
            raise
        except Exception as error:  # a network that somebody made up leads a writer to whatever it does not expect
            raise ExportError(f"{self.path / NETWORK} cannot be written as {name}: {error!r}; {_AGAIN}") from error

    @cached_property
    def request(self) -> ExportRequest:
        """What the formats were given."""
        policy = CompressionPolicy.from_json(self.file(POLICY).decode(errors="replace"))
        return export_request(self.manifest, self.network, policy, self.samples)

    @cached_property
    def network(self) -> QuantisedNetwork:
        """The integer network."""
        return network_from_bytes(self.file(NETWORK))

    @cached_property
    def samples(self) -> Samples:
        """The samples to verify with.

        Raises:
            ExportError: They do not fit the network.
        """
        try:
            arrays = parse_arrays(self.file(SAMPLES), source=str(self.path / SAMPLES))
        except FileError as error:
            raise ExportError(f"{error}; {_AGAIN}") from error
        for name, (dtype, shape) in self._array_forms().items():
            found = arrays.get(name)
            if found is None or (found.dtype, found.shape) != (dtype, shape):
                seen = "is missing" if found is None else f"is {found.dtype} of shape {found.shape}"
                raise ExportError(
                    f"{self.path / SAMPLES}: the array {name!r} {seen}; it must be {dtype} {shape}: {_AGAIN}"
                )
        labels = arrays["labels"]
        self._check_labels(labels)
        targets = arrays["targets"] if self.manifest.purpose == "reconstruction" else None
        if targets is not None and not np.isfinite(targets).all():
            raise ExportError(f"{self.path / SAMPLES} holds targets that are not finite; {_AGAIN}")
        return Samples(arrays["inputs"], labels, arrays["outputs"], targets, self._raw(arrays))

    def _check_labels(self, labels: npt.NDArray[Any]) -> None:
        classes = len(self.manifest.class_names)
        if self.manifest.purpose == "regression":
            if not np.isfinite(labels).all():
                raise ExportError(f"{self.path / SAMPLES} holds labels that are not finite; {_AGAIN}")
        elif labels.min() < 0 or labels.max() >= classes:
            raise ExportError(f"{self.path / SAMPLES} holds labels beyond the {classes} classes; {_AGAIN}")

    def _raw(self, arrays: Mapping[str, npt.NDArray[Any]]) -> Raw | None:
        """Return the raw inputs of the front end."""
        if self.manifest.front_end is None:
            return None
        form, found = self.manifest.front_end.form, arrays.get("raw")
        fits = found is not None and found.dtype == form.dtype and found.ndim == 2
        if found is None or not fits or found.shape[1] != form.samples or not 1 <= len(found) <= TEST_INPUTS:
            raise ExportError(
                f"{self.path / SAMPLES}: the array 'raw' must be {form.dtype}, 1 to {TEST_INPUTS} rows of "
                f"{form.samples} samples; {_AGAIN}"
            )
        return found

    def _array_forms(self) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        """Return type and shape of every array that is needed."""
        graph, count = self.network.graph, self.manifest.samples
        forms: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
            "inputs": (np.dtype(np.int8), (count, *graph.input_shape)),
            "labels": (np.dtype(np.int64), (count,)),
            "outputs": (np.dtype(f"int{graph.bits[graph.output]}"), (count, prod(graph.shapes[graph.output]))),
        }
        if self.manifest.purpose == "reconstruction":
            forms["targets"] = (np.dtype(np.float32), (count, prod(graph.input_shape)))
        if self.manifest.labels is not None:
            forms["labels"] = (np.dtype(np.float32), (count, len(self.manifest.labels.mean)))
        return forms

    def error(self, outputs: Integers | None = None) -> float:
        """Return the error of some outputs for the samples, or of the integer interpreter's, as the run defines it."""
        import torch  # takes a while to import

        samples, tensor = self.samples, self.network.tensors[self.network.graph.output]
        real = torch.from_numpy(samples.outputs if outputs is None else outputs).float()
        x = torch.from_numpy(samples.inputs if samples.targets is None else samples.targets)
        return _purpose(self.manifest).error(
            (real - tensor.zero_point) * tensor.scale, x, torch.from_numpy(samples.labels)
        )


def _purpose(manifest: Manifest) -> "Purpose":
    """Return what the model was trained for and is judged by."""
    from envs.compression.float_network.purpose import RECONSTRUCTION, Classification, Regression

    if manifest.purpose == "reconstruction":
        return RECONSTRUCTION
    match manifest.error_kind:
        case "mae" | "rmse":
            labels = manifest.labels
            assert labels is not None
            return Regression(manifest.error_kind, labels.mean, labels.deviation, labels.worst)
        case _:
            return Classification(manifest.error_kind)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise ExportError(f"{folder} cannot be looked into: {error.strerror}; {_AGAIN}") from error


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of every file by path."""
    return {name: sha256(data).hexdigest() for name, data in sorted(files.items())}


def export_request(
    manifest: Manifest, network: QuantisedNetwork, policy: CompressionPolicy, samples: Samples
) -> ExportRequest:
    """Return what a format is given: all of it is kept in the folder, so that the files can be written again."""
    return ExportRequest(
        network=network,
        policy=policy,
        costs=manifest.costs,
        name=manifest.name,
        run=manifest.run,
        trial=manifest.trial,
        purpose=manifest.purpose,
        class_names=manifest.class_names,
        mean=np.array(manifest.mean, np.float32),
        deviation=np.array(manifest.deviation, np.float32),
        test_inputs=samples.inputs[:TEST_VECTOR_SAMPLES],
        test_labels=samples.labels[:TEST_VECTOR_SAMPLES],
        test_outputs=samples.outputs[:TEST_VECTOR_SAMPLES],
        board=manifest.board,
        engine=manifest.engine,
        front_end=manifest.front_end,
        raw_inputs=samples.raw,
        anomaly=manifest.anomaly,
        labels=manifest.labels,
    )


def read_export(path: Path) -> ExportedModel:
    """Open the folder of an exported model.

    Raises:
        ExportError: It is not one, or was written by another version.
    """
    file = path / MANIFEST
    if not file.is_file():
        raise ExportError(f"{path} is no exported model: {MANIFEST} is missing; make one with `mobo export`")
    try:
        data = read_bytes(file, at_most_bytes=LARGEST_TEXT_BYTES)
        _check_versions(file, parse_json_object(data, source=str(file)))
        return ExportedModel(path, parse_json(data, Manifest, source=str(file)))
    except FileError as error:
        raise ExportError(f"{error}; {_AGAIN}") from error


def _check_versions(file: Path, found: Mapping[str, Any]) -> None:
    """Refuse a manifest of another version before its keys are looked at."""
    if found.get("version") != VERSION:
        raise ExportError(f"{file} has version {found.get('version')}, this program reads {VERSION}; {_AGAIN}")
    if found.get("package") != __version__:
        raise ExportError(
            f"{file} was written by version {found.get('package')} of the package, this is {__version__}, which cannot "
            f"compare it; verify it with that version, or {_AGAIN}"
        )


def check_free(path: Path) -> None:
    """Refuse a place where something is already.

    Raises:
        ExportError: The path exists.
    """
    if path.exists() or path.is_symlink():
        raise ExportError(f"{path} exists already; nothing was written: give another --out, or remove it first")


def write_export(path: Path, files: Mapping[str, bytes], manifest: Manifest) -> ExportedModel:
    """Write a new folder, all of it or nothing.

    Args:
        path: The folder; its parents are made too.
        files: Content by path with forward slashes.
        manifest: What is known; it must hold the digests of the files.

    Raises:
        ExportError: The path exists or cannot be written.
    """
    check_free(path)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            for name, data in {**files, MANIFEST: manifest.model_dump_json(indent=1).encode()}.items():
                target = part / name
                target.parent.mkdir(parents=True, exist_ok=True)
                atomic_write.write_bytes(target, data)
            # Onto an empty folder of another export that began meanwhile this would succeed, onto files it fails.
            part.rename(path)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        atomic_write.sync_folder(path.parent)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ExportError(f"cannot write {path}: {reason}; nothing was left there, give another --out") from error
    return ExportedModel(path, manifest)
