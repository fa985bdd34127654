"""Starting ``mobo`` in a folder that has packages of our names."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mobo.__main__ import BESIDE, main, misplaced

ROOT = Path(__file__).resolve().parents[2]
# As from a wheel: of the checkout nothing is found but by this path.
STARTED = [sys.executable, "-m", "mobo"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a user's folder with packages and a module of our names."""
    for name in ("envs", "experiments"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not ours')\n")
    (tmp_path / "hw_models.py").write_text("raise RuntimeError('not ours')\n")
    return tmp_path


def started(
    command: Sequence[str], folder: Path, search_path: Sequence[Path] = (ROOT,)
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, search_path))}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_packages_of_our_names_in_the_current_folder_break_nothing(folder: Path) -> None:
    result = started([*STARTED, "devices"], folder)
    assert result.returncode == 0, result.stderr
    assert "nucleo-l4r5zi" in result.stdout


def test_in_the_checkout_itself_its_own_packages_are_taken() -> None:
    result = started([*STARTED, "--version"], ROOT, ())
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", BESIDE)
def test_one_that_comes_first_on_the_path_is_named_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    result = started([*STARTED, "devices"], ROOT.parent, (tmp_path, ROOT))
    assert result.returncode == 2
    assert result.stderr == (
        f"error: {tmp_path / name} would be imported in the place of {ROOT / name}, which mobo needs; rename it, or "
        "take its folder out of PYTHONPATH\n"
    )


def test_nothing_is_misplaced_in_these_tests() -> None:
    assert misplaced() == ()


def test_the_command_that_pip_installs_is_this_one() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert 'mobo = "mobo.__main__:main"' in text
    assert main.__module__ == "mobo.__main__"
