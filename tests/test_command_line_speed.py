"""Commands that compute nothing start without torch and without the samplers' libraries."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.mobo.synthetic_run import make_run

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "ax", "botorch", "gpytorch", "stable_baselines3", "torch_pruning", "sklearn")

LISTINGS = (("--help",), ("search", "--help"), ("devices",), ("runtimes", "--json"), ("tasks",), ("problems",))

# Runs commands in a fresh interpreter, and says after each which heavy libraries it pulled in.
PROBE = """
import json, sys
from mobo.cli.app import app
found, before = [], set()
for arguments in json.loads(sys.argv[1]):
    app(arguments, standalone_mode=False)
    found.append([name for name in {heavy!r} if name in sys.modules and name not in before])
    before |= set(found[-1])
print("\\n" + json.dumps(found))
"""


def loaded(*commands: Sequence[str], first: str = "") -> list[list[str]]:
    result = subprocess.run(
        [sys.executable, "-c", first + PROBE.format(heavy=HEAVY), json.dumps(commands)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    names: list[list[str]] = json.loads(result.stdout.splitlines()[-1])
    return names


def test_listing_and_help_import_nothing_heavy() -> None:
    assert loaded(*LISTINGS) == [[] for _ in LISTINGS]


def test_the_probe_notices_a_heavy_library() -> None:
    assert loaded(("tasks",), ("devices",), first="import sklearn\n") == [["sklearn"], []]


def test_looking_at_a_run_imports_nothing_heavy(tmp_path: Path) -> None:
    run = str(make_run(tmp_path / "run").path)
    commands = (("front", run), ("watch", run, "--once"), ("pick", run, "--device", "nucleo-f446re"), ("report", run))
    assert loaded(*commands) == [[], [], [], []]
