import json
import os
import re
import shutil
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import mobo
from envs.compression.integer.network import QuantisedNetwork
from envs.compression.integer.network_file import network_to_bytes
from envs.compression.integer.quantisation import quantise
from envs.compression.integer.weight_coding import decode_network, encode_network
from envs.compression.policy import CompressionPolicy
from hw_models.device import load_device
from hw_models.graph.from_torch import trace
from mobo.base.plain_text import visible
from mobo.cli.app import app
from mobo.export import trial_export
from mobo.export.c.project import export_c
from mobo.export.errors import ExportError
from mobo.export.exported_model import MANIFEST, Manifest, digests, read_export, write_export
from mobo.export.firmware.toolchain import arm_compilers
from mobo.export.formats import FORMATS, load_format
from mobo.export.request import ExportRequest
from mobo.export.tools import INSTALL, LITERT, TFLM
from mobo.export.trial_export import export_trial
from mobo.export.verify.c_checks import check_emulated, check_host
from mobo.export.verify.checks import CheckFunction
from mobo.export.verify.download_checks import check_download
from mobo.runs.directory import RunDirectory
from mobo.runs.record import read_run
from mobo.tinyml.config import parse_config
from mobo.tinyml.networks import load_family
from mobo.tinyml.tasks import load_task
from tests.mobo.export.exportable_run import (
    BEATEN,
    FAILED,
    INFEASIBLE,
    SCORED,
    UNDER_WAY,
    make_exportable_run,
    make_run,
)
from tests.mobo.export.quantised_networks import family
from tests.mobo.synthetic_run import CONFIG

pytest.importorskip("tflite_micro", reason=INSTALL[TFLM])
pytest.importorskip("ai_edge_litert", reason=INSTALL[LITERT])

cli = CliRunner()

ANOMALIES = ["task={name='anomaly', normal=['0'], of={name='digits'}}"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return make_exportable_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def exported(run: RunDirectory, tmp_path: Path) -> Path:
    path = tmp_path / "exported"
    export_trial(read_run(run.path), SCORED, ["tflite"], path)
    return path


SMALL_BOARD = """
[tiny]
board = "TINY"
mcu = "tiny"
core = "cortex-m4"
clock_mhz = 64.0
flash_kib = 512.0
sram_kib = 1.0
fpu = "none"
source = "made up"
"""


def edit(path: Path, **changes: object) -> None:
    manifest = path / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | changes))


def test_the_folder_holds_all_that_is_needed_to_verify(run: RunDirectory, exported: Path) -> None:
    model = read_export(exported)
    manifest = model.manifest
    assert (manifest.run, manifest.trial, manifest.name, manifest.on_front) == ("run", SCORED, "run-0", True)
    assert manifest.formats == {"tflite": ("model.tflite",)}
    assert sorted(manifest.sha256) == ["network.npz", "policy.json", "samples.npz", "tflite/model.tflite"]
    record = read_run(run.path)
    assert (manifest.split, manifest.error) == ("test", record.test_errors[SCORED])
    assert manifest.samples == manifest.split_samples == len(model.samples)
    assert model.error() == pytest.approx(manifest.error)
    assert manifest.costs["ram_bytes"] == record.trials[SCORED].outcome["ram_bytes"]
    assert network_to_bytes(model.network) == (run.model_directory(SCORED) / "quantised.npz").read_bytes()
    assert sorted(entry.name for entry in exported.parent.iterdir()) == ["exported"]


def test_export_and_verify_from_the_command_line(run: RunDirectory, tmp_path: Path) -> None:
    out = tmp_path / "new" / "exported"
    result = cli.invoke(app, ["export", str(run.path), str(SCORED), "--format", "tflite", "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == str(out / "tflite" / "model.tflite")
    result = cli.invoke(app, ["verify", str(out)])
    assert result.exit_code == 0, result.stdout + result.stderr
    assert "every promise holds" in result.stdout
    assert len(result.stdout.splitlines()) <= 10
    assert "planned_arena_bytes" in cli.invoke(app, ["verify", str(out), "--all"]).stdout
    found = json.loads((out / "verify.json").read_text())
    assert found["holds"] is True
    assert [check["check"] for check in found["checks"]] == [
        "integer interpreter",
        "board",
        "tflite in LiteRT",
        "tflite in TFLM",
    ]
    assert all(row["holds"] for check in found["checks"] for row in check["rows"] if row["holds"] is not None)
    rows = json.loads(cli.invoke(app, ["verify", str(out), "--json"]).stdout)
    planned = next(row for row in rows if row["quantity"] == "planned_arena_bytes")
    assert planned["ratio"] == 1.0


def test_the_download_is_as_long_as_the_trial_says_and_is_read_back(run: RunDirectory, tmp_path: Path) -> None:
    out = tmp_path / "exported"
    result = cli.invoke(app, ["export", str(run.path), str(SCORED), "--format", "download", "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    file = out / "download" / "network.qnc"
    assert result.stdout.strip() == str(file)
    recorded = read_run(run.path).trials[SCORED].outcome["download_bytes"]
    manifest = read_export(out).manifest
    assert (manifest.formats, manifest.download_bytes) == ({"download": ("network.qnc",)}, recorded)
    assert len(file.read_bytes()) == recorded
    assert network_to_bytes(decode_network(file.read_bytes())) == (out / "network.npz").read_bytes()
    result = cli.invoke(app, ["verify", str(out), "--json"])
    assert result.exit_code == 0, result.stdout + result.stderr
    rows = {row["quantity"]: row for row in json.loads(result.stdout) if row["check"] == "download decoded"}
    assert rows["download_bytes"] | {"note": ""} == {
        "check": "download decoded",
        "quantity": "download_bytes",
        "predicted": recorded,
        "measured": recorded,
        "ratio": 1.0,
        "holds": True,
        "note": "",
    }
    assert rows["networks that differ"]["holds"] is True


@pytest.mark.parametrize(
    ("changes", "broken"), [({}, "networks that differ"), ({"download_bytes": 7}, "download_bytes")]
)
def test_a_download_of_another_network_or_length_is_a_broken_promise(
    run: RunDirectory, tmp_path: Path, changes: dict[str, int], broken: str
) -> None:
    out = tmp_path / "exported"
    export_trial(read_run(run.path), SCORED, ["download"], out)
    if not changes:
        network = read_export(out).network
        layer = network.graph.weight_layers[0].name
        weights = replace(network.weights[layer], bias=network.weights[layer].bias + 1)
        other = replace(network, weights={**network.weights, layer: weights})
        (out / "download" / "network.qnc").write_bytes(encode_network(other))
        edit(out, sha256=digests({name: (out / name).read_bytes() for name in read_export(out).manifest.sha256}))
    edit(out, **changes)
    result = cli.invoke(app, ["verify", str(out), "--json"])
    assert result.exit_code == 1
    held = {row["quantity"]: row["holds"] for row in json.loads(result.stdout) if row["check"] == "download decoded"}
    assert held[broken] is False


def test_a_download_that_was_cut_off_is_refused(run: RunDirectory, tmp_path: Path) -> None:
    out = tmp_path / "exported"
    export_trial(read_run(run.path), SCORED, ["download"], out)
    file = out / "download" / "network.qnc"
    file.write_bytes(file.read_bytes()[:-5])
    assert "network.qnc" in (result := cli.invoke(app, ["verify", str(out)])).stderr
    assert result.exit_code == 2
    edit(out, sha256=digests({name: (out / name).read_bytes() for name in read_export(out).manifest.sha256}))
    result = cli.invoke(app, ["verify", str(out)])
    assert result.exit_code == 2
    assert "the bytes are no coded network, or are truncated or damaged" in result.stderr


def test_a_run_of_before_downloads_were_measured_promises_no_length(run: RunDirectory, tmp_path: Path) -> None:
    out = tmp_path / "exported"
    export_trial(read_run(run.path), SCORED, ["download"], out)
    edit(out, download_bytes=None)
    model = read_export(out)
    length, same = check_download(model, load_device(model.manifest.device))
    assert (length.predicted, length.holds, same.holds) == (None, None, True)


def test_the_help_names_every_format() -> None:
    shown = cli.invoke(app, ["export", "--help"]).stdout
    assert all(name in shown for name in FORMATS)


def test_a_trial_off_the_front_is_exported_with_its_validation_error_and_said_to_be(
    run: RunDirectory, tmp_path: Path
) -> None:
    out = tmp_path / "exported"
    result = cli.invoke(app, ["export", str(run.path), str(BEATEN), "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    assert "note: trial 1 is not on the front" in result.stderr
    manifest = read_export(out).manifest
    assert (manifest.split, manifest.on_front) == ("validation", False)
    assert cli.invoke(app, ["verify", str(out)]).exit_code == 0


@pytest.mark.parametrize(
    ("trial", "message"),
    [
        (FAILED, "trial 2 is failed: the loss is NaN; it has no model. On the front: 0"),
        (INFEASIBLE, "trial 3 is infeasible: ram_bytes is at least 90000; it has no model"),
        (UNDER_WAY, "trial 4 is running; it has no model"),
        (77, "has no trial 77; it has 2 finished models, on the front: 0"),
    ],
)
def test_a_trial_without_a_model_is_refused(run: RunDirectory, tmp_path: Path, trial: int, message: str) -> None:
    result = cli.invoke(app, ["export", str(run.path), str(trial), "--out", str(tmp_path / "exported")])
    assert result.exit_code == 2
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_left_alone(run: RunDirectory, tmp_path: Path) -> None:
    out = tmp_path / "exported"
    out.mkdir()
    result = cli.invoke(app, ["export", str(run.path), str(SCORED), "--out", str(out)])
    assert result.exit_code == 2
    assert "exists already; nothing was written" in result.stderr
    assert not list(out.iterdir())


def test_a_mistyped_format_is_answered_with_the_nearest(run: RunDirectory, tmp_path: Path) -> None:
    command = ["export", str(run.path), str(SCORED), "--format", "tflight", "--out", str(tmp_path / "exported")]
    result = cli.invoke(app, command)
    assert result.exit_code == 2
    assert "did you mean 'tflite'?" in result.stderr


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_leads_to_a_function(name: str) -> None:
    assert load_format(name).__name__ == FORMATS[name].partition(":")[2]


def test_nothing_is_left_when_a_format_fails(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(request: ExportRequest) -> dict[str, bytes]:
        raise ExportError(f"no way to write {request.name}")

    monkeypatch.setattr(trial_export, "load_format", lambda name: fails)
    with pytest.raises(ExportError, match="no way to write run-0"):
        export_trial(read_run(run.path), SCORED, ["tflite"], tmp_path / "exported")
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_when_the_disk_refuses(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = read_export(exported)

    def full(path: Path, data: bytes) -> None:
        del path, data
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mobo.base.atomic_write.write_bytes", full)
    with pytest.raises(ExportError, match=r"cannot write .*: No space left on device; nothing was left there"):
        write_export(tmp_path / "second", {"a/b": b"x"}, model.manifest)
    assert [entry.name for entry in tmp_path.iterdir()] == ["exported"]


def test_a_place_that_cannot_be_written_is_named(exported: Path) -> None:
    with pytest.raises(ExportError, match=r"cannot write .*: File exists; nothing was left there"):
        write_export(exported / MANIFEST / "x", {}, read_export(exported).manifest)


def test_a_run_whose_models_were_deleted(tmp_path: Path) -> None:
    run = make_exportable_run(tmp_path / "run")
    (run.model_directory(SCORED) / "quantised.npz").unlink()
    result = cli.invoke(app, ["export", str(run.path), str(SCORED), "--out", str(tmp_path / "exported")])
    assert result.exit_code == 2
    assert "the model of this trial was deleted" in result.stderr


def test_the_request_holds_raw_scaling_and_a_test_vector(run: RunDirectory, tmp_path: Path) -> None:
    seen: list[ExportRequest] = []

    def keep(request: ExportRequest) -> dict[str, bytes]:
        seen.append(request)
        return {"file": b"content"}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial_export, "load_format", lambda name: keep)
        export_trial(read_run(run.path), SCORED, ["tflite", "tflite"], tmp_path / "exported")
    (request,) = seen
    assert request.test_inputs.shape == (32, 8, 8, 1)
    assert request.test_inputs.dtype == np.int8
    assert request.test_outputs.shape == (32, 10)
    assert request.test_labels.shape == (32,)
    assert len(request.class_names) == 10
    assert (request.deviation > 0).all()
    assert (tmp_path / "exported" / "tflite" / "file").read_bytes() == b"content"


def test_part_of_a_split_promises_the_integer_interpreters_error_on_that_part(
    run: RunDirectory, tmp_path: Path
) -> None:
    out = tmp_path / "exported"
    result = cli.invoke(app, ["export", str(run.path), str(SCORED), "--out", str(out), "--samples", "7"])
    assert "the first 7 of 360 samples of the test split are kept" in result.stderr
    result = cli.invoke(app, ["verify", str(out), "--all"])
    assert result.exit_code == 0, result.stdout
    assert "error on 7 samples, part of the test split" in result.stdout


def test_another_error_than_the_recorded_one_is_a_broken_promise(exported: Path) -> None:
    edit(exported, error=0.5)
    result = cli.invoke(app, ["verify", str(exported)])
    assert result.exit_code == 1
    assert "a promise is broken" in result.stdout
    assert json.loads((exported / "verify.json").read_text())["holds"] is False


def test_another_networks_file_is_a_broken_promise(run: RunDirectory, exported: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    export_trial(read_run(run.path), BEATEN, ["tflite"], other)
    for name in ("network.npz", "policy.json"):
        (exported / name).write_bytes((other / name).read_bytes())
    files = {name: (exported / name).read_bytes() for name in read_export(exported).manifest.sha256}
    edit(exported, sha256=digests(files))
    result = cli.invoke(app, ["verify", str(exported)])
    assert result.exit_code in (1, 2)
    assert "every promise holds" not in result.stdout


@pytest.mark.parametrize("name", ["tflite/model.tflite", "network.npz", "samples.npz", "policy.json"])
def test_a_file_that_was_cut_off_is_named(exported: Path, name: str) -> None:
    data = (exported / name).read_bytes()
    (exported / name).write_bytes(data[: len(data) // 2])
    result = cli.invoke(app, ["verify", str(exported)])
    assert result.exit_code == 2
    assert f"{name} ({len(data) // 2} bytes) is not what was exported: it was cut off or changed" in result.stderr
    (exported / name).unlink()
    assert cli.invoke(app, ["verify", str(exported)]).exit_code == 2
    assert not (exported / "verify.json").exists()


def test_a_cut_off_model_with_a_matching_digest_is_still_refused(exported: Path) -> None:
    file = exported / "tflite" / "model.tflite"
    file.write_bytes(file.read_bytes()[:1000])
    files = {name: (exported / name).read_bytes() for name in read_export(exported).manifest.sha256}
    edit(exported, sha256=digests(files))
    result = cli.invoke(app, ["verify", str(exported)])
    assert result.exit_code == 2
    assert "model.tflite is not what this installation writes from network.npz" in result.stderr


CONSTRUCTOR = """
#include <stdio.h>
__attribute__((constructor)) static void ran(void) {{ fclose(fopen("{mark}", "w")); }}
"""


@pytest.fixture
def project(run: RunDirectory, tmp_path: Path) -> Path:
    path = tmp_path / "project"
    export_trial(read_run(run.path), SCORED, ["c"], path)
    return path


def signed(path: Path, **changes: object) -> None:
    """Make the digests those of the files, as somebody who changes an export can."""
    names = json.loads((path / MANIFEST).read_text())["sha256"]
    edit(path, sha256=digests({name: (path / name).read_bytes() for name in names}), **changes)


@pytest.mark.parametrize(
    "name", ["c/kernels/more.c", "c/kernels/.more.c", "c/string.h", "conftest.py", "c/build/x", "c/a\nb"]
)
def test_a_file_that_is_not_part_of_the_export_is_named_and_nothing_is_run(project: Path, name: str) -> None:
    mark = project.with_name("ran")
    (project / name).parent.mkdir(exist_ok=True)
    (project / name).write_text(CONSTRUCTOR.format(mark=mark))
    result = cli.invoke(app, ["verify", str(project)])
    assert result.exit_code == 2
    assert "holds what is not part of the export: " in result.stderr
    assert visible(name.removesuffix("/x")) in result.stderr
    assert not mark.exists()


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize("check", [check_host, check_emulated])
def test_no_file_of_the_folder_is_compiled(project: Path, check: CheckFunction) -> None:
    if check is check_emulated and (find_spec("unicorn") is None or not arm_compilers()):
        pytest.skip("no emulator or no compiler for it")
    mark, device = project.with_name("ran"), load_device("nucleo-l4r5zi")
    for name in ("more.c", "mobo_arithmetic.c"):
        with (project / "c" / "kernels" / name).open("a") as stream:
            stream.write(CONSTRUCTOR.format(mark=mark))
    # Whoever changes a file can change its digest, too.
    signed(project)
    with pytest.raises(ExportError, match=r"mobo_arithmetic\.c is not what this installation writes from network\.npz"):
        check(read_export(project), device)
    assert not mark.exists()


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_stray_is_not_compiled_even_where_nobody_looked_for_strays(project: Path) -> None:
    mark = project.with_name("ran")
    (project / "c" / "kernels" / "more.c").write_text(CONSTRUCTOR.format(mark=mark))
    rows = check_host(read_export(project), load_device("nucleo-l4r5zi"))
    assert all(row.holds for row in rows)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../outside", "sha256 lists '../outside'; files lie in the folder, under plain names"),
        ("/etc/hostname", "sha256 lists '/etc/hostname'"),
        ("c/../../outside", "sha256 lists 'c/../../outside'"),
        ("c/new", "formats and sha256 do not list the same files: 'c/new' is in one of them"),
    ],
)
def test_a_manifest_that_names_other_files_is_refused(project: Path, name: str, message: str) -> None:
    edit(project, sha256=json.loads((project / MANIFEST).read_text())["sha256"] | {name: "0" * 64})
    result = cli.invoke(app, ["verify", str(project)])
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize("name", ["c/model.c", "c/kernels"])
def test_a_link_in_an_export_is_refused(project: Path, name: str) -> None:
    away = project.with_name("away")
    (project / name).rename(away)
    (project / name).symlink_to(away)
    result = cli.invoke(app, ["verify", str(project)])
    assert result.exit_code == 2
    assert f"{name} is a link; the files of an export lie in its folder" in result.stderr


def test_a_pipe_in_an_export_is_refused_at_once(project: Path) -> None:
    (project / "policy.json").unlink()
    os.mkfifo(project / "policy.json")
    result = cli.invoke(app, ["verify", str(project)])
    assert result.exit_code == 2
    assert "policy.json is no regular file" in result.stderr


def test_an_export_of_another_version_of_the_package_is_refused_by_both_versions(project: Path) -> None:
    edit(project, package="0.0.9")
    result = cli.invoke(app, ["verify", str(project)])
    assert result.exit_code == 2
    assert f"was written by version 0.0.9 of the package, this is {mobo.__version__}" in result.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": None}, "the array 'outputs' is missing"),
        ({"inputs": np.full((4, 8, 8, 1), "0}; int x = {0")}, "the array 'inputs' is <U14"),
        ({"labels": np.zeros(3, np.int64)}, "the array 'labels' is int64 of shape (3,)"),
    ],
)
def test_samples_that_do_not_fit_the_network_are_refused(project: Path, changes: dict[str, Any], message: str) -> None:
    with np.load(project / "samples.npz") as archive:
        arrays = {name: archive[name] for name in archive.files} | changes
    np.savez(project / "samples.npz", **{name: array for name, array in arrays.items() if array is not None})
    signed(project)
    result = cli.invoke(app, ["verify", str(project)])
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize("name", FORMATS)
def test_what_was_exported_is_written_again_byte_for_byte(run: RunDirectory, tmp_path: Path, name: str) -> None:
    if name == "onnx":
        pytest.importorskip("onnx")
    model = export_trial(read_run(run.path), SCORED, [name], tmp_path / "out").model
    again = read_export(tmp_path / "out").written(name)
    assert sorted(again) == sorted(model.manifest.formats[name])
    assert all((tmp_path / "out" / name / path).read_bytes() == data for path, data in again.items())


def test_a_file_with_decoded_weights_is_run_in_tflm(run: RunDirectory, tmp_path: Path) -> None:
    pytest.importorskip("tflite_micro")
    export_trial(read_run(run.path), SCORED, ["tflite-decode"], tmp_path / "out")
    result = cli.invoke(app, ["verify", str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0, result.output
    rows = {row["quantity"]: row for row in json.loads(result.stdout) if row["check"] == "tflite-decode in TFLM"}
    assert rows["samples whose output differs"]["holds"] is True
    assert rows["layers with decoded weights"]["measured"] == 0
    assert rows["planned_arena_bytes"]["holds"] is rows["persistent_arena_bytes"]["holds"] is True


def test_folders_that_are_no_export_are_refused(exported: Path, tmp_path: Path) -> None:
    assert "manifest.json is missing" in cli.invoke(app, ["verify", str(tmp_path)]).stderr
    edit(exported, trial="x")
    assert "trial = 'x': Input should be a valid integer" in cli.invoke(app, ["verify", str(exported)]).stderr
    edit(exported, trial=0, version=1, goal="classes")
    assert (
        "has version 1, this program reads 3; export the model again"
        in cli.invoke(app, ["verify", str(exported)]).stderr
    )


def test_missing_interpreters_are_named_and_the_rest_is_verified(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    result = cli.invoke(app, ["verify", str(exported)])
    assert result.exit_code == 0
    assert "skipped: tflite in LiteRT: ai-edge-litert is missing; install it with: pip install" in result.stdout
    assert "tflite in TFLM" in result.stdout
    assert "every promise that was checked holds (1 checks skipped)" in result.stdout
    rows = json.loads(cli.invoke(app, ["verify", str(exported), "--json"]).stdout)
    assert [row["check"] for row in rows if row.get("skipped")] == ["tflite in LiteRT"]


def test_a_board_that_is_too_small_breaks_the_promise(exported: Path, tmp_path: Path) -> None:
    board = tmp_path / "board.toml"
    board.write_text(SMALL_BOARD)
    result = cli.invoke(app, ["verify", str(exported), "--device", "tiny", "--device-file", str(board)])
    assert result.exit_code == 1, result.stderr
    assert "of 1,024 bytes of SRAM tiny has" in result.stdout


def test_a_board_whose_kernels_nobody_counted(exported: Path) -> None:
    result = cli.invoke(app, ["verify", str(exported), "--device", "ek-ra8d1"])
    assert result.exit_code == 2
    assert "no depthwise kernel of width 'w4' on cortex-m85: nobody counted it" in result.stderr


def test_the_manifest_survives_its_own_json(exported: Path) -> None:
    manifest = read_export(exported).manifest
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest
    assert isinstance(read_export(exported).network, QuantisedNetwork)


@pytest.fixture(scope="module")
def anomaly_run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    config = parse_config(CONFIG, ANOMALIES)
    data = load_task(config.task)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = (
            load_family("autoencoder")
            .build({"width": 32, "layers": 1, "bottleneck": 8}, data.input_shape, data.output_count(data.input_shape))
            .eval()
        )
    network = quantise(module, trace(module, data.input_shape), data.train.x[:64])
    return make_run(tmp_path_factory.mktemp("runs") / "anomalies", config, network)


def test_an_autoencoder_is_exported_and_verified_by_the_purpose_of_its_task(
    anomaly_run: RunDirectory, tmp_path: Path
) -> None:
    out = tmp_path / "exported"
    result = cli.invoke(app, ["export", str(anomaly_run.path), str(SCORED), "--format", "tflite", "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    model, record = read_export(out), read_run(anomaly_run.path)
    assert (model.manifest.purpose, model.manifest.class_names) == ("reconstruction", ("normal", "anomalous"))
    assert model.manifest.error == record.test_errors[SCORED] == model.error()
    assert 0 < model.manifest.error < 1
    assert model.samples.outputs.shape[1] == 64
    result = cli.invoke(app, ["verify", str(out), "--json"])
    assert result.exit_code == 0, result.stdout
    errors = {row["check"]: row for row in json.loads(result.stdout) if row["quantity"].startswith("error on")}
    for check in ("integer interpreter", "tflite in TFLM"):
        assert (errors[check]["holds"], errors[check]["measured"]) == (True, model.manifest.error)
    assert errors["tflite in LiteRT"]["measured"] == pytest.approx(model.manifest.error, abs=0.02)
    edit(out, error=model.manifest.error + 1e-4)
    assert cli.invoke(app, ["verify", str(out)]).exit_code == 1


def test_the_c_project_of_an_autoencoder_says_what_its_outputs_are(anomaly_run: RunDirectory, tmp_path: Path) -> None:
    export_trial(read_run(anomaly_run.path), SCORED, ["c"], tmp_path / "exported")
    text = (tmp_path / "exported" / "c" / "README.md").read_text()
    assert "reconstruct the standardised\ninputs (channels first)" in text
    assert "Classes:" not in text


def test_no_name_of_a_file_is_markup_in_the_page_of_the_c_project(project: Path) -> None:
    request = read_export(project).request
    graph = request.network.graph
    evil = "<img src=x onerror=alert(1)> [a](http://b) | `c`\n\x1b[2J"
    layers = (*graph.layers[:-1], replace(graph.layers[-1], name=evil))
    tensors = {**request.network.tensors, evil: request.network.tensors[graph.output]}
    weights = {**request.network.weights, evil: request.network.weights[graph.output]}
    network = QuantisedNetwork(replace(graph, layers=layers), tensors, weights)
    named = replace(request, network=network, name=evil, run=evil, class_names=(evil, *request.class_names[1:]))
    files = export_c(named)
    page = files["README.md"].decode()
    outside = re.sub(r"`[^`\n]*`", "", page.replace(r"\`", ""))
    assert not re.search(r"<img|(?<!\\)\]\(http|\x1b", outside)
    assert r"&lt;img src=x onerror=alert(1)&gt; \[a\](http://b) &#124; \`c\`\\n\\x1b\[2J" in page
    # Whatever a layer is called, the code holds no line of its making.
    assert all("\x1b" not in data.decode() and "onerror=alert(1)>\n" not in data.decode() for data in files.values())


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_c_project_of_an_autoencoder_holds_its_promises(anomaly_run: RunDirectory, tmp_path: Path) -> None:
    model = export_trial(read_run(anomaly_run.path), SCORED, ["c"], tmp_path / "exported").model
    rows = {row.quantity: row for row in check_host(model, load_device("nucleo-l4r5zi"))}
    assert all(row.holds for row in rows.values())
    errors = [row.measured for quantity, row in rows.items() if quantity.startswith("error on")]
    assert errors == [model.manifest.error]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("unicorn") is None, reason="no emulator: pip install unicorn")
@pytest.mark.usefixtures("compiler")
def test_an_autoencoder_costs_on_every_core_what_was_predicted(anomaly_run: RunDirectory, tmp_path: Path) -> None:
    model = export_trial(read_run(anomaly_run.path), SCORED, ["c"], tmp_path / "exported").model
    rows = check_emulated(model, load_device("nucleo-l4r5zi"))
    assert [row for row in rows if row.holds is False] == []


def test_samples_of_one_kind_do_not_judge_a_reconstruction(anomaly_run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"the first 1 samples are all normal or all anomalous, .* keep more"):
        export_trial(read_run(anomaly_run.path), SCORED, ["tflite"], tmp_path / "exported", max_samples=1)


def test_a_model_of_mixed_activation_widths_is_exported_and_verified(tmp_path: Path) -> None:
    # The first layer, the only one of this family that the runtime knows a 16-bit kernel for.
    network = family("depthwise", bits=(8,), activation_bits=(16, *[8] * 9))
    run = make_run(tmp_path / "run", parse_config(CONFIG), network)
    out = tmp_path / "exported"
    result = cli.invoke(app, ["export", str(run.path), str(SCORED), "--format", "tflite", "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    policy = CompressionPolicy.from_json((out / "policy.json").read_text())
    assert sorted(set(policy.activation_bits.values())) == [8, 16]
    result = cli.invoke(app, ["verify", str(out), "--json"])
    assert result.exit_code == 0, result.stdout
    rows = json.loads(result.stdout)
    assert {row["check"] for row in rows} >= {"integer interpreter", "tflite in LiteRT", "tflite in TFLM"}
    assert not any(row["holds"] is False for row in rows)
