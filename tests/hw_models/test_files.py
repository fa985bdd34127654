"""The door for files: what is no regular file, too large, too deep or not finite is one error that names it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import Field

from hw_models import files
from hw_models.device import DeviceError, load_device
from hw_models.files import FileError, FileModel, open_file, parse_json, parse_rows, parse_toml_tables, read_bytes
from hw_models.graph.layer_graph import GraphError, LayerGraph

READERS: dict[str, Callable[[Path], object]] = {
    "bytes": read_bytes,
    "text": files.read_text,
    "toml": files.read_toml,
    "rows": files.read_rows,
    "json": lambda path: files.read_json(path, Pair),
}


class Pair(FileModel):
    name: str
    values: list[float] = Field(default_factory=list)


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_a_device_and_a_folder_are_refused_at_once(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(FileError, match=f"{path} is no regular file; folders, pipes and devices are not read"):
            READERS[name](path)
    with pytest.raises(FileError, match="missing cannot be read: No such file"):
        READERS[name](tmp_path / "missing")


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(FileError, match=r"large has 1,099,511,627,776 bytes; at most 268,435,456 are read"):
        read_bytes(tmp_path / "large")
    # What the kernel shows as a file says that it is empty.
    with pytest.raises(FileError, match="has more than 3 bytes"):
        read_bytes(Path("/proc/self/status"), at_most_bytes=3)


def test_a_link_is_followed_to_a_regular_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    with open_file(tmp_path / "link", at_most_bytes=7) as stream:
        assert stream.read() == b"content"


def test_a_byte_that_is_no_text_is_placed_and_a_mark_at_the_front_is_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"ab\xff")
    with pytest.raises(FileError, match="a is not UTF-8: invalid start byte at byte 2"):
        files.read_text(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfab")
    assert files.read_text(tmp_path / "a") == "ab"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = " + "[" * 5000, "x is not valid TOML"),
        ("a = " + "[" * 200 + "]" * 200, r"x: a.0.0.0… is nested more than 32 deep"),
        (".".join("a" * 40) + " = 1", "nested more than 32 deep"),
        ("[a]\nb = inf", "x: a.b = inf is not allowed; numbers must be finite"),
        ("a = [1, nan]", "x: a.1 = nan is not allowed"),
        ("a = 99999999999999999999", "x: a is a number of more than 64 bits"),
        ("a = " + "9" * 5000, "x is not valid TOML"),
        ("a", "x is not valid TOML"),
    ],
)
def test_toml_is_flat_and_its_numbers_are_finite(text: str, message: str) -> None:
    with pytest.raises(FileError, match=message):
        parse_toml_tables(text, source="x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "x cannot be read: Invalid JSON"),
        ('{"name": ' + "[" * 5000, "x cannot be read: Invalid JSON: recursion limit"),
        ("[]", "x cannot be read: Input should be an object"),
        ('{"name": 3}', "x cannot be read: name = 3: Input should be a valid string"),
        ('{"name": "a", "values": ["1"]}', "values.0 = '1': Input should be a valid number"),
        ('{"name": "a", "values": [NaN]}', "values.0 = nan: Input should be a finite number"),
        ('{"name": "a", "value": []}', "unknown key 'value'; did you mean 'values'"),
        ('{"nam": "a"}', r"name: Field required \(and 1 more\)"),
    ],
)
def test_json_is_what_its_model_says(text: str, message: str) -> None:
    with pytest.raises(FileError, match=message):
        parse_json(text, Pair, source="x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,a\n1,2\n", "x has two columns 'a'"),
        ("a,b\n1\n", "x, row 1 has not as many cells as the head, 2"),
        ("a,b\n1,2\n1,2,3\n", "x, row 2 has not as many cells as the head, 2"),
        ('a\n"b', "x is no CSV file"),
    ],
)
def test_rows_have_as_many_cells_as_the_head(text: str, message: str) -> None:
    with pytest.raises(FileError, match=message):
        parse_rows(text, source="x")


@pytest.mark.parametrize("name", ["/dev/zero", "pipe"])
def test_a_board_file_that_never_ends_is_one_error(name: str, tmp_path: Path) -> None:
    path = Path(name) if name.startswith("/") else tmp_path / name
    if not path.exists():
        os.mkfifo(path)
    with pytest.raises(DeviceError, match="is no regular file"):
        load_device("mine", extra_file=path)


GOOD = {"kind": "conv2d", "name": "a", "inputs": ["input"], "out_channels": 4, "kernel": [3, 3]}


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (GOOD | {"kernel": ["3); int x = (3", 3]}, "conv2d layer 'a': kernel.0 = '3.* Input should be a valid integer"),
        (GOOD | {"stride": [0, 1]}, r"has stride = \(0, 1\); allowed is 1 to"),
        (GOOD | {"out_channels": 2**40}, "has out_channels = 1099511627776; allowed is 1 to 16,777,216"),
        (GOOD | {"out_channels": 4.5}, "out_channels = 4.5: Input should be a valid integer"),
        (GOOD | {"padding": "none"}, "padding = 'none': Input should be 'same' or 'valid'"),
        (GOOD | {"weight_bits": -8}, "has weight_bits = -8; allowed is 1 to 64"),
        (GOOD | {"kind": ["conv2d"]}, "unknown layer kind"),
        (GOOD | {"inputs": "input"}, "inputs = 'input': Input should be a valid tuple"),
        (GOOD | {"out_channels": 2**23}, r"tensor 'a' has the shape \(8, 8, 8388608\); at most 268,435,456 elements"),
    ],
)
def test_a_saved_graph_holds_layers_of_possible_sizes(layer: dict[str, object], message: str) -> None:
    graph = {"input_shape": [8, 8, 3], "input_bits": 8, "layers": [layer]}
    with pytest.raises(GraphError, match=message):
        LayerGraph.from_dict(graph)
    assert LayerGraph.from_dict(graph | {"layers": [GOOD]}).output == "a"
