"""What the pages promise exists: commands, targets, files, modules."""

import importlib.util
import re
from pathlib import Path

import pytest

from mobo.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    path for path in sorted(ROOT.rglob("*.md")) if not {".venv", "runs", "build"} & set(path.relative_to(ROOT).parts)
]


def commands() -> set[str]:
    return {str(command.name) for command in app.registered_commands}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
class TestPage:
    def test_links_lead_somewhere(self, page: Path) -> None:
        targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
        local = [target for target in targets if "://" not in target]
        assert not [target for target in local if not (page.parent / target).exists()]

    def test_commands_exist(self, page: Path) -> None:
        text = page.read_text(encoding="utf-8")
        named = set(re.findall(r"(?:^|[`\s])mobo ([a-z]+)\b(?= |`|$)", text, flags=re.MULTILINE))
        assert named <= commands()

    def test_modules_exist(self, page: Path) -> None:
        modules = re.findall(r"python -m ((?:experiments|mobo)[\w.]*)", page.read_text(encoding="utf-8"))
        assert not [name for name in modules if importlib.util.find_spec(name) is None]

    def test_make_targets_exist(self, page: Path) -> None:
        targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
        named = set(re.findall(r"(?:^    |`)make ([a-z]+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE))
        assert named <= targets


def test_the_readme_gives_the_two_commands_first() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.index("make demo") < text.index("make test") < text.index("## ")


def test_the_page_of_experiments_has_them_all() -> None:
    folder = ROOT / "experiments"
    text = (folder / "README.md").read_text(encoding="utf-8")
    scripts = [path for path in folder.rglob("*.py") if '__name__ == "__main__"' in path.read_text(encoding="utf-8")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__") for path in scripts]
    assert len(names) > 10
    assert not [name for name in names if f"python -m {name}" not in text]
    # A command with configs of its own is called with their names.
    configs = [path.stem if path.parent.name == "configs" else path.name for path in folder.rglob("*.toml")]
    assert not [name for name in configs if name not in text]
