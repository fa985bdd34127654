"""What the pages promise exists: commands, targets, files, modules."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

from mobo.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
# What a user's own work leaves in a checkout, for a copy without git.
NOT_OURS = {".venv", "runs", "exported", "build", "dist"}


def our_files(root: Path, suffix: str) -> list[Path]:
    """Return the project's files of a kind: what git tracks, never what a user's runs and exports left beside them."""
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "ls-files", "-z", f"*{suffix}"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
        # A file that is moved but not yet committed is listed and not there.
        return [root / name for name in sorted(listed) if name and (root / name).is_file()]
    found = sorted(root.rglob(f"*{suffix}"))
    return [path for path in found if not NOT_OURS & set(path.relative_to(root).parts)]


PAGES = our_files(ROOT, ".md")


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


@pytest.mark.parametrize("with_git", [True, False])
def test_a_users_files_are_not_judged(tmp_path: Path, with_git: bool) -> None:
    ours, theirs = tmp_path / "README.md", tmp_path / "exported/quickstart-001/c/README.md"
    theirs.parent.mkdir(parents=True)
    for page in (ours, theirs):
        page.write_text("a page")
    if with_git:
        for command in (["init", "-q"], ["add", "README.md"]):
            subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    assert our_files(tmp_path, ".md") == [ours]


def test_the_pages_are_found() -> None:
    assert {ROOT / "README.md", ROOT / "mobo/samplers/README.md"} <= set(PAGES)


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
