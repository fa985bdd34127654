"""Commands that compute nothing start without torch and without the samplers' libraries."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mobo.synthetic_run import make_run

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "ax", "botorch", "gpytorch", "stable_baselines3", "torch_pruning", "sklearn")

# Runs the command in a fresh interpreter, then says which heavy libraries it pulled in.
PROBE = """
import json, sys
from mobo.cli.app import app
app(sys.argv[1:], standalone_mode=False)
print("\\n" + json.dumps([name for name in {heavy!r} if name in sys.modules]))
"""


def loaded(*arguments: str) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", PROBE.format(heavy=HEAVY), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    names: list[str] = json.loads(result.stdout.splitlines()[-1])
    return names


@pytest.mark.parametrize(
    "arguments", [["--help"], ["search", "--help"], ["devices"], ["runtimes", "--json"], ["tasks"], ["problems"]]
)
def test_listing_and_help_import_nothing_heavy(arguments: list[str]) -> None:
    assert loaded(*arguments) == []


def test_the_probe_notices_a_heavy_library() -> None:
    source = "import sklearn\n" + PROBE.format(heavy=HEAVY)
    result = subprocess.run(
        [sys.executable, "-c", source, "tasks"], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    assert json.loads(result.stdout.splitlines()[-1]) == ["sklearn"]


def test_looking_at_a_run_imports_nothing_heavy(tmp_path: Path) -> None:
    run = str(make_run(tmp_path / "run").path)
    assert loaded("front", run) == []
    assert loaded("watch", run, "--once") == []
    assert loaded("pick", run, "--device", "nucleo-f446re") == []
    assert loaded("report", run) == []
