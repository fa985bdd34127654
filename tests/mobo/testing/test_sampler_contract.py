"""The suite passes for the page's example and fails for every kind of broken sampler."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import mobo.samplers

ROOT = Path(__file__).resolve().parents[3]
PAGE = Path(str(mobo.samplers.__file__)).with_name("README.md")

# Each breaks one promise: the body of a class derived from the random sampler, and the test that must notice.
BROKEN = {
    "Empty": ("def suggest(self, count): return []", "a_difficult_history"),
    "Short": ("def suggest(self, count): return super().suggest(count)[:1]", "several_designs_at_once_differ"),
    "Forgetful": ("def observe(self, trials): pass", "a_small_space_is_used_up"),
    "Moody": (
        "def suggest(self, count): return [self.space.decode(np.random.default_rng().random(len(self.space)))"
        " for _ in range(count)]",
        "suggestions_are_repeatable",
    ),
    "Global": (
        "def suggest(self, count): np.random.random(); return super().suggest(count)",
        "the_global_generators_are_left_alone",
    ),
    "Outside": (
        "def suggest(self, count): return [Design({**d, 'x': 2.0}) for d in super().suggest(count)]",
        "the_first_designs_lie_inside",
    ),
    "Mutating": (
        "def observe(self, trials):\n"
        "        super().observe(trials)\n"
        "        for trial in trials: object.__setattr__(trial, 'outcome', {})",
        "suggestions_are_repeatable",
    ),
    "Clearing": (
        "def observe(self, trials):\n        super().observe(trials)\n        trials.clear()",
        "suggestions_are_repeatable",
    ),
    "Seedless": (
        "def __init__(self, *args, seed, **kwargs): super().__init__(*args, seed=0, **kwargs)",
        "another_seed_gives_another_start",
    ),
    "Gullible": ("def observe(self, trials): self.history._needed = (); super().observe(trials)", "no_finite_number"),
    "Demanding": ("class Settings(BaseModel):\n        needed: int\n    settings = {}", "every_setting_has_a_default"),
}


def run(folder: Path, *files: str) -> list[str]:
    """Run pytest on files of a folder and return the tests that did not pass, as ``class::test``."""
    command = [sys.executable, "-m", "pytest", "-rfE", "--tb=no", "-p", "no:cacheprovider", *files]
    result = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={"PYTHONPATH": f"{ROOT}:{folder}"}
    )
    assert "passed" in result.stdout, result.stdout + result.stderr
    assert "test_my_samplers.py" in result.stdout
    return re.findall(r"^(?:FAILED|ERROR) \S+?\.py::(\S+)", result.stdout, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What fails of the suite on the page's example and on every kind of broken sampler."""
    folder = tmp_path_factory.mktemp("samplers")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    code, test = (block for block in blocks if "Nearby" in block)
    (folder / "my_samplers.py").write_text(code, encoding="utf-8")
    (folder / "test_my_samplers.py").write_text(test, encoding="utf-8")
    parts = [
        "import numpy as np\nfrom pydantic import BaseModel\nfrom mobo.samplers.random import RandomSampler\n"
        "from mobo.space.search_space import Design\nfrom mobo.testing import SamplerContract\n"
    ]
    for name, (body, _) in BROKEN.items():
        parts.append(f"class {name}(RandomSampler):\n    {body}\n")
        parts.append(f"class Test{name}(SamplerContract):\n    sampler_class = {name}\n")
    parts.append("class TestNothing(SamplerContract):\n    pass\n")
    (folder / "test_broken.py").write_text("\n".join(parts), encoding="utf-8")
    # The example first: a broken sampler may change the trials that the suite shows to all.
    return run(folder, "test_my_samplers.py", "test_broken.py")


def test_the_page_s_example_keeps_every_promise(failed: list[str]) -> None:
    broken = {f"Test{name}" for name in (*BROKEN, "Nothing")}
    assert [line for line in failed if line.partition("::")[0] not in broken] == []


def test_every_kind_of_broken_sampler_fails(failed: list[str]) -> None:
    unseen = [
        name
        for name, (_, test) in BROKEN.items()
        if not any(line.startswith(f"Test{name}::") and test in line for line in failed)
    ]
    assert not unseen, failed
    # A class that states no sampler passes nothing.
    assert sum(line.startswith("TestNothing::") for line in failed) > 20


def test_without_pytest_the_import_says_what_to_install() -> None:
    program = "import sys; sys.modules['pytest'] = None; import mobo.testing"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "mobo.testing needs pytest, which is not installed: pip install" in result.stderr


def test_nothing_else_imports_it() -> None:
    program = (
        "import sys, mobo.samplers, mobo.search, mobo.cli.app;"
        "assert 'pytest' not in sys.modules and 'mobo.testing' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
