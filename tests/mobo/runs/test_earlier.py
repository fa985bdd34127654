"""A study that begins with what earlier ones found: their fronts first, and nothing where nothing fits."""

from pathlib import Path

import pytest

from mobo.base.errors import ConfigError
from mobo.runs.directory import RunDirectory
from mobo.runs.earlier import earlier_digest, earlier_studies, first_designs
from mobo.runs.identity import IdentityError
from mobo.runs.record import read_run
from mobo.search import run_search
from mobo.space.earlier_study import EarlierStudy
from mobo.space.problem import Feasibility
from mobo.space.search_space import Design
from mobo.tinyml.config_file import load_config
from mobo.validation import validate
from tests.mobo.small_study import small_config

EARLIER = ("compression.method=fixed", "trials=4")
INPUT = (8, 8, 1)


def search(folder: Path, *overrides: str) -> RunDirectory:
    config = small_config(*overrides)
    run = RunDirectory.create(folder, config_toml=config.to_toml())
    run_search(config, run)
    return run


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earlier") / "run"
    search(folder, *EARLIER)
    return folder


def test_the_earlier_front_is_tried_first_on_another_board(earlier: Path, tmp_path: Path) -> None:
    found = read_run(earlier)
    front = {trial.design for trial in found.front}
    overrides = [*EARLIER, "device.name=nucleo-f446re", f"start.studies=['{earlier}']", "start.designs=2"]
    run = search(tmp_path / "other", *overrides)
    first = [trial.design for trial in read_run(run.path).trials[: min(2, len(front))]]
    assert set(first) <= front
    (study,) = earlier_studies(small_config(*overrides), INPUT)
    assert {trial.design for trial in study.trials} == {trial.design for trial in found.trials}
    lines = validate(small_config(*overrides)).lines
    expected = f"earlier study {earlier}: 4 of its trials are designs of this one, {len(front)} of them on its front"
    assert expected in lines


def test_a_resumed_run_needs_what_it_began_with(earlier: Path, tmp_path: Path) -> None:
    config = small_config(*EARLIER, "trials=1", f"start.studies=['{earlier}']")
    run = RunDirectory.create(tmp_path / "run", config_toml=config.to_toml())
    run_search(config, run)
    other = tmp_path / "another"
    search(other, *EARLIER, "seed=5", "trials=2")
    changed = small_config(*EARLIER, "trials=2", f"start.studies=['{other}']")
    with pytest.raises(IdentityError, match=r"the content of start\.studies is not what the run .* was made with"):
        run_search(changed, run, resume=True)


def test_places_are_resolved_beside_the_config(earlier: Path) -> None:
    path = earlier.parent / "study.toml"
    path.write_text(small_config(*EARLIER, "start.studies=['run']").to_toml())
    assert load_config(path).start.studies == (earlier.resolve(),)


def test_trials_that_are_no_designs_here_are_refused(earlier: Path) -> None:
    config = small_config(*EARLIER, "compression.method=uniform", f"start.studies=['{earlier}']")
    with pytest.raises(ConfigError, match=r"start\.studies names .*, none of whose trials is a design of this study"):
        earlier_studies(config, INPUT)


def test_nothing_named_is_nothing_found() -> None:
    assert earlier_studies(small_config(*EARLIER), INPUT) == ()
    assert earlier_digest(()) == {"start.studies": ""}


class Refusing:
    """A problem that says which designs can be evaluated."""

    def check(self, design: Design) -> Feasibility:
        return Feasibility(feasible=design["width"] != 3)


def test_studies_take_turns_from_end_to_end() -> None:
    def study(*widths: int) -> EarlierStudy:
        return EarlierStudy("", (), tuple(Design({"width": width}) for width in widths))

    def widths(*studies: EarlierStudy, most: int = 9) -> list[int]:
        return [design["width"] for design in first_designs(Refusing(), studies, most)]  # type: ignore[arg-type]

    # 3 is refused; of the four that are left the ends come first, then what lies between.
    assert widths(study(0, 1, 2, 3, 4)) == [0, 4, 2, 1]
    assert widths(study(10, 11, 12, 13, 14)) == [10, 14, 12, 11, 13]
    assert widths(study(10, 11), study(20, 11)) == [10, 20, 11]
    assert widths(study(10, 11), study(20, 21), most=3) == [10, 20, 11]
    assert widths() == widths(study()) == []
