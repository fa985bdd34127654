"""The front end in C: equal to its integers bit for bit, near what training computes, of the size it declares."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from envs.compression.float_network.purpose import Reconstruction
from envs.compression.integer.kernels import quantise_values
from envs.compression.integer.network import QuantisedNetwork, TensorQuantisation
from envs.compression.policy import CompressionPolicy
from hw_models.device import load_device
from hw_models.front_end import ImageWork
from hw_models.front_end import instructions as foretold
from hw_models.graph.layer_graph import INPUT, Dense, LayerGraph, Quantize, Reshape
from mobo.cli.app import app
from mobo.export.c.frontend import fixed
from mobo.export.c.project import export_c
from mobo.export.errors import ExportError
from mobo.export.exported_model import MANIFEST, digests, read_export
from mobo.export.firmware.host import SANITIZERS, run_anomaly_on_host, run_front_end_on_host
from mobo.export.firmware.image import build_front_end, run_front_end_emulated
from mobo.export.firmware.toolchain import Compiler
from mobo.export.fixed_front_end import FixedMfcc, FixedScore, Stage, table_bytes
from mobo.export.front_end import RawInputs, distance, fraction_bits, raw_inputs
from mobo.export.request import (
    AnomalyThreshold,
    Distance,
    ExportRequest,
    Form,
    FrontEnd,
    ImageFrontEnd,
    MfccFrontEnd,
    WindowFrontEnd,
)
from mobo.export.trial_export import export_trial
from mobo.export.verify import c_checks
from mobo.export.verify.c_checks import check_emulated, check_host
from mobo.runs.directory import RunDirectory
from mobo.runs.record import read_run
from mobo.tinyml.config import parse_config
from mobo.tinyml.tasks.data import Standardisation
from mobo.tinyml.tasks.front_ends import mfcc_work
from mobo.tinyml.tasks.mfcc import Mfcc
from mobo.tinyml.tasks.settings import DigitsSettings, ImageFolderSettings, KeywordsSettings, PlaidSettings
from tests.mobo.export.exportable_run import SCORED, make_run
from tests.mobo.export.quantised_networks import by_hand
from tests.mobo.synthetic_run import CONFIG
from tests.mobo.tinyml.tasks.class_folder_files import write_images, write_tables, write_wavs

cli = CliRunner()

SPEECH = MfccFrontEnd(sample_rate_hz=16000, clip_samples=16000, coefficients=10, highest_hz=4000.0)
NO_DISTANCE = Distance(inputs=1, values=1, equal=1, largest=0, source="data")
MFCC = {
    "16 kHz": MfccFrontEnd(sample_rate_hz=16000, clip_samples=2000, coefficients=10, highest_hz=4000.0),
    "8 kHz, all coefficients": MfccFrontEnd(sample_rate_hz=8000, clip_samples=900, coefficients=40, highest_hz=4000.0),
    "an odd window": MfccFrontEnd(sample_rate_hz=44100, clip_samples=4000, coefficients=1, highest_hz=15000.5),
    "the longest FFT": MfccFrontEnd(sample_rate_hz=130000, clip_samples=7000, coefficients=13, highest_hz=65000.0),
    "frames of one's own": MfccFrontEnd(
        sample_rate_hz=16000,
        clip_samples=2000,
        coefficients=6,
        highest_hz=7000.0,
        frame_ms=20.0,
        step_ms=30.0,
        transform=1024,
    ),
    "the shortest FFT": MfccFrontEnd(sample_rate_hz=1000, clip_samples=100, coefficients=5, highest_hz=500.0),
}


def network(shape: tuple[int, int, int], outputs: int = 2) -> QuantisedNetwork:
    flat = Reshape(name="flat", inputs=(INPUT,))
    dense = Dense(name="dense", inputs=("flat",), weight_bits=8, out_channels=outputs)
    return by_hand(LayerGraph(shape, (flat, dense)))


def request_for(form: Form, shape: tuple[int, int, int], standardisation: Standardisation) -> ExportRequest:
    return ExportRequest(
        network=network(shape),
        policy=CompressionPolicy({}, {}, {}),
        costs={},
        name="a",
        run="a",
        trial=0,
        purpose="classes",
        class_names=("a", "b"),
        mean=standardisation.mean,
        deviation=standardisation.deviation,
        test_inputs=np.zeros((1, *shape), np.int8),
        test_labels=np.zeros(1, np.int64),
        test_outputs=np.zeros((1, 2), np.int8),
        front_end=FrontEnd(form=form, distance=NO_DISTANCE),
    )


def features_of(form: MfccFrontEnd) -> Mfcc:
    return Mfcc(
        form.sample_rate_hz, form.clip_samples, form.coefficients, form.highest_hz, form.frame_ms, form.step_ms,
        form.transform,
    )  # fmt: skip


def mfcc_request(form: MfccFrontEnd, kind: str = "column") -> ExportRequest:
    noise = np.random.default_rng(1).normal(0, 500, (8, form.clip_samples))
    features = features_of(form)
    maps = np.stack([features(clip) for clip in noise])[..., None]
    return request_for(form, maps.shape[1:], Standardisation.of(maps, kind))


def hostile(samples: int, dtype: str = "int16") -> np.ndarray:
    """Return raw inputs at the ends of what there is."""
    random, kind = np.random.default_rng(0), np.iinfo(dtype)
    rows = [random.integers(kind.min, kind.max, samples, endpoint=True), random.integers(0, 2, samples)]
    rows += [np.full(samples, value) for value in (0, kind.min, kind.max)]
    one = np.zeros(samples)
    one[samples // 3] = 1
    tone = np.rint(kind.max * np.sin(0.3 * np.arange(samples))).clip(kind.min)
    return np.stack([*rows, one, kind.min * one, tone]).astype(dtype)


def write(request: ExportRequest, folder: Path) -> Path:
    for path, data in export_c(request).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def check_bits(request: ExportRequest, raw: np.ndarray, folder: Path) -> None:
    expected = fixed(request)(raw).reshape(len(raw), -1)
    project = write(replace(request, raw_inputs=raw[:2]), folder)
    found = run_front_end_on_host(project, raw, flags=("-O1", "-Werror", *SANITIZERS))
    np.testing.assert_array_equal(found, expected)


ALL_MFCC = [pytest.param(name, marks=() if name == "16 kHz" else pytest.mark.slow) for name in MFCC]


@pytest.mark.parametrize("name", ALL_MFCC)
def test_mfcc_in_c_are_the_integers_bit_for_bit_and_without_undefined_behaviour(name: str, tmp_path: Path) -> None:
    form = MFCC[name]
    check_bits(
        mfcc_request(form, "channel" if form.coefficients == 1 else "column"), hostile(form.clip_samples), tmp_path
    )


WINDOWS = {
    "channel": WindowFrontEnd(length=20, fraction_bits=(9, 0, -3)),
    "column": WindowFrontEnd(length=5, fraction_bits=(12, 3)),
    "none": WindowFrontEnd(length=4, fraction_bits=(2, 5)),
}


@pytest.mark.parametrize("kind", WINDOWS)
def test_windows_in_c_are_the_integers_and_those_what_training_computes(kind: str, tmp_path: Path) -> None:
    form = WINDOWS[kind]
    units = 2.0 ** -np.array(form.fraction_bits)
    counts = hostile(form.samples)
    maps = (counts.reshape(-1, 1, form.length, len(units)) * units).astype(np.float32)
    standardisation = Standardisation.of(maps, kind)
    request = request_for(form, maps.shape[1:], standardisation)
    check_bits(request, counts, tmp_path)
    check_size(request, tmp_path)
    # Samples are exact here, so what is left is the rounding of ties.
    real = torch.from_numpy(standardisation.apply(maps))
    found = fixed(request)(counts)
    assert np.abs(found - quantise_values(real, request.network.tensors[INPUT]).numpy().astype(int)).max() <= 1
    assert np.mean(found == quantise_values(real, request.network.tensors[INPUT]).numpy()) > 0.98


IMAGES = {
    "smaller": (ImageFrontEnd(height=31, width=40, channels=3), (12, 17, 3)),
    "grey": (ImageFrontEnd(height=16, width=23, channels=3), (7, 9, 1)),
    "grey, larger": (ImageFrontEnd(height=5, width=8, channels=1), (11, 8, 1)),
    "as it is": (ImageFrontEnd(height=6, width=5, channels=3), (6, 5, 3)),
    "as it is, made grey": (ImageFrontEnd(height=6, width=5, channels=3), (6, 5, 1)),
}


def scaled(pixels: np.ndarray, form: ImageFrontEnd, shape: tuple[int, int, int]) -> np.ndarray:
    """Return what the task computes of an image's pixels."""
    image = pytest.importorskip("PIL.Image")
    values = pixels.reshape(form.height, form.width, form.channels)
    colours = image.fromarray(values if form.channels == 3 else values[..., 0])
    colours = colours.convert("RGB" if shape[2] == 3 else "L").resize((shape[1], shape[0]), image.Resampling.BILINEAR)
    return np.asarray(colours, np.float32).reshape(shape)


ALL_IMAGES = [
    pytest.param(name, marks=pytest.mark.slow if "larger" in name or name == "as it is" else ()) for name in IMAGES
]


@pytest.mark.parametrize("name", ALL_IMAGES)
def test_images_in_c_are_what_training_computes_bit_for_bit(name: str, tmp_path: Path) -> None:
    form, shape = IMAGES[name]
    pixels = hostile(form.samples, "uint8")
    maps = np.stack([scaled(image, form, shape) for image in pixels])
    standardisation = Standardisation.of(maps, "none" if name == "smaller" else "channel")
    request = request_for(form, shape, standardisation)
    check_bits(request, pixels, tmp_path)
    check_size(request, tmp_path)
    real = torch.from_numpy(standardisation.apply(maps))
    np.testing.assert_array_equal(fixed(request)(pixels), quantise_values(real, request.network.tensors[INPUT]).numpy())


@pytest.mark.skipif(find_spec("unicorn") is None, reason="no emulator: pip install unicorn")
@pytest.mark.parametrize("name", ["grey", pytest.param("as it is", marks=pytest.mark.slow)])
def test_images_on_a_core_take_what_is_declared(name: str, compiler: Compiler, tmp_path: Path) -> None:
    form, shape = IMAGES[name]
    pixels = hostile(form.samples, "uint8")
    standardisation = Standardisation(np.full((1, 1, 1), 100, np.float32), np.full((1, 1, 1), 50, np.float32))
    request = replace(request_for(form, shape, standardisation), raw_inputs=pixels[:1])
    integers = fixed(request)
    image = build_front_end(write(request, tmp_path), "cortex-m0", compiler=compiler)
    found, instructions, _ = run_front_end_emulated(image, "cortex-m0", pixels)
    work = ImageWork((form.height, form.width, form.channels), shape, 1)
    assert (work.ram_bytes, work.table_bytes) == (integers.ram_bytes + form.sample_bytes, table_bytes(integers))
    assert foretold(work, "cortex-m0") == pytest.approx(instructions, rel=0.6)
    np.testing.assert_array_equal(found, integers(pixels).reshape(len(pixels), -1))
    assert image.sizes.get("frontend_state", 0) == integers.ram_bytes
    assert sum(image.sizes[f"frontend_{name}"] for name in integers.tables) == table_bytes(integers)


def test_images_of_several_sizes_are_those_of_no_camera(tmp_path: Path) -> None:
    write_images(tmp_path)
    write_images(tmp_path, files=1, size=(9, 9))
    found = raw_inputs(ImageFolderSettings(name="image_folder", folder=tmp_path, size=(4, 4)))
    assert found == "the images are of several sizes, those of a camera are not; scale them first"


@pytest.mark.parametrize(
    ("values", "bits"),
    [([-32767.0, 5.0], 0), ([0.5, 1.0], 13), ([19.6, -3.0], 9), ([40000.0, 1.0], -2), ([0.0, 0.0], 0)],
)
def test_a_sample_is_the_raw_value_or_has_room_for_twice_the_largest(values: list[float], bits: int) -> None:
    largest = max(map(abs, values))
    assert fraction_bits(np.array(values, np.float32)) == bits
    assert bits == 0 or 2**14 / 2 <= largest * 2.0**bits <= 2**14


@pytest.mark.skipif(find_spec("unicorn") is None, reason="no emulator: pip install unicorn")
def test_mfcc_on_a_core_take_what_is_declared_and_no_floating_point(compiler: Compiler, tmp_path: Path) -> None:
    form = MFCC["16 kHz"]
    raw = hostile(form.clip_samples)
    request = replace(mfcc_request(form), raw_inputs=raw[:1])
    integers, project = fixed(request), write(request, tmp_path)
    check_size(request, project)
    work = mfcc_work(features_of(form), "column")
    assert (work.ram_bytes, work.table_bytes) == (integers.ram_bytes + form.sample_bytes, table_bytes(integers))
    for core in ("cortex-m0", "cortex-m4"):
        image = build_front_end(project, core, compiler=compiler)
        found, instructions, _ = run_front_end_emulated(image, core, raw[:3])
        np.testing.assert_array_equal(found, integers(raw[:3]).reshape(3, -1))
        # Foretold from the loops, by counts of other clips.
        assert foretold(work, core) == pytest.approx(instructions, rel=0.1)
        assert image.sizes["frontend_state"] == integers.ram_bytes
        tables = {symbol for symbol in image.sizes if symbol in {f"frontend_{name}" for name in integers.tables}}
        assert len(tables) == len(integers.tables)
        sizes = sum(image.sizes[symbol] for symbol in tables) + image.sizes["frontend_stages"]
        assert sizes == table_bytes(integers)
        # __aeabi_fmul, __aeabi_ddiv, __aeabi_i2f …: what a core without a floating-point unit would call.
        assert not [name for name in image.symbols if name.startswith(("__aeabi_f", "__aeabi_d", "__aeabi_i2"))]


def check_size(request: ExportRequest, project: Path) -> None:
    header = (project / "model_frontend.h").read_text()
    integers = fixed(request)
    assert f"#define MODEL_FRONTEND_RAM_BYTES {integers.ram_bytes}\n" in header
    assert f"#define MODEL_FRONTEND_TABLE_BYTES {table_bytes(integers)}\n" in header


def near(raw: RawInputs, standardisation: Standardisation, scale: float) -> Distance:
    quantisation = TensorQuantisation(scale, 3)
    stage = Stage.of(FixedMfcc.unit(), standardisation.mean, standardisation.deviation, quantisation)
    real = torch.from_numpy(standardisation.apply(raw.features))
    return distance(raw, FixedMfcc(Mfcc(16000, 16000), stage), quantise_values(real, quantisation).numpy())


def test_made_up_signals_are_near_what_training_computes() -> None:
    raw = raw_inputs(KeywordsSettings(name="keywords"))
    found = near(raw, Standardisation.of(raw.features, "column"), 0.04)
    assert (found.inputs, found.values, found.source) == (5, 5 * 49 * 10, "made-up signals")
    assert found.equal / found.values > 0.98
    assert found.largest <= 1


@pytest.mark.skipif("MOBO_DATA_DIR" not in os.environ, reason="MOBO_DATA_DIR is not set")
def test_real_clips_are_near_what_training_computes() -> None:
    with np.load(Path(os.environ["MOBO_DATA_DIR"]) / "speech_commands_wav_samples.npz") as samples:
        clips, features = samples["audio"], samples["mfcc"][..., None]
    found = near(RawInputs(SPEECH, clips, features), Standardisation.of(features, "column"), 0.04)
    assert found.equal / found.values > 0.99
    assert found.largest <= 1


def test_a_rate_beyond_the_fft_and_a_network_of_another_shape_are_refused() -> None:
    with pytest.raises(ExportError, match="need an FFT of 8192; the front end in C takes 4096"):
        FixedMfcc(Mfcc(200_000, 10_000), Stage(*(np.zeros(1, np.int64),) * 3))
    request = mfcc_request(MFCC["16 kHz"])
    with pytest.raises(ExportError, match=r"gives \(49, 10, 1\) values, the network reads \(5, 10, 1\)"):
        fixed(replace(request, front_end=FrontEnd(form=SPEECH, distance=NO_DISTANCE)))
    with pytest.raises(ExportError, match="a standard deviation of 1e-30 is too small"):
        fixed(replace(request, deviation=np.full((1, 10, 1), 1e-30, np.float32)))


def test_a_task_without_a_front_end_says_so_in_a_line() -> None:
    assert raw_inputs(PlaidSettings(name="plaid")) == "the device's own code computes its inputs"
    assert raw_inputs(DigitsSettings()) == ""


@pytest.mark.parametrize("is_wide", [False, True])
def test_the_score_of_a_reconstruction_is_its_squared_error(is_wide: bool, tmp_path: Path) -> None:
    shape = (3, 5, 2)
    maker = network(shape, 30)
    if is_wide:
        wide = Quantize(name="wide", inputs=("dense",), output_bits=16)
        maker = by_hand(replace(maker.graph, layers=(*maker.graph.layers, wide)))
    random = np.random.default_rng(0)
    inputs = random.integers(-128, 128, (9, *shape), dtype=np.int8)
    outputs = random.integers(-128, 128, (9, 30)) * (256 if is_wide else 1)
    inputs[0], outputs[0] = 127, outputs.min()
    outputs = outputs.astype(np.int16 if is_wide else np.int8)
    score = FixedScore.of(maker)
    given, made = maker.tensors[INPUT], maker.tensors[maker.graph.output]
    real = torch.from_numpy((inputs.astype(np.float64) - given.zero_point) * given.scale).permute(0, 3, 1, 2)
    remade = torch.from_numpy((outputs.astype(np.float64) - made.zero_point) * made.scale)
    expected = Reconstruction.scores(remade, real).numpy()
    np.testing.assert_allclose(score(inputs, outputs) * score.unit, expected, rtol=2e-3)
    threshold = AnomalyThreshold(
        score=int(np.median(score(inputs, outputs))), normal=1, anomalous=1, false_alarms=0, detected=1
    )
    request = replace(
        request_for(SPEECH, shape, Standardisation.of(np.zeros((1, *shape), np.float32), "none")),
        network=maker,
        front_end=None,
        anomaly=threshold,
        test_outputs=outputs[:1],
    )
    found = run_anomaly_on_host(write(request, tmp_path), inputs, outputs, flags=("-O1", "-Werror", *SANITIZERS))
    np.testing.assert_array_equal(found[:, 0], score(inputs, outputs))
    np.testing.assert_array_equal(found[:, 1], score(inputs, outputs) > threshold.score)


Maker = Callable[[Path], tuple[str, QuantisedNetwork]]


def sound(folder: Path) -> tuple[str, QuantisedNetwork]:
    write_wavs(folder)
    return f"task={{name='wav_folder', folder='{folder}', clip_s=0.25}}", network((12, 10, 1))


def motion(folder: Path) -> tuple[str, QuantisedNetwork]:
    write_tables(folder)
    return f"task={{name='csv_folder', folder='{folder}', window=10, hop=5, columns=['x', 'y']}}", network((1, 10, 2))


def anomalies(folder: Path) -> tuple[str, QuantisedNetwork]:
    write_tables(folder)
    of = f"{{name='csv_folder', folder='{folder}', window=10, columns=['x', 'y']}}"
    return f"task={{name='anomaly', normal=['low'], of={of}}}", network((1, 10, 2), 20)


def images(folder: Path) -> tuple[str, QuantisedNetwork]:
    write_images(folder, size=(20, 24))
    return f"task={{name='image_folder', folder='{folder}', size=[8, 8], colour='grey'}}", network((8, 8, 1))


MAKERS: dict[str, Maker] = {"sound": sound, "motion": motion, "images": images, "anomalies": anomalies}


ALL_MAKERS = [pytest.param(name, marks=() if name == "sound" else pytest.mark.slow) for name in MAKERS]


@pytest.fixture(scope="module", params=ALL_MAKERS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    folder = tmp_path_factory.mktemp(request.param)
    override, made = MAKERS[request.param](folder / "data")
    return make_run(folder / "run", parse_config(CONFIG, [override]), made)


@pytest.fixture
def exported(run: RunDirectory, tmp_path: Path) -> Path:
    export_trial(read_run(run.path), SCORED, ["c"], tmp_path / "out")
    return tmp_path / "out"


def test_an_export_with_a_front_end_holds_its_promises(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = check_host(read_export(exported), load_device("nucleo-l4r5zi"))
    assert [row for row in rows if row.holds is False] == []
    assert "random raw inputs of another network input" in {row.quantity for row in rows}
    done = subprocess.run(["make", "-C", exported / "c", "test"], capture_output=True, text=True, check=True)
    assert "4 of 4 raw inputs as expected" in done.stdout
    files = set(read_export(exported).manifest.formats["c"])
    if "model_anomaly.c" in files:
        assert "scores as expected" in done.stdout
        assert "samples whose anomaly score or verdict differs" in {row.quantity for row in rows}
        assert "anomalous inputs lie above the threshold." in (exported / "c" / "README.md").read_text()
    assert "## Front end" in (exported / "c" / "README.md").read_text()
    if find_spec("unicorn") is None or files.isdisjoint({"kernels/mobo_frontend_mfcc.h", "model_anomaly.c"}):
        return
    monkeypatch.setattr(c_checks, "EMULATED_CORES", ("cortex-m4",))
    rows = check_emulated(read_export(exported), load_device("nucleo-l4r5zi"))
    assert [row for row in rows if row.holds is False and "anomaly" in row.quantity] == []
    costs = {row.quantity: row for row in rows if row.quantity.startswith(("frontend_", "anomaly_"))}
    assert costs["frontend_ram_bytes, cortex-m4"].holds
    assert costs["frontend_table_bytes, cortex-m4"].holds
    assert costs["frontend_instructions, cortex-m4"].measured > 0
    assert "model_anomaly.c" not in files or costs["anomaly_instructions, cortex-m4"].measured > 0


def test_a_front_end_that_somebody_changed_is_refused(exported: Path) -> None:
    with (exported / "c" / "model_frontend.c").open("a") as stream:
        stream.write("int more;\n")
    manifest = json.loads((exported / MANIFEST).read_text())
    manifest["sha256"] = digests({name: (exported / name).read_bytes() for name in manifest["sha256"]})
    (exported / MANIFEST).write_text(json.dumps(manifest))
    result = cli.invoke(app, ["verify", str(exported)])
    assert result.exit_code == 2
    assert "model_frontend.c is not what this installation writes from network.npz" in result.stderr


def test_the_firmware_has_the_front_end_too(run: RunDirectory, tmp_path: Path) -> None:
    result = cli.invoke(
        app, ["export", str(run.path), str(SCORED), "--format", "firmware", "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.stderr
    assert "front end in C (" in result.stderr
    assert (tmp_path / "out" / "firmware" / "src" / "model_frontend.c").is_file()


def test_a_task_of_finished_features_is_exported_without_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", parse_config(CONFIG), network((8, 8, 1)))
    export = export_trial(read_run(run.path), SCORED, ["c"], tmp_path / "out")
    assert "front_end" not in json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert not [file for file in export.model.manifest.formats["c"] if "frontend" in file]
    assert "frontend" not in (tmp_path / "out" / "c" / "Makefile").read_text()
    assert not [note for note in export.notes if "front end" in note]
