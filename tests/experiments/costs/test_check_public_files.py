"""Every tflite file below a folder: read, refused with its reason, and held against the interpreter."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import typer

from experiments.costs.check_public_files import PublicFile, main, public_files
from experiments.costs.generated_networks import generated_networks
from experiments.costs.tflite_writer import tflite_bytes

needs_tflm = pytest.mark.skipif(find_spec("tflite_micro") is None, reason="pip install tflite-micro")


@needs_tflm
def test_files_are_read_refused_with_a_reason_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (_, graph), *_ = generated_networks(1, seed=0)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "whole.tflite").write_bytes(tflite_bytes(graph))
    (tmp_path / "damaged.tflite").write_bytes(tflite_bytes(graph)[:100])
    damaged, whole = public_files(tmp_path)
    assert damaged.name == "damaged.tflite"
    assert damaged.refused
    assert whole.name == "deep/whole.tflite"
    assert whole.real_bytes == whole.predicted_bytes is not None
    with pytest.raises(typer.Exit) as ended:
        main(tmp_path, tmp_path / "files.csv")
    assert ended.value.exit_code == 0
    assert "2 files: 1 read, 1 refused; of 1 that the interpreter ran,\n1 arenas are equal" in capsys.readouterr().out
    assert (tmp_path / "files.csv").read_text(encoding="utf-8").splitlines()[2] == (
        f"deep/whole.tflite,,{whole.predicted_bytes},{whole.real_bytes},"
    )


def test_another_arena_is_named_and_an_empty_folder_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert str(PublicFile("a", "", 10, 26)) == "read     a: arena 10 bytes, interpreter 26 <- differs"
    assert not PublicFile("a", "", 10, None, "no kernel").differs
    with pytest.raises(typer.Exit) as ended:
        main(tmp_path, None)
    assert ended.value.exit_code == 2
    assert "there is no .tflite file below" in capsys.readouterr().err


@needs_tflm
def test_tensors_without_a_name_are_no_damage(tmp_path: Path) -> None:
    import flatbuffers

    from mobo.export.tools import tflite_schema

    (_, graph), *_ = generated_networks(1, seed=0)
    schema = tflite_schema()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite_bytes(graph), 0))
    for tensor in model.subgraphs[0].tensors:
        tensor.name = None
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    (tmp_path / "nameless.tflite").write_bytes(bytes(builder.Output()))
    (found,) = public_files(tmp_path)
    assert found.refused == found.not_run == ""
    assert found.real_bytes == found.predicted_bytes
