"""Runtime files: read what was written, and say what is wrong."""

from pathlib import Path

import pytest

from hw_models.calibration.runtime_file import write_runtime
from hw_models.runtime import RuntimeModelError, asked_runtime, read_runtime
from tests.hw_models.factories import runtime


def test_written_files_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "copy.toml"
    write_runtime(runtime(), path)
    assert read_runtime(path) == runtime()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("engine_bytes = 117520", "engine_bites = 117520", "engine_bites"),
        ("engine_bytes = 117520\n", "", r"flash\.engine_bytes"),
        ("macs_by_4 =", "macs_by_5 =", "unknown term of conv_kxk 'macs_by_5'; did you mean 'macs_by_4'"),
        ("kernels.softmax.none", "kernels.softmix.none", "unknown kernel 'softmix'; did you mean 'softmax'"),
        ("channel_bytes = 8.0", "channel_bytes = -8.0", "greater than or equal to 0"),
        ("[memory]", "[memory", "cannot be read"),
    ],
)
def test_a_bad_runtime_file(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "bad.toml"
    write_runtime(runtime(), path)
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(RuntimeModelError, match=message):
        read_runtime(path)


def test_all_that_is_wrong_with_a_file_is_said_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('name = "own"\nweight_bits = ["x"]\nwidths = 3\n', encoding="utf-8")
    with pytest.raises(RuntimeModelError) as refused:
        read_runtime(path)
    message = str(refused.value)
    assert "\n" not in message
    for found in ("unknown keys: widths;", ", flash, cores;", "weight_bits.0 = 'x': "):
        assert found in message
    path.write_text('name = "own"\nkernels_of = "tflm-cmsis-nn"\n', encoding="utf-8")
    with pytest.raises(RuntimeModelError, match="the key 'cores' is missing"):
        read_runtime(path)


def test_a_file_alone_is_the_runtime_it_describes(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    write_runtime(runtime().model_copy(update={"name": "own"}), path)
    assert asked_runtime(None, None) is None
    for name, file in ((None, path), ("own", str(path))):
        found = asked_runtime(name, file)
        assert found is not None
        assert found.name == "own"
