"""The input as a part of the design: the same decisions whatever the setting, counted costs, and what is refused."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hw_models import trace
from hw_models.cost import estimate
from hw_models.device import load_device
from hw_models.graph.from_file import read_graph
from hw_models.runtime import load_runtime
from mobo.base.errors import MoboError
from mobo.base.ray_actor import Lacking, Parcel
from mobo.cli.app import app
from mobo.export.exported_model import read_export
from mobo.export.trial_export import export_trial
from mobo.goal.baseline import BASELINE, ReferenceNetworks
from mobo.goal.errors import GoalError
from mobo.goal.float_cost import float_costs
from mobo.goal.verdict import read_verdict
from mobo.report.saved_model import read_saved_model
from mobo.runs.candidates import estimated_candidates
from mobo.runs.cluster import Blueprint, ClusterTask, trial_runner
from mobo.runs.directory import RunDirectory
from mobo.runs.identity import IdentityError, data_digests, samples_digest
from mobo.runs.record import RunRecord, read_run
from mobo.search import run_search
from mobo.space import columns
from mobo.space.search_space import Design
from mobo.space.trial import Trial, TrialState
from mobo.study.evaluation import evaluated
from mobo.tinyml import inputs as module
from mobo.tinyml.config import StudyConfig, parse_config
from mobo.tinyml.inputs import Inputs, base_task
from mobo.tinyml.model_names import GRAPH
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.saved_front_end import load_front_end
from mobo.tinyml.setup import load_setup
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.data import TaskData
from mobo.tinyml.tasks.settings import CsvFolderSettings, SplitSettings, WavFolderSettings
from mobo.validation import validate
from tests.mobo.tinyml.tasks.class_folder_files import write_images, write_tables, write_wavs

cli = CliRunner()

STUDY = """
name = "searched-input"
trials = 3
device = {name = "nucleo-l4r5zi"}
network = {family = "lenet5"}
sampler = {name = "random"}
compression = {finetune = {steps = 2}}
objectives = [
    {name = "validation_error", reference = 0.9},
    {name = "latency_ms", unit = "ms", reference = 500},
    {name = "ram_bytes", unit = "bytes", reference = 65536},
]
[space]
epochs = 1
"""


@dataclass(frozen=True)
class Kind:
    """A kind of data: what writes a folder of it, its task, what is searched of the input."""

    write: Callable[[Path], None]
    task: str
    space: Mapping[str, str]

    def config(self, folder: Path, *overrides: str) -> StudyConfig:
        if not folder.exists():
            self.write(folder)
        searched = (f"space.task_{key}={entry}" for key, entry in self.space.items())
        return parse_config(STUDY, [f"task={{folder='{folder}', {self.task}}}", *searched, *overrides])


def choice(*values: object) -> str:
    return f"{{type='ordinal', values={list(values)}}}"


KINDS = {
    "motion": Kind(
        write_tables,
        "name='csv_folder', window=10, hop=9, columns=['x', 'y']",
        {"window": "{type='int', low=14, high=24}", "every": choice(1, 2)},
    ),
    "sound": Kind(
        write_wavs,
        "name='wav_folder'",
        {
            "clip_s": choice(0.15, 0.2),
            "rate_hz": choice(8000, 16000),
            "coefficients": "{type='int', low=6, high=10}",
            "frame_ms": choice(20, 30),
            "step_ms": choice(10, 12),
            "fft_length": choice(512, 1024),
        },
    ),
    "images": Kind(
        lambda folder: write_images(folder, size=(20, 24)),
        "name='image_folder'",
        {"size": choice(8, 12), "colour": "{type='categorical', values=['grey', 'rgb']}"},
    ),
}
EACH = pytest.mark.parametrize("kind", KINDS)
MOTION = KINDS["motion"]


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("searched-input")


def ends(config: StudyConfig) -> tuple[dict[str, object], ...]:
    """Return the design at the lower end of every input, and the one at the upper end."""
    searched = config.searched_input.items()
    return tuple({f"task_{key}": entry.decode(place) for key, entry in searched} for place in (0.0, 1.0))


@EACH
def test_every_setting_has_the_same_decisions_and_the_shape_that_was_foretold(kind: str, data_folder: Path) -> None:
    config = KINDS[kind].config(data_folder / kind)
    base = load_task(base_task(config))
    inputs = Inputs(config, base)
    for values in ends(config):
        data = inputs.data(values)
        assert inputs.shape(values) == data.input_shape
        assert data.counts == base.counts
        for mine, theirs in (
            (data.train, base.train),
            (data.reward, base.reward),
            (data.validation, base.validation),
            (data.load_test(), base.load_test()),
        ):
            np.testing.assert_array_equal(mine.y, theirs.y)
        if base.validation_groups is not None:
            np.testing.assert_array_equal(data.validation_groups, base.validation_groups)
        assert inputs.data(values) is data
        assert all(least <= size for least, size in zip(base.input_shape, data.input_shape, strict=True))


def test_anomalies_have_the_inputs_of_the_task_whose_data_they_are_in(data_folder: Path) -> None:
    MOTION.config(data_folder / "motion")
    of = f"{{folder='{data_folder / 'motion'}', {MOTION.task}}}"
    searched = [f"space.task_{key}={entry}" for key, entry in MOTION.space.items()]
    config = parse_config(STUDY, [f"task={{name='anomaly', normal=['low'], of={of}}}", *searched])
    inputs = Inputs(config, load_task(base_task(config)))
    for values in ends(config):
        assert inputs.data(values).input_shape == inputs.shape(values)


def test_a_window_is_the_last_rows_of_its_span(data_folder: Path) -> None:
    folder = data_folder / "motion"
    MOTION.config(folder)
    wide, narrow, thin = (
        load_task(CsvFolderSettings(name="csv_folder", folder=folder, columns=("x", "y"), standardise="none", **keys))
        for keys in ({"window": 24}, {"window": 10, "span": 24}, {"window": 10, "every": 3, "span": 24})
    )
    np.testing.assert_array_equal(narrow.validation.x, wide.validation.x[..., -10:])
    np.testing.assert_array_equal(thin.validation.x, wide.validation.x[..., [-7, -4, -1]])


def test_a_recording_shorter_than_the_span_is_judged_at_its_end(tmp_path: Path) -> None:
    write_tables(tmp_path, files=6, rows=12)
    kept = {"name": "csv_folder", "folder": tmp_path, "columns": ("x", "y"), "standardise": "none"}
    alone = load_task(CsvFolderSettings(**kept, window=12))
    spanned = load_task(CsvFolderSettings(**kept, window=5, span=30))
    np.testing.assert_array_equal(spanned.train.x, alone.train.x[..., -5:])
    assert "shorter than a span of 30 rows" in spanned.notes[0]


def test_a_clip_at_a_lower_rate_sounds_the_same(data_folder: Path) -> None:
    folder = data_folder / "sound"
    KINDS["sound"].config(folder)
    kept = {"name": "wav_folder", "folder": folder, "clip_s": 0.2, "standardise": "none", "frame_ms": 32}
    full, low = (load_task(WavFolderSettings(**kept, rate_hz=rate)).train.x for rate in (None, 8000))
    assert full.shape == low.shape
    # The first coefficient is loudness, of fewer samples; the others lack what the filter takes near the upper end.
    assert np.corrcoef(full[..., 1:].flatten(), low[..., 1:].flatten())[0, 1] > 0.98


def test_so_much_data_is_kept_and_no_more(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = MOTION.config(data_folder / "motion")
    inputs = Inputs(config, load_task(base_task(config)))
    first, second = ends(config)[0], ends(config)[1]
    kept = inputs.data(first)
    monkeypatch.setattr(module, "MOST_BYTES", 1)
    inputs.data(second)
    assert inputs.data(first) is not kept


def test_a_study_of_one_input_is_as_it_was_and_counts_the_front_end_where_asked(data_folder: Path) -> None:
    folder = data_folder / "motion"
    MOTION.config(folder)
    task = f"task={{folder='{folder}', {MOTION.task}}}"
    plain, counted = (parse_config(STUDY, [task, f"task.front_end='{choice}'"]) for choice in ("auto", "counted"))
    setup = load_setup(plain)
    assert base_task(plain) is plain.task
    known = {}
    for name, config in (("plain", plain), ("counted", counted)):
        problem = TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: None)
        design = problem.designs.hyperparameters.middles()[0]
        known[name] = problem.known.of(design)
        network = problem.designs.network(design, seed=0).graph
        assert problem.designs.cost_of(network, design).front_end is None or name == "counted"
        assert Inputs(config, setup.data).data(design) is setup.data
    samples = 2 * 10 * 2
    assert known["counted"]["ram_bytes"] == known["plain"]["ram_bytes"] + samples
    assert known["counted"]["latency_ms"] > known["plain"]["latency_ms"]


def test_a_training_belongs_to_one_input(data_folder: Path) -> None:
    config = MOTION.config(data_folder / "motion")
    setup = load_setup(config)
    problem = TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: None)
    assert {"task_window", "task_every"} <= problem.work.training_names
    assert {"task_window", "task_every"} <= problem.cost_parameters


REFUSED = {
    "images have no window": ("images", f"space.task_window={choice(8, 16)}", "searched can be task_size, task_colour"),
    "a plain value": ("motion", "space.task_window=8", "a plain value is no search; set task.window = 8 instead"),
    "a condition": (
        "motion",
        "space.task_every={type='ordinal', values=[1, 2], when={keep=[0.5]}, otherwise=1}",
        "every design has an input, so it has no condition; drop when",
    ),
    "a window beyond its span": ("motion", "task.span=20", "a window of 24 rows is longer than span = 20; raise span"),
    "nothing left": (
        "motion",
        f"space.task_every={choice(1, 8)}",
        "of 14 rows every = 8 leaves 1; at least 2 are needed",
    ),
    "half a row": (
        "motion",
        "space.task_window={type='float', low=14.0, high=24.0}",
        "Input should be a valid integer",
    ),
    "no power of two": ("sound", f"space.task_fft_length={choice(500, 512)}", "500 is no power of two; take 256, 512"),
    "a short transform": (
        "sound",
        f"space.task_fft_length={choice(256, 512)}",
        r"task_rate_hz = 16000, .* the input is impossible: frames of 20 ms are 320 samples at 16000 Hz, a transform",
    ),
    "a low rate": (
        "sound",
        f"space.task_rate_hz={choice(4000, 16000)}",
        r"mel bands up to 4000 Hz need a sample rate of",
    ),
    "a high rate": (
        "sound",
        f"space.task_rate_hz={choice(16000, 32000)}",
        "more than the recordings have, 16000; lower it",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_one_clear_error(case: str, data_folder: Path) -> None:
    kind, override, message = REFUSED[case]
    with pytest.raises(MoboError, match=message):
        load_setup(KINDS[kind].config(data_folder / kind, override))


def search(kind: str, folder: Path, data: Path, *overrides: str) -> RunRecord:
    config = KINDS[kind].config(data, *overrides)
    run = RunDirectory.create(folder, config_toml=config.to_toml())
    run_search(config, run)
    return read_run(run.path)


@pytest.mark.parametrize(
    "kind", [pytest.param(name, marks=() if name == "motion" else pytest.mark.slow) for name in KINDS]
)
def test_a_search_over_the_input_ends_in_models_that_keep_theirs(kind: str, data_folder: Path, tmp_path: Path) -> None:
    record = search(kind, tmp_path / "run", data_folder / kind, "confirm.seeds=1", "retrain.front=true")
    assert [trial.state for trial in record.trials] == [TrialState.DONE] * 3
    trial = record.front.trials[0]
    folder = record.directory.model_directory(trial.number)
    work, graph = load_front_end(folder), read_graph(folder / GRAPH)
    inputs = Inputs(record.config, load_setup(record.config).data)
    assert work == inputs.front_end(trial.design)
    assert work.shape == graph.input_shape
    device, runtime = load_device("nucleo-l4r5zi"), load_runtime("tflm-cmsis-nn")
    alone = estimate(graph, device, runtime)
    for name in ("ram_bytes", "latency_ms"):
        part = trial.outcome[f"front_end_{name}"]
        assert trial.outcome[name] == pytest.approx(alone.value(name) + part)
        assert part > 0
    assert record.confirmed[trial.number].repeats == 1
    assert record.retrained[trial.number].test_error is not None
    picked = next(
        model for model in estimated_candidates(record, device, runtime).models if model.trial == trial.number
    )
    assert picked.costs["ram_bytes"] == trial.outcome["ram_bytes"]
    manifest = export_trial(record, trial.number, ["c"], tmp_path / "out").model.manifest
    assert manifest.counted == work
    assert manifest.front_end is not None
    assert manifest.costs["ram_bytes"] == trial.outcome["ram_bytes"]
    samples = manifest.front_end.form.sample_bytes
    assert trial.outcome["front_end_ram_bytes"] >= samples
    assert read_export(tmp_path / "out").request.network.graph.input_shape == work.shape

    shown = cli.invoke(app, ["front", str(record.directory.path)]).stdout
    assert "of it front end: ms" in shown
    assert set(columns.OF_FRONT_END) <= set(record.front_frame()) & set(record.trials_frame())
    said = cli.invoke(app, ["cost", str(folder / GRAPH), "--device", "nucleo-l4r5zi", "--runtime", "tflm-cmsis-nn"])
    assert f"of the totals the front end ({work.kind}): " in said.stdout
    assert read_saved_model(record.directory, trial.number).layers[0].name == "front end"


def test_the_digest_is_of_all_inputs_and_not_of_the_smallest_alone(tmp_path: Path) -> None:
    data = tmp_path / "motion"
    run = search("motion", tmp_path / "run", data, "trials=1").directory
    config = MOTION.config(data, "trials=2")
    before = samples_digest(load_setup(config).data)
    file = next(data.rglob("*.csv"))
    head, first, *rest = file.read_text().splitlines()
    # The first row of a recording is in the longest window of its first span alone.
    file.write_text("\n".join([head, first.replace("0.", "1."), *rest]))
    assert samples_digest(load_setup(config).data) == before
    with pytest.raises(IdentityError, match=r"the content of the files of task is not what the run of .* was made"):
        run_search(config, run, resume=True)
    file.write_text("\n".join([head, first, *rest, ""]))
    run_search(config, run, resume=True)


def test_workers_of_a_cluster_prepare_their_own_inputs(tmp_path: Path) -> None:
    config = MOTION.config(tmp_path / "motion")
    setup = load_setup(config)
    made: dict[int, Mapping[str, bytes]] = {}
    problem = TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=made.__setitem__)
    blueprint = Blueprint(
        config_toml=config.to_toml(),
        device=setup.device,
        runtime=setup.runtime,
        data=data_digests(config, setup.data),
    )
    middle = problem.designs.hyperparameters.middles()[0]
    design = Design({**middle, "task_window": 24, "task_every": 1})
    trial = Trial(number=0, design=design, seed=1, state=TrialState.PROPOSED)
    answer = trial_runner(blueprint)(ClusterTask(trial, {}))
    assert isinstance(answer, Parcel)
    assert answer.result.outcome == evaluated(problem, trial).outcome
    assert answer.files == made[0]
    next((tmp_path / "motion").rglob("*.csv")).unlink()
    with pytest.raises(Lacking, match="needs the data on every machine: put them there, into MOBO_DATA_DIR"):
        trial_runner(blueprint)


def test_a_goal_has_a_baseline_of_the_fullest_input_and_counts_what_stands_before_it(
    data_folder: Path, tmp_path: Path
) -> None:
    goal = ("goal={tolerance=0.9, minimise='ram_bytes', width_sweep={parameter='width', values=[4]}}",)
    config = MOTION.config(data_folder / "motion", *goal, "network.family='residual'", "trials=2")
    run = RunDirectory.create(tmp_path / "run", config_toml=config.to_toml())
    run_search(config, run)
    verdict, record = read_verdict(run), read_run(run.path)
    assert verdict is not None
    assert verdict.chosen is not None
    assert {name: verdict.baseline.design[name] for name in ends(config)[0]} == {"task_window": 24, "task_every": 1}
    chosen = record.trials[verdict.chosen.trial]
    difference = chosen.outcome["validation_error"] - verdict.baseline.float_error
    assert verdict.chosen.gap.difference == pytest.approx(difference)
    assert verdict.test is not None
    assert verdict.test.error == pytest.approx(record.test_errors.get(chosen.number, verdict.test.error))
    networks = ReferenceNetworks(config, load_setup(config), run)
    baseline = networks.saved(BASELINE, networks.describe_baseline())
    assert baseline is not None
    inputs = networks.data_of(baseline.description.values)
    assert inputs.input_shape == baseline.quantised.graph.input_shape == (1, 24, 2)
    # Two channels of 24 rows of int16.
    alone = estimate(baseline.quantised.graph, load_device("nucleo-l4r5zi"), load_runtime("tflm-cmsis-nn"))
    assert baseline.int8_costs["ram_bytes"] == alone.ram_bytes + 96
    in_float = float_costs(trace(baseline.module, (1, 24, 2)).graph, load_device("nucleo-l4r5zi"), clock_mhz=None)
    assert baseline.float_costs["ram_bytes"] == (in_float["ram_bytes"] or 0) + 96

    given = MOTION.config(data_folder / "motion", "goal.baseline_design={task_window=20, task_every=2}")
    own = ReferenceNetworks(given, load_setup(given), run).describe_baseline()
    assert (own.values["task_window"], own.values["task_every"]) == (20, 2)
    of_it = (f"goal.baseline={str(run.path) + ':0'!r}", "network.family='residual'")
    again = MOTION.config(data_folder / "motion", *of_it)
    earlier = ReferenceNetworks(again, load_setup(again), RunDirectory(tmp_path / "none")).describe_baseline()
    design = record.trials[0].design
    assert all(earlier.values[name] == design[name] for name in ends(config)[0])
    other = MOTION.config(data_folder / "motion", *of_it, f"space.task_every={choice(1, 3)}")
    with pytest.raises(GoalError, match="searched the input otherwise than this study does"):
        ReferenceNetworks(other, load_setup(other), RunDirectory(tmp_path / "none")).describe_baseline()


def test_the_estimate_counts_what_it_takes_to_prepare_an_input(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, now_s = MOTION.config(data_folder / "motion"), [0.0]

    def slow(settings: SplitSettings) -> TaskData:
        now_s[0] += 50.0
        return load_task(settings)

    monkeypatch.setattr(module, "load_task", slow)
    monkeypatch.setattr("mobo.validation.process_time", lambda: now_s[0])
    report = validate(config)
    assert report.seconds_per_trial_estimate == 50.0
    assert report.total_seconds_estimate == 150.0


@pytest.mark.slow
def test_workers_have_the_data_of_a_design_and_a_resumed_search_ends_as_an_undisturbed_one(
    data_folder: Path, tmp_path: Path
) -> None:
    data = data_folder / "motion"
    parallel = ("compute.lag=2", "compute.jobs=2")
    whole = search("motion", tmp_path / "whole", data, "compute.lag=2")
    half = search("motion", tmp_path / "half", data, *parallel, "trials=1")
    run_search(MOTION.config(data, *parallel), half.directory, resume=True)
    again = read_run(half.directory.path)
    assert [trial.design for trial in again.trials] == [trial.design for trial in whole.trials]
    assert [trial.outcome for trial in again.trials] == [trial.outcome for trial in whole.trials]
