"""What do the readers make of damaged files: an answer, one error of ours, or something else?

    python -m experiments.code.fuzz_readers [--mutations 2000] [--seed 0] [--readers NAME ...]

Every reader is given files that are right but for a few mutations: bytes that are flipped, cut, doubled or put in,
numbers that become huge, negative or none at all, tables nested deeper; in an archive the members are mutated and
packed again, so that checksums hold. Anything but an answer or an error of ours, and everything that takes more than
two seconds, is counted and shown, and by how much the most memory that the process ever held grew. Prints a table; exit
code 1 where a count is not 0.
"""

import argparse
import gzip
import io
import json
import random
import resource
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as save_tensors
from scipy.io import wavfile
from torch import nn

from envs.compression.integer.network import QuantisedNetwork
from envs.compression.integer.network_file import network_from_bytes, network_to_bytes
from envs.compression.integer.quantisation import quantise
from envs.compression.integer.weight_coding import decode_network, encode_network
from envs.compression.policy import CompressionPolicy
from envs.search.agent.checkpoint import Checkpoint
from experiments.costs.tflite_writer import tflite_bytes
from hw_models.calibration.tables import FOLDER, read_latencies, read_layers, read_networks, shipped_networks
from hw_models.cost import estimate
from hw_models.device import load_device, read_devices
from hw_models.files import read_bytes
from hw_models.graph.from_file import read_network
from hw_models.graph.from_torch import trace
from hw_models.runtime import load_runtime, read_runtime
from mobo.base import markdown
from mobo.base.gzip_csv import read_rows, table_bytes
from mobo.base.rows import RowFile
from mobo.cli.cost_report import cost_report
from mobo.cli.cost_text import report_text
from mobo.cli.expected_errors import EXPECTED_ERRORS
from mobo.export.c.project import export_c
from mobo.export.exported_model import (
    MANIFEST,
    Manifest,
    Samples,
    digests,
    export_request,
    read_export,
    write_export,
)
from mobo.export.onnx.writer import onnx_bytes
from mobo.export.tflite.writer import tflite_bytes as exported_tflite
from mobo.goal.reference_description import ReferenceDescription
from mobo.report.layers_figure import layers_figure
from mobo.report.memory_figure import memory_figure
from mobo.report.saved_model import read_saved_model
from mobo.report.verification_section import verification_section
from mobo.runs.cluster import machines_of
from mobo.runs.directory import RunDirectory
from mobo.tinyml.config import EXAMPLE
from mobo.tinyml.config_file import load_config
from mobo.tinyml.model_files import load_trained
from mobo.tinyml.networks.own_file import OwnFileFamily
from mobo.tinyml.networks.own_module import load_state
from mobo.tinyml.tasks import load_raw
from mobo.tinyml.tasks.cifar10 import read_archive
from mobo.tinyml.tasks.settings import (
    CsvFolderSettings,
    DaliacSettings,
    ImageFolderSettings,
    NpzSettings,
    WavFolderSettings,
)

SLOW_S = 2.0
_VERIFICATION = json.dumps(
    {
        "name": "a", "device": "b", "holds": True,
        "checks": [{"check": "c", "skipped": None, "rows": [
            {"quantity": "q", "predicted": 1, "measured": 2.5, "holds": True, "note": "", "ratio": 2.5}]}],
    }
).encode()  # fmt: skip
_RUNTIME = load_runtime("tflm-cmsis-nn")
_BOARD = load_device("nucleo-l4r5zi")
_TOKENS = (
    b"0", b"-1", b"1e400", b"nan", b"inf", b"NaN", b"-Infinity", b"99999999999999999999999999", b"1e-300", b"2.5",
    b'""', b'"\\u001b[2J"', b"null", b"true", b"[]", b"{}", b"[" * 3000, b'{"a":' * 200, b"\xff", b"\x00", b"=1+1",
    b"\xe2\x80\xae", b"\n", b",", b"x" * 5000,
)  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """A reader with files that it reads.

    Attributes:
        files: Right content by name.
        read: Reads the file at a path.
        repack: How an archive is taken apart and packed again; None for plain files.
    """

    files: Mapping[str, bytes]
    read: Callable[[Path], object]
    repack: Callable[[bytes, Callable[[bytes], bytes], random.Random], bytes] | None = None

    def mutation(self, rng: random.Random) -> tuple[str, bytes]:
        """Return the name of one of the files and a mutation of it."""
        name, data = rng.choice(sorted(self.files.items()))
        if self.repack is not None and rng.random() < 0.7:
            return name, self.repack(data, lambda part: mutated(part, rng), rng)
        return name, mutated(data, rng)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Return bytes with one to three mutations."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = _once(data, rng)
    return data


def _once(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    kind = rng.randrange(8)
    if kind == 0:
        return data[:place]
    if kind == 1:
        return data[:place] + rng.randbytes(rng.randint(1, 4)) + data[place + 1 :]
    if kind == 2:
        return data[:place] + data[place + rng.randint(1, 64) :]
    if kind == 3:
        end = place + rng.randint(1, 64)
        return data[:end] + data[place:end] * rng.choice((1, 50)) + data[end:]
    if kind == 4:
        return data[:place] + rng.choice(_TOKENS) + data[place:]
    if kind == 5:
        return _other_digit(data, place, rng)
    return _other_value(data, place, rng)


def _other_digit(data: bytes, place: int, rng: random.Random) -> bytes:
    """Return text with one digit of a number replaced, so that most of it is still what it was."""
    found = next((index for index in range(place, len(data)) if chr(data[index]).isdigit()), None)
    return data if found is None else data[:found] + str(rng.randrange(10)).encode() + data[found + 1 :]


def _other_value(data: bytes, place: int, rng: random.Random) -> bytes:
    """Return text with one value, a stretch between separators, replaced by another one."""
    separators = b" ,:\n[]{}=x\"'"
    start = next((index for index in range(place, min(place + 200, len(data))) if data[index] in separators), place)
    end = next((index for index in range(start + 1, min(start + 40, len(data))) if data[index] in separators), start)
    return data[: start + 1] + rng.choice(_TOKENS) + data[end:]


def repacked_zip(data: bytes, change: Callable[[bytes], bytes], rng: random.Random) -> bytes:
    """Return a zip archive, or an ``.npz`` file, with one member changed."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        names = old.namelist()
        chosen = rng.choice(names)
        for name in names:
            content = old.read(name)
            if name == chosen:
                # Most of an array is its elements; what it says of itself stands at the front.
                front = 128 if rng.random() < 0.7 else len(content)
                content = change(content[:front]) + content[front:]
            new.writestr(name, content)
    return packed.getvalue()


def repacked_gzip(data: bytes, change: Callable[[bytes], bytes], rng: random.Random) -> bytes:
    """Return what gzip packed, changed."""
    content = gzip.decompress(data)
    front = 1024 if rng.random() < 0.7 else len(content)
    return gzip.compress(change(content[:front]) + content[front:], compresslevel=1, mtime=0)


def readers(folder: Path) -> Mapping[str, Reader]:
    """Return every reader by the name of what it reads.

    Args:
        folder: An empty folder, for what a reader needs beside its file.
    """
    return {**_model_readers(folder), **_table_readers(), **_task_readers(folder)}


@cache
def _network() -> tuple[nn.Module, QuantisedNetwork]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        ).eval()
        return network, quantise(network, trace(network, (6, 6, 1)), torch.randn(16, 1, 6, 6))


def _model_readers(folder: Path) -> dict[str, Reader]:
    """Return the readers of what a run keeps of a model, and of what is exported."""
    module, network = _network()
    run = RunDirectory(folder / "run")
    model = run.model_directory(0)
    model.mkdir(parents=True)
    policy = CompressionPolicy({"0.0": 0.5}, {"0.0": 8, "3": 4}).to_json().encode()
    cost = json.dumps(estimate(network.graph, _BOARD, _RUNTIME).to_dict()).encode()
    (model / "policy.json").write_bytes(policy)
    (model / "cost.json").write_bytes(cost)
    checkpoint = Checkpoint("sac", ("a", "b"), (4,), {"policy": {"w": torch.zeros(3)}}).to_bytes()
    described = ReferenceDescription(
        origin="trained", network=load_config(EXAMPLE).network, values={"width": 8, "learning_rate": 0.1}, seed=3,
        activation_ranges="mse", bias_correction=True,
    ).to_json()  # fmt: skip

    def in_model(name: str, read: Callable[[], object]) -> Callable[[Path], object]:
        def placed(path: Path) -> object:
            kept = (model / name).read_bytes() if (model / name).is_file() else None
            (model / name).write_bytes(path.read_bytes())
            try:
                return read()
            finally:
                if kept is not None:
                    (model / name).write_bytes(kept)

        return placed

    def shown() -> object:
        saved = read_saved_model(run, 0)
        return layers_figure(saved), memory_figure(saved)

    def manifest(path: Path) -> object:
        (folder / MANIFEST).write_bytes(path.read_bytes())
        return read_export(folder)

    return {
        "policy": Reader({"policy.json": policy}, in_model("policy.json", shown)),
        "cost": Reader({"cost.json": cost}, in_model("cost.json", shown)),
        "verification": Reader(
            {"verify.json": _VERIFICATION}, in_model("verify.json", lambda: verification_section(run, model))
        ),
        "manifest": Reader({MANIFEST: _manifest({"c": ("model.c",)}).model_dump_json().encode()}, manifest),
        "exported network": Reader(
            {"network.npz": network_to_bytes(network)}, _exported(folder / "exported", network), repacked_zip
        ),
        "description": Reader({"described.json": described.encode()}, ReferenceDescription.read),
        "graph": Reader({"graph.json": json.dumps(network.graph.to_dict()).encode()}, _costed),
        "integer network": Reader(
            {"network.npz": network_to_bytes(network)},
            lambda path: network_from_bytes(read_bytes(path)),
            repacked_zip,
        ),
        "download": Reader({"network.qnc": encode_network(network)}, lambda path: decode_network(read_bytes(path))),
        "trained weights": Reader(
            {"trained.safetensors": save_tensors(module.state_dict())},
            in_model("trained.safetensors", lambda: load_trained(model, _network()[0])),
        ),
        "state dict": Reader({"own.pt": _state_dict()}, lambda path: load_state(nn.Linear(3, 2), path), repacked_zip),
        "whole network": Reader(
            {
                "own.tflite": exported_tflite(network, name="a", metadata={}),
                "own.onnx": onnx_bytes(network, name="a", metadata={}),
            },
            lambda path: OwnFileFamily(path).build({}, (6, 6, 1), 3),
        ),
        "agent": Reader({"agent.pt": checkpoint}, lambda path: Checkpoint.from_bytes(read_bytes(path)), repacked_zip),
    }


def _state_dict() -> bytes:
    torch.manual_seed(0)
    stream = io.BytesIO()
    torch.save(nn.Linear(3, 2).state_dict(), stream)
    return stream.getvalue()


def _manifest(formats: Mapping[str, tuple[str, ...]]) -> Manifest:
    names = ("network.npz", "policy.json", "samples.npz", *(f"c/{name}" for name in formats.get("c", ())))
    return Manifest(
        name="run-0", run="run", trial=0, on_front=True, device=_BOARD.name, clock_mhz=120.0, runtime=_RUNTIME.name,
        class_names=("a", "b"), mean=[[[0.5]]], deviation=[[[1.5]]], split="test", split_samples=40, samples=4,
        error=0.25, costs={"ram_bytes": 1000.0, "energy_uj": None}, download_bytes=300, formats=dict(formats),
        sha256=dict.fromkeys(names, "0" * 64),
    )  # fmt: skip


def _exported(folder: Path, network: QuantisedNetwork) -> Callable[[Path], object]:
    """Return what reads an export with another network in it, whose maker made the digests fit."""
    samples = Samples(np.zeros((4, 6, 6, 1), np.int8), np.zeros(4, np.int64), np.zeros((4, 3), np.int8))
    request = export_request(_manifest({}), network, CompressionPolicy(), samples)
    files = {f"c/{name}": data for name, data in export_c(request).items()}
    files |= {
        "network.npz": network_to_bytes(network),
        "policy.json": CompressionPolicy().to_json().encode(),
        "samples.npz": samples.to_bytes(),
    }
    manifest = _manifest({"c": tuple(name.removeprefix("c/") for name in files if name.startswith("c/"))})
    write_export(folder, files, manifest)

    def read(path: Path) -> object:
        data = path.read_bytes()
        (folder / "network.npz").write_bytes(data)
        signed = manifest.model_copy(update={"sha256": digests(files | {"network.npz": data})})
        (folder / MANIFEST).write_text(signed.model_dump_json())
        return read_export(folder).written("c")

    return read


def _table_readers() -> dict[str, Reader]:
    """Return the readers of configs, boards, runtimes, networks as tables and measurements."""
    package, graph = FOLDER.parent, _network()[1].graph
    layers = b"layer,op,input_shape,output_shape,kernel,stride,cin,cout,macs,inputs\n" + b"\n".join(
        (
            b"a,CONV_2D,1x8x8x3,1x8x8x4,3x3,1x1,3,4,6912,input",
            b"b,DEPTHWISE_CONV_2D,1x8x8x4,1x4x4x4,3x3,2x2,4,4,576,a",
            b"c,AVERAGE_POOL_2D,1x4x4x4,1x1x1x4,4x4,4x4,4,4,0,b",
            b"d,FULLY_CONNECTED,1x4,1x3,,,4,3,12,c\n",
        )
    )
    boards = b"\n[" + (package / "devices.toml").read_bytes().partition(b"\n[")[2].partition(b"\n[")[0]
    return {
        "config": Reader({"study.toml": EXAMPLE.read_bytes()}, load_config),
        "boards": Reader(
            {"boards.toml": boards},
            lambda path: [estimate(graph, board, _RUNTIME).to_dict() for board in read_devices(path).values()],
        ),
        "runtime": Reader({"runtime.toml": (package / "runtimes/tflm-reference.toml").read_bytes()}, _with_runtime),
        "tflite": Reader({"model.tflite": tflite_bytes(graph)}, _costed),
        "table of layers": Reader({"layers.csv": layers}, _costed),
        "latencies": Reader(
            {"latency.csv": _first_lines(FOLDER / "latency.csv", 8)},
            lambda path: read_latencies(path, shipped_networks()),
        ),
        "measured layers": Reader({"own.csv": _first_lines(FOLDER / "layers.csv", 8)}, read_layers),
        "networks": Reader(
            {"networks.csv": _first_lines(FOLDER / "networks.csv", 12)},
            lambda path: read_latencies(FOLDER / "latency.csv", read_networks(path), only_usable=True),
        ),
        "rows": Reader({"rows.csv": b"seed,error\n1,0.5\n2,0.25\n"}, lambda path: RowFile(path, key=["seed"])),
        "machines": Reader(
            {"machines.csv": b"trial,node,kind\n0,192.0.2.2 (3f),a processor\n1,192.0.2.3 (5a),another\n"},
            lambda path: machines_of(RunDirectory(path.parent)),
        ),
        "packed rows": Reader(
            {"rows.csv.gz": table_bytes([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}], ["a", "b"])}, read_rows, repacked_gzip
        ),
    }


def _task_readers(folder: Path) -> dict[str, Reader]:
    """Return the readers of data sets."""
    rng = np.random.default_rng(0)
    arrays, speech = io.BytesIO(), io.BytesIO()
    np.savez_compressed(
        arrays, x_train=rng.normal(size=(12, 4, 4)), y_train=np.arange(12) % 3, class_names=np.array(["a", "b", "c"])
    )
    wavfile.write(speech, 8000, rng.integers(-1000, 1000, 8000).astype(np.int16))
    signal = "x,y\n" + "".join(f"{value:.3f},{value * 2:.3f}\n" for value in rng.normal(size=40))
    rows = "".join(",".join(f"{value:.2f}" for value in rng.normal(size=24)) + f",{1 + i // 20}\n" for i in range(60))
    daliac = io.BytesIO()
    with zipfile.ZipFile(daliac, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("dataset_1.txt", rows)
        archive.writestr("dataset_2.txt", rows)

    def in_folder(good: bytes, settings: Callable[[Path], Any]) -> Callable[[Path], object]:
        def read(path: Path) -> object:
            with tempfile.TemporaryDirectory(dir=folder) as classes:
                for name in "ab":
                    (Path(classes) / name).mkdir()
                    (Path(classes) / name / f"0{path.suffix}").write_bytes(good)
                (Path(classes) / "a" / f"1{path.suffix}").write_bytes(path.read_bytes())
                return load_raw(settings(Path(classes)))

        return read

    readers = {
        "arrays": Reader(
            {"data.npz": arrays.getvalue()},
            lambda path: load_raw(NpzSettings(name="npz", file=path, layout="hw")),
            repacked_zip,
        ),
        "recordings": Reader(
            {"speech.wav": speech.getvalue()},
            in_folder(speech.getvalue(), lambda at: WavFolderSettings(name="wav_folder", folder=at, clip_s=0.25)),
        ),
        "signals": Reader(
            {"signal.csv": signal.encode()},
            in_folder(signal.encode(), lambda at: CsvFolderSettings(name="csv_folder", folder=at, window=8)),
        ),
        "DaLiAc": Reader(
            {"daliac.zip": daliac.getvalue()},
            lambda path: load_raw(DaliacSettings(name="daliac", file=path, window=10, hop=10)),
            repacked_zip,
        ),
        "CIFAR-10": Reader({"cifar.tar.gz": _cifar(rng)}, read_archive, repacked_gzip),
    }
    images = _images(rng)
    for ending, data in images.items():
        readers[f"images, {ending}"] = Reader(
            {f"image.{ending}": data},
            in_folder(data, lambda at: ImageFolderSettings(name="image_folder", folder=at, size=(8, 8))),
        )
    return readers


def _images(rng: np.random.Generator) -> dict[str, bytes]:
    from PIL import Image

    picture = Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8))
    found = {}
    for ending, kind in (("png", "PNG"), ("jpg", "JPEG"), ("bmp", "BMP"), ("ppm", "PPM")):
        stream = io.BytesIO()
        picture.save(stream, kind)
        found[ending] = stream.getvalue()
    return found


def _cifar(rng: np.random.Generator) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        names = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin", "batches.meta.txt"]
        for name in names:
            records = bytes(range(2)) + rng.bytes(2 * 3073 - 2)
            content = (
                b"cat\ndog\n" if name.endswith("txt") else b"".join((b"\0", records[1:3073], b"\1", records[3074:]))
            )
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _first_lines(path: Path, count: int) -> bytes:
    return b"".join(path.read_bytes().splitlines(keepends=True)[:count])


def _costed(path: Path) -> object:
    return report_text(cost_report(read_network(path), _BOARD, _RUNTIME, {}))


def _with_runtime(path: Path) -> object:
    return estimate(_network()[1].graph, _BOARD, read_runtime(path)).to_dict()


@dataclass(frozen=True)
class Counts:
    """What a reader made of mutations.

    Attributes:
        answers: It read them all the same.
        ours: It raised an error of ours.
        others: Anything else, as many as there were; ``first`` shows the first.
        slow: It took longer than two seconds.
        first: The first of the others; empty if there was none.
        growth_mib: By how much the most memory that the process ever held grew.
    """

    answers: int = 0
    ours: int = 0
    others: int = 0
    slow: int = 0
    first: str = ""
    growth_mib: float = 0.0


def fuzzed(reader: Reader, count: int, seed: int, folder: Path) -> Counts:
    """Give mutations to a reader.

    Args:
        reader: The reader.
        count: How many.
        seed: Which.
        folder: Where the files are written.

    Raises:
        HardwareModelError, EnvError, MoboError: It refuses a right file.
    """
    rng = random.Random(seed)
    for name, data in reader.files.items():
        (folder / name).write_bytes(data)
        reader.read(folder / name)
    answers = ours = others = slow = 0
    first, before = "", _most_memory_mib()
    for number in range(count):
        name, data = reader.mutation(rng)
        path = folder / name
        path.write_bytes(data)
        start = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                reader.read(path)
            answers += 1
        except EXPECTED_ERRORS:
            ours += 1
        except Exception as error:  # noqa: BLE001 - what is looked for
            others += 1
            first = first or f"mutation {number}: {type(error).__name__}: {error}"[:200]
        slow += time.perf_counter() - start > SLOW_S
    return Counts(answers, ours, others, slow, first, _most_memory_mib() - before)


def _most_memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Mutate, count, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=2000, help="of every reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", nargs="+", help="names of some of them")
    arguments = parser.parse_args()
    found: dict[str, Counts] = {}
    with tempfile.TemporaryDirectory() as beside, tempfile.TemporaryDirectory() as files:
        for name, reader in readers(Path(beside)).items():
            if arguments.readers is None or name in arguments.readers:
                found[name] = fuzzed(reader, arguments.mutations, arguments.seed, Path(files))
                print(name, found[name], file=sys.stderr, flush=True)
    columns = ("reader", "read", "our error", "another error", "over 2 s", "memory MiB")
    rows = [(n, c.answers, c.ours, c.others, c.slow, f"{c.growth_mib:.0f}") for n, c in found.items()]
    print(markdown.table(columns, rows))
    sys.exit(any(counts.others or counts.slow for counts in found.values()))


if __name__ == "__main__":
    main()
