"""No reader answers a damaged file with anything but an answer or one error of ours."""

import io
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

from envs.array_files import parse_arrays
from experiments.code.fuzz_readers import fuzzed, mutated, readers
from hw_models.files import FileError

pytest.importorskip("PIL")

MUTATIONS = 40


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return dict(readers(tmp_path_factory.mktemp("beside")))


NAMES = (
    "policy", "cost", "verification", "manifest", "exported network", "description", "graph", "integer network", "download",
    "trained weights", "state dict", "whole network", "agent", "config", "boards", "runtime", "tflite", "table of layers", "latencies", "measured layers",
    "networks", "rows", "machines", "packed rows", "arrays", "recordings", "signals", "DaLiAc", "CIFAR-10", "images, png",
    "images, jpg", "images, bmp", "images, ppm",
)  # fmt: skip


def test_the_list_is_whole(every: dict) -> None:
    assert sorted(every) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_of_damaged_files_raises_nothing_but_errors_of_ours(every: dict, name: str, tmp_path: Path) -> None:
    counts = fuzzed(every[name], MUTATIONS, 1, tmp_path)
    assert counts.others == 0, counts.first
    assert counts.answers + counts.ours == MUTATIONS
    assert counts.ours > 0


def test_mutations_follow_from_the_seed_and_change_something() -> None:
    data = b'{"a": 1, "b": [2, 3]}'
    changed = [mutated(data, random.Random(seed)) for seed in range(40)]
    assert changed == [mutated(data, random.Random(seed)) for seed in range(40)]
    assert sum(one != data for one in changed) > 30


def test_arrays_are_read_as_numpy_reads_them() -> None:
    arrays = {
        "plain": np.arange(6).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4)),
        "text": np.array(["ä", "bc"]),
        "number": np.float64(3),
        "empty": np.zeros((0, 3)),
        "swapped": np.arange(3, dtype=">i4"),
        "truth": np.array([True, False]),
    }
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    found = parse_arrays(file.getvalue(), source="x")
    assert sorted(found) == sorted(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert (found[name].dtype, found[name].shape) == (np.asarray(array).dtype, np.asarray(array).shape)


def archive(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as packed:
        for name, content in members:
            packed.writestr(name, content)
    return file.getvalue()


def array(header: str, content: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + content


def head(kind: str, shape: str) -> str:
    return f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (archive(("a.npy", bytes(2**21))), r"unpacks to 1 arrays of 2,097,152 bytes; at most 10,000 of 1,048,576"),
        (archive(("a.npy", array(head("'<i8'", "(1099511627776,)")))), r"has 0 bytes for shape \(1099511627776,\)"),
        (archive(("a.npy", array(head("'<U0'", "(1099511627776,)")))), "has the type '<U0'"),
        (archive(("a.npy", array(head("'|O'", "(1,)"), b"x"))), r"has the type '\|O'; .* no objects"),
        (archive(("a.npy", array(head("[('a', '<i4')]", "(1,)"), bytes(4)))), "arrays of numbers or texts are read"),
        (archive(("a.npy", array(head("'<i4'", "(-1,)"), bytes(4)))), "sizes are whole numbers from 0"),
        (archive(("a.npy", array("(" * 3000))), "has a damaged header"),
        (archive(("a.npy", array(head("'<U1'", "(1,)"), b"\xff\xff\xff\xff"))), "holds what is no text"),
        (archive(("a.npy", b"x" * 20)), "a.npy is no array"),
        (archive(("a.txt", b"x")), "it holds 'a.txt'"),
        (archive(("a.npy", bytes(20)), method=zipfile.ZIP_LZMA), "by method 14; deflate is read"),
        (b"PK", "x is not a readable .npz file of plain arrays"),
    ],
)
def test_arrays_that_say_too_much_are_refused_before_they_take_memory(data: bytes, message: str) -> None:
    with pytest.raises(FileError, match=message):
        parse_arrays(data, source="x", at_most_bytes=2**20)
