"""From the integers of a regression to labels in their unit: equal on every machine, and what the interpreter says."""

import shutil
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from envs.compression.float_network.purpose import Regression
from envs.compression.integer.quantisation import quantise
from hw_models.device import load_device
from hw_models.graph.from_torch import trace
from mobo.export.c.labels import label_step, label_values
from mobo.export.errors import ExportError
from mobo.export.exported_model import SAMPLES, ExportedModel, Manifest, read_export
from mobo.export.firmware.host import SANITIZERS, run_labels_on_host
from mobo.export.request import LabelScale
from mobo.export.trial_export import export_trial
from mobo.export.verify.c_checks import check_emulated, check_host
from mobo.runs.record import read_run
from mobo.tinyml.config import parse_config
from mobo.tinyml.tasks import load_task
from tests.mobo.export.exportable_run import SCORED, make_run
from tests.mobo.synthetic_run import CONFIG

DEVICE = "nucleo-l4r5zi"
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    """A network of random weights that estimates two angles, exported as C."""
    folder, generator = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    x = generator.normal(size=(200, 6, 2))
    y = np.stack([1000 + 300 * x[:, 0, 0], 40 * x[:, 1, 1] - 7], axis=1)
    np.savez(folder / "arrays.npz", x_train=x, y_train=y)
    task = f"task={{name='npz', file='{folder / 'arrays.npz'}', layout='length_channels', error='rmse', unit='°'}}"
    config = parse_config(CONFIG, [task, "objectives.0.reference=200"])
    data = load_task(config.task)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    network = quantise(module, trace(module, data.input_shape), data.train.x)
    record = read_run(make_run(folder / "run", config, network).path)
    return export_trial(record, SCORED, ["c"], folder / "exported").model


def interpreted(model: ExportedModel) -> np.ndarray:
    """Return what the outputs of the integer interpreter are in the labels' unit, in float64."""
    network, labels = model.network, model.manifest.labels
    assert labels is not None
    tensor = network.tensors[network.graph.output]
    real = (model.samples.outputs.astype(np.float64) - tensor.zero_point) * tensor.scale
    return real * labels.deviation + np.array(labels.mean)


def test_the_manifest_tells_what_outputs_stand_for(model: ExportedModel) -> None:
    manifest, labels = model.manifest, model.manifest.labels
    assert (manifest.purpose, manifest.error_kind, manifest.class_names) == ("regression", "rmse", ())
    assert labels is not None
    assert (labels.names, labels.unit) == (("y0", "y1"), "°")
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest
    # Of the whole test split, worked out anew: the root of the mean square over samples and labels.
    differences = interpreted(model) - model.samples.labels
    assert manifest.error == model.error() == pytest.approx(np.sqrt(np.square(differences).mean()))
    assert manifest.error > 100
    read = read_export(model.path)
    assert read.request.labels == labels
    with pytest.raises(ValueError, match="purpose 'classes', error_kind 'rmse' and labels do not go together"):
        Manifest.model_validate(dict(manifest) | {"purpose": "classes"})


@needs_compiler
def test_the_labels_of_the_c_are_those_of_the_interpreter(model: ExportedModel) -> None:
    labels = model.manifest.labels
    assert labels is not None
    found = run_labels_on_host(model.path / "c", model.samples.outputs, flags=("-O1", "-Werror", *SANITIZERS))
    assert found.tolist() == label_values(model.network, labels, model.samples.outputs).tolist()
    assert found == pytest.approx(interpreted(model), rel=1e-6, abs=1e-4)
    # Nothing finer than a step can be told.
    assert np.diff(np.unique(found[:, 0])).min() == pytest.approx(float(label_step(model.network, labels)), rel=1e-3)


@needs_compiler
def test_a_regression_holds_its_promises_in_c(model: ExportedModel) -> None:
    rows = {row.quantity: row for row in check_host(model, load_device(DEVICE))}
    assert all(row.holds for row in rows.values())
    assert rows["samples whose label in C differs"].measured == 0
    assert [row.measured for name, row in rows.items() if name.startswith("error on")] == [model.manifest.error]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("unicorn") is None, reason="no emulator: pip install unicorn")
@pytest.mark.usefixtures("compiler")
def test_every_core_tells_the_same_labels(model: ExportedModel) -> None:
    rows = check_emulated(model, load_device(DEVICE))
    assert [row for row in rows if row.holds is False] == []
    assert sum("label in C differs" in row.quantity for row in rows) == 5


def test_the_page_of_the_project_says_unit_and_step(model: ExportedModel) -> None:
    text = (model.path / "c" / "README.md").read_text()
    assert "Outputs, one per label: 0 y0, 1 y1; see Labels." in text
    assert "model_labels(scores, labels); /* y0, y1, in ° */" in text
    assert "Classes:" not in text
    assert "int class" not in text


def test_labels_that_are_not_finite_are_refused(model: ExportedModel) -> None:
    labels = model.samples.labels.copy()
    labels[3, 1] = np.nan
    with pytest.raises(ExportError, match=rf"{SAMPLES} holds labels that are not finite; export the model again"):
        model._check_labels(labels)


def test_a_step_is_the_scale_of_the_output_times_the_deviation(model: ExportedModel) -> None:
    labels, network = model.manifest.labels, model.network
    assert labels is not None
    steps = np.array([[3, -2]], np.int8) + np.int8(network.tensors[network.graph.output].zero_point)
    scale = float(network.tensors[network.graph.output].scale)
    expected = np.array(labels.mean) + np.array([3, -2]) * scale * labels.deviation
    assert label_values(network, labels, steps)[0] == pytest.approx(expected)
    purpose = Regression("rmse", labels.mean, labels.deviation, labels.worst)
    assert purpose.values(torch.tensor([[3 * scale, -2 * scale]]))[0].tolist() == pytest.approx(expected)


def test_a_scale_without_a_deviation_is_refused() -> None:
    with pytest.raises(ValueError, match="deviation"):
        LabelScale(names=("y",), unit="kg", mean=(1.0,), deviation=0.0, worst=1.0)
