"""The wheel: everything that is read at run time is in it, nothing else is, and it works from any folder."""

import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from mobo.benchmark import keyword_table
from tests.test_readme import ROOT, our_files

ROOMS = ("hw_models", "envs", "mobo")
BUILT_FROM = (*ROOMS, "experiments", "pyproject.toml", "README.md", "LICENSE")
BENCHMARK = """
name = "shipped-table"
seeds = [0]
evaluations = 4
initial_trials = 2
[[problems]]
name = "tabular"
[[samplers]]
name = "random"
"""
LAYERS = """\
layer,op,input_shape,output_shape,kernel,stride,cin,cout,macs,inputs
stem,CONV_2D,1x8x8x1,1x6x6x4,3x3,1x1,1,4,1296,input
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("build") is None, reason='no build: pip install -e ".[release]"'),
]


def tracked() -> list[Path]:
    """Return the files a wheel is made of, relative to the checkout."""
    files = [path.relative_to(ROOT) for path in our_files(ROOT, "")]
    return [path for path in files if path.parts[0] in BUILT_FROM]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it from a copy: what the build leaves behind must not lie in the checkout."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for path in tracked():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes((ROOT / path).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(wheel)]
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    return folder


def python(installed: Path, folder: Path, *arguments: str) -> str:
    """Run the installed packages in a folder that has nothing to do with the checkout, and return what is printed."""
    environment = os.environ | {"PYTHONPATH": str(installed), "COLUMNS": "200"}
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_it_holds_all_of_the_three_rooms_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    pages = {".md"}  # Pages are read in the checkout.
    expected = {path.as_posix() for path in tracked() if path.parts[0] in ROOMS and path.suffix not in pages}
    assert names == expected


def test_its_version_is_that_of_the_package(wheel: Path, installed: Path, tmp_path: Path) -> None:
    version = python(installed, tmp_path, "-m", "mobo", "--version").strip()
    assert wheel.name.split("-")[1] == version.removeprefix("mobo ")
    where = python(installed, tmp_path, "-c", "import mobo, envs, hw_models; print(mobo.__file__, envs.__file__)")
    assert all(path.startswith(str(installed)) for path in where.split())


@pytest.mark.parametrize("command", ["devices", "runtimes", "tasks", "samplers", "problems"])
def test_its_lists_work_anywhere(command: str, installed: Path, tmp_path: Path) -> None:
    assert len(python(installed, tmp_path, "-m", "mobo", command).splitlines()) > 3


def test_its_example_is_found_from_the_error_and_goes_all_the_way(installed: Path, tmp_path: Path) -> None:
    asked = 'from mobo.tinyml.config import EXAMPLE; print(EXAMPLE.read_text("utf-8"))'
    (tmp_path / "study.toml").write_text(python(installed, tmp_path, "-c", asked), encoding="utf-8")
    assert "estimated time" in python(installed, tmp_path, "-m", "mobo", "validate", "study.toml")
    python(installed, tmp_path, "-m", "mobo", "search", "study.toml", "--out", "run")
    best = (tmp_path / "run/front.csv").read_text().splitlines()[1].split(",")[0]
    python(installed, tmp_path, "-m", "mobo", "export", "run", best, "--format", "c", "--out", "out")
    assert (tmp_path / "out/c/bare_metal/cortex_m.ld").is_file()


def test_it_has_the_table_of_designs(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "benchmark.toml").write_text(BENCHMARK, encoding="utf-8")
    python(installed, tmp_path, "-m", "mobo", "benchmark", "benchmark.toml", "--out", "out")
    assert (tmp_path / "out").is_dir()


def test_its_table_answers_as_that_of_the_checkout_on_any_board(installed: Path, tmp_path: Path) -> None:
    asked = "from mobo.benchmark import keyword_table as t; print(t().query(t().designs[7], 'nrf52840-dk'))"
    assert python(installed, tmp_path, "-c", asked).strip() == str(
        keyword_table().query(keyword_table().designs[7], "nrf52840-dk")
    )


def test_it_costs_a_network_file(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "layers.csv").write_text(LAYERS, encoding="utf-8")
    assert "KiB" in python(installed, tmp_path, "-m", "mobo", "cost", "layers.csv", "--device", "nucleo-l4r5zi")
