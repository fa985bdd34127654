"""What every sampler promises, tested for every registered one."""

from collections.abc import Mapping
from pathlib import Path

import pytest

import mobo.samplers
from mobo.base.errors import SamplerError
from mobo.samplers import SAMPLERS, build_sampler, sampler_names
from mobo.testing import SamplerContract, SamplerUnderTest
from mobo.testing.small_problem import OBJECTIVES, SMALL_SPACE

# Every registered sampler with settings that keep the suite quick; a model after two done trials where there is one.
QUICK: Mapping[str, Mapping[str, object]] = {
    "ars_ehvi": {"initial_trials": 2, "iterations": 2, "directions": 4, "top_directions": 2, "horizon": 3},
    "ars_mobopt": {"initial_trials": 2, "iterations": 2, "directions": 4, "top_directions": 2, "horizon": 3},
    "ax": {"initial_trials": 2, "restarts": 2, "raw_samples": 16, "mc_samples": 16},
    "latin_hypercube": {"hypercube_trials": 4},
    "morbo": {"initial_trials": 2, "candidates": 64, "fit_iterations": 3},
    "nsga2": {"population_trials": 2},
    "polar_ehvi": {"initial_trials": 2, "search": {"pool": 64, "moves": 8, "polish_iterations": 5}},
    "qlognehvi": {"initial_trials": 2, "search": {"pool": 32, "starts": 1, "moves": 4, "polish_iterations": 5}},
    "qparego": {"initial_trials": 2, "search": {"pool": 32, "starts": 1, "moves": 4, "polish_iterations": 5}},
    "random": {},
    "sobol": {},
    "turbo": {"initial_trials": 2, "candidates_per_parameter": 20, "fit_iterations": 3},
}
EVERY = pytest.mark.parametrize("name", sorted(QUICK))
USING_KNOWN = ("ars_ehvi", "ars_mobopt", "polar_ehvi", "qlognehvi")
# What has Ax suggest something, some seconds each; that it suggests, and the same again, is in its own quick tests.
DEAR = ("repeatable", "global_generators", "at_once", "small_space", "conditional", "inactive", "pending")
PAGE = Path(str(mobo.samplers.__file__)).with_name("README.md")


class TestEverySampler(SamplerContract):
    """The suite that ships with the package, run on every registered sampler."""

    @pytest.fixture
    def tested(self, request: pytest.FixtureRequest) -> SamplerUnderTest:
        return SamplerUnderTest(SAMPLERS[request.param], QUICK[request.param])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "tested" in metafunc.fixturenames:
        name = metafunc.function.__name__
        # Over those alone that have the setting, so that nothing is skipped.
        tested = USING_KNOWN if "known_outcomes" in name else sorted(QUICK)
        is_dear = any(part in name for part in DEAR)
        metafunc.parametrize(
            "tested",
            [pytest.param(item, marks=pytest.mark.slow if is_dear and item == "ax" else ()) for item in tested],
            indirect=True,
        )


def test_every_registered_sampler_is_tested() -> None:
    assert sorted(QUICK) == sorted(SAMPLERS) == list(sampler_names())
    assert len(QUICK) == 12


@EVERY
def test_every_sampler_describes_itself_in_one_line(name: str) -> None:
    assert SAMPLERS[name].description
    assert "\n" not in SAMPLERS[name].description


@EVERY
def test_every_sampler_has_a_page(name: str) -> None:
    assert f"## `{name}`" in PAGE.read_text(encoding="utf-8")


def test_known_outcomes_are_used_by_the_samplers_that_say_so() -> None:
    using = [name for name in sorted(QUICK) if "known_outcomes" in SAMPLERS[name].Settings.model_fields]
    assert using == list(USING_KNOWN)


@EVERY
def test_unknown_settings_are_refused(name: str) -> None:
    with pytest.raises(SamplerError, match=f"unknown setting of sampler '{name}' 'no_such'"):
        build_sampler(name, SMALL_SPACE, OBJECTIVES, seed=0, settings={"no_such": 1})


def test_an_unknown_sampler_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SamplerError, match=r"unknown sampler 'sobbol'; did you mean 'sobol'\?"):
        build_sampler("sobbol", SMALL_SPACE, OBJECTIVES, seed=0)
