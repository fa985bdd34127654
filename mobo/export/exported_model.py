"""The folder of an exported model: what lies in it, written all or nothing, read back and checked.

Layout::

    manifest.json     where the model comes from, what was promised, the SHA-256 of every other file
    policy.json       what was done to the trained network
    network.npz       the integer network itself
    samples.npz       integer inputs, labels and the integer interpreter's outputs
    <format>/…        the files of each format
    verify.json       what `mobo verify` found
"""

import io
import json
import os
import secrets
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from envs.compression.integer.network import QuantisedNetwork
from envs.compression.integer.network_file import network_from_bytes
from mobo.base import atomic_write
from mobo.export.errors import ExportError
from mobo.export.request import Integers, PurposeName

MANIFEST, POLICY, NETWORK, SAMPLES = "manifest.json", "policy.json", "network.npz", "samples.npz"
VERSION = 2


class Manifest(BaseModel):
    """What is known and promised of an exported model.

    Attributes:
        version: Of this layout.
        name: Of the model.
        run: The run it comes from.
        trial: The trial it comes from.
        on_front: Whether that is on the run's front.
        device: The board it was searched for; ``clock_mhz`` its clock, ``runtime`` the inference engine.
        purpose: What the outputs are for.
        class_names: One per class, in label order.
        mean, deviation: How raw inputs become real ones: ``(raw - mean) / deviation``, broadcast over (H, W, C).
        split: The split of the samples.
        split_samples: How many the split has; ``samples`` of them, from the first on, are in ``samples.npz``.
        error: The error on the whole split, as the run recorded it: the share of wrong answers, or for a reconstruction
            1 minus the area under the ROC curve.
        costs: What the cost model predicts for the board, by name.
        download_bytes: Length of the coded network file, as the run recorded it; None where it did not.
        formats: Files of each format, relative to the format's folder.
        sha256: Digest of every file but this one, by path.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = VERSION
    name: str
    run: str
    trial: int
    on_front: bool
    device: str
    clock_mhz: float
    runtime: str
    purpose: PurposeName = "classes"
    class_names: tuple[str, ...]
    mean: list[Any]
    deviation: list[Any]
    split: Literal["test", "validation"]
    split_samples: int
    samples: int
    error: float
    costs: dict[str, float | None]
    download_bytes: int | None
    formats: dict[str, tuple[str, ...]]
    sha256: dict[str, str]


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs and what is known about them.

    Attributes:
        inputs: int8, N x H x W x C.
        labels: int64, N.
        outputs: int8 or int16, N x outputs: what the integer interpreter computes.
        targets: float32, N x outputs: the real numbers a reconstruction is compared with; None for classes.
    """

    inputs: npt.NDArray[np.int8]
    labels: npt.NDArray[np.int64]
    outputs: Integers
    targets: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def to_bytes(self) -> bytes:
        """Return the arrays as the bytes of a compressed ``.npz`` file."""
        file = io.BytesIO()
        arrays: dict[str, npt.NDArray[Any]] = {"inputs": self.inputs, "labels": self.labels, "outputs": self.outputs}
        if self.targets is not None:
            arrays["targets"] = self.targets
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

    def file(self, name: str) -> bytes:
        """Return a file's content, known to be what was exported.

        Args:
            name: Path inside the folder, e.g. ``"tflite/model.tflite"``.

        Raises:
            ExportError: It is missing, not part of the export, or was changed since.
        """
        if name not in self.manifest.sha256:
            raise ExportError(f"{self.path / MANIFEST} does not list {name}; export the model again")
        try:
            data = (self.path / name).read_bytes()
        except OSError as error:
            raise ExportError(f"a file of the export cannot be read: {error}; export the model again") from error
        if sha256(data).hexdigest() != self.manifest.sha256[name]:
            raise ExportError(
                f"{self.path / name} ({len(data)} bytes) is not what was exported: it was cut off or changed; "
                "export the model again"
            )
        return data

    def check_files(self) -> None:
        """Read every file once.

        Raises:
            ExportError: One is missing or was changed.
        """
        for name in self.manifest.sha256:
            self.file(name)

    @cached_property
    def network(self) -> QuantisedNetwork:
        """The integer network."""
        return network_from_bytes(self.file(NETWORK))

    @cached_property
    def samples(self) -> Samples:
        """The samples to verify with."""
        try:
            with np.load(io.BytesIO(self.file(SAMPLES)), allow_pickle=False) as archive:
                return Samples(archive["inputs"], archive["labels"], archive["outputs"], archive.get("targets"))
        except (KeyError, zipfile.BadZipFile, ValueError) as error:
            if isinstance(error, ExportError):
                raise
            raise ExportError(f"{self.path / SAMPLES} cannot be read ({error}); export the model again") from error

    def error(self, outputs: Integers | None = None) -> float:
        """Return the error of some outputs for the samples, or of the integer interpreter's, as the run defines it."""
        import torch  # both take a while to import

        from envs.compression.float_network.purpose import CLASSIFICATION, RECONSTRUCTION

        samples, tensor = self.samples, self.network.tensors[self.network.graph.output]
        real = torch.from_numpy(samples.outputs if outputs is None else outputs).float()
        purpose = CLASSIFICATION if samples.targets is None else RECONSTRUCTION
        x = torch.from_numpy(samples.inputs if samples.targets is None else samples.targets)
        return purpose.error((real - tensor.zero_point) * tensor.scale, x, torch.from_numpy(samples.labels))


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of every file by path."""
    return {name: sha256(data).hexdigest() for name, data in sorted(files.items())}


def read_export(path: Path) -> ExportedModel:
    """Open the folder of an exported model.

    Raises:
        ExportError: It is not one, or was written by another version.
    """
    file = path / MANIFEST
    if not file.is_file():
        raise ExportError(f"{path} is no exported model: {MANIFEST} is missing; make one with `mobo export`")
    data = file.read_bytes()
    _check_version(file, data)
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise ExportError(
            f"{file} cannot be read: {_first_problem(error)} ({error.error_count()} problems); export the model again"
        ) from error
    return ExportedModel(path, manifest)


def _check_version(file: Path, data: bytes) -> None:
    """Refuse a manifest of another version before its keys are looked at; what is no manifest at all is let through."""
    try:
        found = json.loads(data)
    except ValueError:
        return
    if isinstance(found, dict) and found.get("version", VERSION) != VERSION:
        raise ExportError(
            f"{file} has version {found['version']}, this program reads {VERSION}; export the model again"
        )


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else problem["msg"]


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
