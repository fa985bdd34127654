"""A sampler of the user's own: found, built, searched with, and every way it can be unusable."""

import sys
from pathlib import Path

import pytest

from mobo.base.errors import ConfigError, MoboError, SamplerError
from mobo.base.worker_pool import WorkerPool
from mobo.benchmark.cell_record import CellState
from mobo.benchmark.cell_run import run_cell
from mobo.benchmark.run import check_names
from mobo.runs.directory import RunDirectory
from mobo.runs.start import ResumeError, prepare_run
from mobo.samplers import build_sampler
from mobo.search import run_search
from mobo.space.trial import Trial
from mobo.study.store import Store
from mobo.testing.small_problem import OBJECTIVES, SMALL_SPACE
from mobo.tinyml.config import StudyConfig, parse_config
from mobo.tinyml.config_file import load_config
from mobo.validation import validate
from tests.mobo.benchmark.small_benchmarks import config, kept, only_cell
from tests.mobo.small_study import TEXT
from tests.mobo.worker_tasks import InThisProcess

HERE = "tests.mobo.samplers.own_samplers"


def study(target: str = f"{HERE}:Tilted", *overrides: str) -> StudyConfig:
    return parse_config(TEXT.replace('name = "sobol"', f'class = "{target}"'), overrides)


def searched(folder: Path, *overrides: str, resume: bool = False) -> tuple[Trial, ...]:
    found = study(f"{HERE}:Tilted", *overrides)
    run = prepare_run(found, out=folder, resume=resume)
    run_search(found, run, resume=resume, on_event=lambda event: None)
    with Store.open(run.store_path, read_only=True) as store:
        return store.trials()


def test_a_search_with_it_goes_on_where_it_was_stopped_and_records_the_class(tmp_path: Path) -> None:
    settings = "sampler.settings={power=3.0}"
    whole = searched(tmp_path / "whole", settings)
    searched(tmp_path / "parts", settings, "trials=1")
    assert searched(tmp_path / "parts", settings, resume=True) == whole
    assert len(whole) == 3
    recorded = load_config(RunDirectory.existing(tmp_path / "whole").config_path)
    assert (recorded.sampler.name, recorded.sampler.own_class) == (None, f"{HERE}:Tilted")
    assert recorded == study(f"{HERE}:Tilted", settings)
    assert searched(tmp_path / "other", "sampler.settings={power=0.3}") != whole


@pytest.mark.parametrize("pool", [InThisProcess, pytest.param(WorkerPool, marks=pytest.mark.slow)])
def test_worker_processes_search_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: type) -> None:
    monkeypatch.setattr("mobo.study.executor.WorkerPool", pool)
    trials = searched(tmp_path / "two", "compute.jobs=2")
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert len({trial.design for trial in trials}) == 3


def test_a_resume_with_another_class_is_refused(tmp_path: Path) -> None:
    prepare_run(study(), out=tmp_path / "run", resume=False).write_config(study().to_toml())
    with pytest.raises(ResumeError, match=rf"sampler.class is '{HERE}:Narrow' now and was '{HERE}:Tilted'"):
        prepare_run(study(f"{HERE}:Narrow"), out=tmp_path / "run", resume=True)


def test_a_benchmark_takes_it_in_under_the_name_of_its_class_and_continues_its_cells(tmp_path: Path) -> None:
    chosen = {"class": f"{HERE}:Tilted", "settings": {"power": 3.0}}
    cell = only_cell(tmp_path, samplers=[chosen])
    assert cell.key == ("zdt1", "tilted", 0)
    assert run_cell(cell).state is CellState.DONE
    whole, sampler = kept(cell).trials, kept(cell).record.sampler
    assert (sampler.label, sampler.name, sampler.settings) == ("tilted", f"{HERE}:Tilted", {"power": 3.0})
    run_cell(only_cell(tmp_path / "parts", samplers=[chosen], evaluations=4))
    again = only_cell(tmp_path / "parts", samplers=[chosen])
    run_cell(again)
    assert [(trial.design, trial.outcome) for trial in kept(again).trials] == [
        (trial.design, trial.outcome) for trial in whole
    ]
    assert len(whole) == 5


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "nowhere.at_all:Mine",
            r"class 'nowhere.at_all:Mine' cannot be imported: No module named 'nowhere'. Looked wh",
        ),
        (f"{HERE}:Tiltde", "unknown class of .* 'Tiltde'; did you mean 'Tilted'"),
        (f"{HERE}:function", "function' is a function, not a class; name a class"),
        (f"{HERE}:Silent", "Silent' lacks suggest; derive it from mobo.samplers.BaseSampler"),
        (f"{HERE}:Deaf", "Deaf' lacks observe"),
        (f"{HERE}:Bare", "Bare' has no Settings, a pydantic model"),
        (f"{HERE}:Narrow", r"Narrow' is called with \(space, objectives, constraints, seed=.*does not take: too many"),
    ],
)
def test_what_is_no_sampler_is_refused(target: str, message: str) -> None:
    with pytest.raises(MoboError, match=message):
        build_sampler(target, SMALL_SPACE, OBJECTIVES, seed=0)
    with pytest.raises(MoboError, match=message):
        check_names(config(samplers=[{"class": target}]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"powre": 2.0}, r"unknown setting of sampler '.*:Tilted' 'powre'; did you mean 'power'"),
        ({"power": -1.0}, r"setting power = -1.0 of sampler '.*:Tilted' is not allowed"),
    ],
)
def test_its_settings_are_checked(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SamplerError, match=message):
        build_sampler(f"{HERE}:Tilted", SMALL_SPACE, OBJECTIVES, seed=0, settings=settings)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ('name = "sobol"\nclass = "a.b:C"', "name and class exclude each other"),
        ('class = "a.b"', r'sampler.class = "a.b" is not allowed: String should match pattern'),
        ('name = "a.b:C"', 'a sampler of your own is given by class = "a.b:C", not by name'),
        ('clas = "a.b:C"', "unknown key 'sampler.clas'; did you mean 'sampler.class'"),
    ],
)
def test_a_config_names_a_sampler_or_a_class(section: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(TEXT.replace('name = "sobol"', section))


def test_its_module_is_imported_from_the_current_folder_when_a_sampler_is_built_and_no_earlier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_samplers.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    found = study("broken_samplers:Mine")
    assert parse_config(found.to_toml()) == found
    with pytest.raises(MoboError, match=r"broken_samplers raised RuntimeError: imported; mend the module"):
        validate(found)
