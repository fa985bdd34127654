import json

import pytest
from typer.testing import CliRunner

import mobo
from hw_models.device import load_devices
from hw_models.runtime import runtime_names
from mobo.benchmark.problems import problem_names
from mobo.cli.app import app
from mobo.samplers import sampler_names
from mobo.tinyml.tasks import task_names

cli = CliRunner()


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("devices", tuple(sorted(load_devices()))),
        ("runtimes", runtime_names()),
        ("tasks", task_names()),
        ("samplers", sampler_names()),
        ("problems", problem_names()),
    ],
)
def test_lists_name_everything_in_text_and_json(command: str, names: tuple[str, ...]) -> None:
    text = cli.invoke(app, [command])
    assert text.exit_code == 0
    for name in names:
        assert name in text.output
    objects = json.loads(cli.invoke(app, [command, "--json"]).stdout)
    assert sorted(entry["name"] for entry in objects) == sorted(names)
    assert all(entry["name"] == entry["name"].lower() for entry in objects)


def test_devices_say_what_a_search_needs() -> None:
    objects = {entry["name"]: entry for entry in json.loads(cli.invoke(app, ["devices", "--json"]).stdout)}
    board = objects["nucleo-l4r5zi"]
    assert (board["core"], board["clock_mhz"], board["flash_kib"], board["sram_kib"]) == ("cortex-m4", 120, 2048, 640)
    assert board["runtime"] == "tflm-cmsis-nn"
    assert board["borrowed"] is False
    assert objects["nucleo-h743zi2"]["borrowed"] is False
    assert objects["nucleo-u575zi-q"]["borrowed"] is True
    assert board["measured_rows"]["conv_1d"] > 0 == board["measured_rows"]["conv_kxk"]
    assert not any(objects["nucleo-u575zi-q"]["measured_rows"].values())
    (line,) = (line for line in cli.invoke(app, ["devices"]).stdout.splitlines() if line.startswith("nucleo-l4r5zi "))
    assert "conv_1d conv_1x1 pool add other" in line


def test_the_version_is_printed() -> None:
    result = cli.invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"mobo {mobo.__version__}\n")


@pytest.mark.parametrize("command", [None, *(str(command.name) for command in app.registered_commands)])
def test_no_help_points_to_what_an_installed_package_lacks(command: str | None) -> None:
    result = cli.invoke(app, [*([command] if command else []), "--help"])
    assert result.exit_code == 0
    assert not [folder for folder in ("experiments", "results/", "tests/") if folder in result.output]


@pytest.mark.parametrize(
    "command", ["search", "front", "pick", "report", "validate", "devices", "runtimes", "tasks", "samplers", "problems"]
)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = cli.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert f"Example: mobo {command}" in result.output


def test_a_mistyped_command_or_option_is_bad_input() -> None:
    assert cli.invoke(app, ["frnt"]).exit_code == 2
    assert cli.invoke(app, ["front", "x", "--jsn"]).exit_code == 2
