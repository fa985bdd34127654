"""Configs: what is read, what is refused, and that every refusal says what to do."""

import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from envs.compression.training.recovery_settings import RecoverySettings
from mobo.base.errors import ConfigError
from mobo.space.search_space import FloatParameter, OrdinalParameter
from mobo.tinyml.config import EXAMPLE, StudyConfig, parse_config
from mobo.tinyml.config_file import load_config
from mobo.tinyml.network_settings import NetworkSettings

QUICKSTART = Path(__file__).resolve().parents[3] / "experiments" / "searches" / "quickstart.toml"

MINIMAL = """
name = "tiny"
trials = 4
[device]
name = "nucleo-l4r5zi"
[[objectives]]
name = "validation_error"
reference = 0.5
[[constraints]]
name = "ram_bytes"
upper = 4096
[space.learning_rate]
type = "float"
low = 0.001
high = 0.01
"""


def test_defaults_are_filled_in() -> None:
    config = parse_config(MINIMAL)
    assert config.sampler.name == "polar_ehvi"
    assert config.compression.method == "fixed"
    assert config.compute.threads == 1
    assert config.space["learning_rate"] == FloatParameter(name="learning_rate", low=0.001, high=0.01)


@pytest.mark.parametrize(
    "path",
    sorted([*QUICKSTART.parent.glob("*.toml"), *QUICKSTART.parent.glob("gecco2025/*.toml")]),
    ids=lambda path: path.name,
)
def test_shipped_configs_survive_a_round_trip(path: Path) -> None:
    config = load_config(path)
    assert parse_config(config.to_toml()) == config


def test_a_condition_survives_a_round_trip_and_is_absent_where_there_is_none() -> None:
    condition = "space.width_growth={type='ordinal', values=[1.5, 2.0], when={stages=[2, 3]}, otherwise=1.0}"
    config = parse_config(MINIMAL, [condition])
    assert config.space["width_growth"] == OrdinalParameter(
        name="width_growth", values=(1.5, 2.0), when={"stages": (2, 3)}, otherwise=1.0
    )
    assert parse_config(config.to_toml()) == config
    assert config.to_toml().count("when") == 1
    assert "when" not in parse_config(MINIMAL).to_toml()


def test_one_family_is_written_as_it_always_was_and_several_survive_a_round_trip() -> None:
    assert parse_config(MINIMAL).network.names == ("residual",)
    assert '[network]\nfamily = "residual"\n\n' in parse_config(MINIMAL).to_toml()
    several = parse_config(MINIMAL, ["network.families=['ds_cnn', 'module']", "network.module=a:b"])
    assert several.network.names == ("ds_cnn", "module")
    assert parse_config(several.to_toml()) == several
    assert several.network.alone("module") == NetworkSettings(family="module", module="a:b")
    assert several.network.alone("ds_cnn") == NetworkSettings(family="ds_cnn")


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("trials=30", "trials", 30),
        ("seed = 7", "seed", 7),
        ("sampler.name=sobol", "sampler.name", "sobol"),
        ("compression.recovery.steps=5", "compression.recovery.steps", 5),
        ("constraints.0.upper=1e4", "constraints.0.upper", 1e4),
        ("space.width=16", "space.width", 16),
        ("sampler.settings.initial_trials=3", "sampler.settings.initial_trials", 3),
        ("task.split_seed=2", "task.split_seed", 2),
    ],
)
def test_overrides_reach_every_place(override: str, key: str, value: object) -> None:
    text = MINIMAL + '[task]\nname = "digits"\n'
    found: object = parse_config(text, [override])
    for part in key.split("."):
        found = (
            found[int(part)]
            if isinstance(found, tuple)
            else found[part]
            if isinstance(found, dict)
            else getattr(found, part)
        )
    assert found == value


BAD = {
    "unknown key": ("trails = 3\n" + MINIMAL, (), "unknown key 'trails'; did you mean 'trials'"),
    "unknown nested key": (MINIMAL, ["compression.recovery.step=3"], r"unknown key 'compression.recovery.step'; did you mean 'compression.recovery.steps'"),
    "unknown task key": (MINIMAL, ['task.name="npz"', "task.fil=3"], r"unknown key 'task.fil'; did you mean 'task.file'"),
    "unknown parameter key": (MINIMAL, ["space.learning_rate.lo=3"], r"unknown key 'space.learning_rate.lo'; did you mean 'space.learning_rate.low'"),
    "unknown task": (MINIMAL, ['task.name="digit"'], "task = .*'digits', 'npz'"),
    "missing key": (MINIMAL.replace('name = "tiny"', ""), (), "the key 'name' is missing"),
    "no end": (MINIMAL.replace("trials = 4", ""), (), "it says neither trials nor hours, so the study would never end"),
    "no time": (MINIMAL, ["hours=0"], "hours = 0 is not allowed: .* greater than 0"),
    "a lag that is too short": (MINIMAL, ["compute.jobs=3", "compute.lag=2"], "lag is 2, below the 3 jobs"),
    "wrong value": (MINIMAL, ["trials=0"], "trials = 0 is not allowed: .* greater than or equal to 1"),
    "renamed key": (MINIMAL, ["compression.calibration=mse"], r"config: the key 'compression.calibration' is called 'compression.activation_ranges' now; write that name instead"),
    "recovery out of range": (MINIMAL, ["compression.recovery.steps=-1"], r"compression.recovery = .* is not allowed: recovery steps is -1; it must be at least 0"),
    "recovery by leaps": (MINIMAL, ["compression.finetune.learning_rate=1.5"], r"finetune.learning_rate is 1.5; a share of the gradient, at most 1"),
    "recovery of no known kind": (MINIMAL, ["compression.finetune.quantisation_aware=lsq"], r"compression.finetune.quantisation_aware = .* is not allowed: .*'none', 'ema' or 'learned'"),
    "wrong method": (MINIMAL, ["compression.method=dqn"], "compression.method = \"dqn\" is not allowed: unknown method of compression 'dqn'.* Allowed: .*, sac, "),
    "unknown outcome": (MINIMAL, ["constraints.0.name=ram_kib"], "unknown constraint 'ram_kib'; did you mean 'ram_bytes'"),
    "no error objective": (MINIMAL.replace("validation_error", "latency_ms"), (), "must include 'validation_error'"),
    "twice": (MINIMAL + '[[constraints]]\nname="ram_bytes"\nupper=1\n', (), "'ram_bytes' is given twice"),
    "confidence in a measurement": (MINIMAL, ["constraints.0.name=download_bytes", "constraints.0.confidence=0.9"], "'download_bytes' asks for a confidence, but it is measured"),
    "global scope with an agent": (MINIMAL, ["compression.method=sac", "compression.scope=global"], "scope = \"global\" needs a method with one keep ratio"),
    "a schedule with an agent": (MINIMAL, ["compression.method=sac", "compression.schedule=agp"], "schedule = \"agp\" needs method = \"fixed\""),
    "a warm start without a learner": (MINIMAL, ["compression.method=greedy", "compression.warm_start=agent.pt"], "warm_start needs a method that learns"),
    "masks with a global scope": (MINIMAL, ["compression.method=fixed", "compression.schedule=agp", "compression.scope=global"], "\"agp\" and scope = \"global\" do not go together"),
    "a family by another name": (MINIMAL, ["network.families=['resnet', 'ds_cnn']"], r"unknown network family 'resnet'; did you mean 'residual'"),
    "an unknown family among several": (MINIMAL, ["network.families=['ds_cnn', 'residul']"], r"network.families = .* is not allowed: unknown network family 'residul'; did you mean 'residual'"),
    "a family twice": (MINIMAL, ["network.families=['ds_cnn', 'residual', 'ds_cnn']"], "the family 'ds_cnn' is listed twice; once is enough"),
    "one family among several": (MINIMAL, ["network.families=['ds_cnn']"], 'list at least two; one alone is the key family, e.g. family = "ds_cnn"'),
    "no family": (MINIMAL, ["network.families=[]"], "list at least two"),
    "one family and several": (MINIMAL, ["network.family=lenet5", "network.families=['ds_cnn', 'residual']"], r'family = "lenet5" and families = \[.*\] exclude each other; drop one'),
    "a module without its family": (MINIMAL, ["network.families=['ds_cnn', 'residual']", "network.module=a:b"], r'families = \[.*\] and module = .a:b. do not go together; .* "module" among the families'),
    "its family without a module": (MINIMAL, ["network.families=['ds_cnn', 'module']"], "and module = None do not go together"),
    "fewer than no repeats": (MINIMAL, ["confirm.seeds=-1"], "confirm.seeds = -1 is not allowed: .* greater than or equal to 0"),
    "repeats that cost something else": (MINIMAL, ["confirm.trainings=true", "compression.low_rank=['none', 'svd']"], "confirm.trainings and compression.rank_by = \"energy\" do not go together"),
    "ideal beyond reference": (MINIMAL, ["objectives.0.ideal=0.9"], "ideal 0.9 must lie below reference 0.5"),
    "bad range": (MINIMAL, ["space.learning_rate.low=1.0"], "low 1 must lie below high 0.01"),
    "not TOML": ("name = \n", (), "is not valid TOML"),
    "override without value": (MINIMAL, ["trials"], "must have the form key=value"),
    "override into a value": (MINIMAL, ["trials.x=1"], "plain value"),
    "override beyond a list": (MINIMAL, ["constraints.5.upper=1"], "list position 0 to 0"),
    "name with a slash": (MINIMAL.replace('"tiny"', '"../x"'), (), "name = .* is not allowed"),
}  # fmt: skip


GROWTH = "space.width_growth={type='ordinal', values=[1.5, 2.0], %s}"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (GROWTH % "when={stages=2}", r"config: space\.width_growth\.when\.stages = 2 is not allowed: .*tuple"),
        (GROWTH % "when=[2]", r"config: space\.width_growth\.when = \[2\] is not allowed: .*dictionary"),
        (GROWTH % "otherwise=1.0", "'width_growth' is always active; drop otherwise, or say when it is active"),
        (GROWTH % "wen={stages=[2]}", r"unknown key 'space\.width_growth\.wen'; did you mean '.*when'\?"),
        ("space.width=[8, 16]", r"space\.width = \[8, 16\] is not allowed: give a plain value to fix it, or a table"),
        ("space.width={low=8, high=16}", r"space\.width = .* is not allowed: .*'type'"),
    ],
)
def test_a_mistake_in_a_hyperparameter_is_told_once(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        parse_config(MINIMAL, [override])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("case", BAD)
def test_a_bad_config_says_what_to_do(case: str) -> None:
    text, overrides, message = BAD[case]
    with pytest.raises(ConfigError, match=message):
        parse_config(text, overrides)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read: No such file"):
        load_config(tmp_path / "none.toml")


def test_every_key_is_documented() -> None:
    """The docstrings are the manual, so each field must be in its class's docstring."""
    sections: list[type] = [StudyConfig]
    for section in sections:
        for name, annotation in keys_of(section).items():
            assert f"    {name}: " in (section.__doc__ or ""), f"{section.__name__}.{name}"
            if isinstance(annotation, type) and (hasattr(annotation, "model_fields") or is_dataclass(annotation)):
                sections.append(annotation)
    assert RecoverySettings in sections


def keys_of(section: type) -> dict[str, object]:
    if is_dataclass(section):
        return {field.name: field.type for field in fields(section)}
    return {name: field.annotation for name, field in section.model_fields.items()}  # type: ignore[attr-defined]


def test_the_example_that_errors_point_to_comes_with_the_package_and_is_complete() -> None:
    assert load_config(EXAMPLE).name == "example"
    with pytest.raises(ConfigError, match=re.escape(f"'name' is missing; see {EXAMPLE} for a complete example")):
        parse_config(EXAMPLE.read_text(encoding="utf-8").replace('name = "example"', ""))


@pytest.mark.parametrize(("overrides", "text"), [((), "4 trials"), (("hours=1.5",), "4 trials or 1.5 h")])
def test_the_budget_is_told_in_words(overrides: tuple[str, ...], text: str) -> None:
    assert parse_config(MINIMAL, overrides).budget == text


def test_hours_alone_are_enough() -> None:
    config = parse_config(MINIMAL.replace("trials = 4", "hours = 2"))
    assert (config.trials, config.budget) == (None, "2 h")
    assert parse_config(config.to_toml()) == config


def test_paths_count_from_the_place_of_the_config_and_then_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies, here = tmp_path / "studies", tmp_path / "here"
    for folder in (studies, here):
        folder.mkdir()
        (folder / "board.toml").touch()
    (here / "data.npz").touch()
    path = studies / "study.toml"
    text = MINIMAL.replace("[device]\n", '[device]\nfile = "board.toml"\n')
    path.write_text(text + '[task]\nname = "npz"\nfile = "data.npz"\n', encoding="utf-8")
    monkeypatch.chdir(here)
    config = load_config(path)
    assert config.device.file == (studies / "board.toml").resolve()
    # What is not there is left to those who read it.
    assert config.task.file == Path("data.npz")  # type: ignore[union-attr]
    # What is said on the command line counts from where that is.
    assert load_config(path, ["device.file=board.toml"]).device.file == Path("board.toml")
    # A run's own config holds it whole.
    assert parse_config(config.to_toml()).device.file == config.device.file
