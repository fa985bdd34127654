"""The arrows between the rooms point one way, heavy libraries stay behind their doors, light imports stay light."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import mobo

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("hw_models", "envs", "mobo", "experiments")

# Heavy library -> the only places that may import it.
DOORS = {
    "stable_baselines3": ("envs/search/agent/", "experiments/examples/sac_on_the_environment.py"),
    "torch_pruning": ("envs/compression/",),
    "ax": ("mobo/samplers/", "mobo/benchmark/peers/ax_user.py", "experiments/rivals/ax/"),
    "optuna": ("mobo/benchmark/peers/", "mobo/runs/optuna_study.py", "experiments/rivals/optuna/"),
    "ray": (
        "mobo/base/ray_actor.py",
        "mobo/base/ray_cluster.py",
        "mobo/ray.py",
        "experiments/code/cluster_kills.py",
        "experiments/rivals/ray_tune/",
    ),
    "tensorboard": ("mobo/runs/tensorboard_events.py",),
    "botorch": (
        "mobo/samplers/",
        "mobo/benchmark/problems/botorch_functions.py",
        "mobo/samplers/model/surrogate.py",
        "mobo/samplers/model/acquisition.py",
    ),
    "gpytorch": ("mobo/samplers/", "mobo/samplers/model/surrogate.py"),
    "pymoo": ("mobo/samplers/nsga2/breeding.py",),
    "tflite_micro": ("mobo/export/",),
    "ai_edge_litert": ("mobo/export/",),
    "flatbuffers": ("mobo/export/",),
    "onnx": ("mobo/export/", "mobo/tinyml/networks/files/from_onnx/"),
    "onnxruntime": ("mobo/export/",),
    "serial": ("mobo/export/firmware/",),
    "plotly": ("mobo/report/",),
    "mlxtend": ("mobo/tinyml/tasks/",),
    "PIL": (
        "mobo/tinyml/tasks/",
        "experiments/benchmarks/large_folder.py",
        "experiments/code/fuzz_readers.py",
        "experiments/rivals/data_folders.py",
    ),
    "pytest": ("mobo/testing/",),
    "typer": ("mobo/cli/", "experiments/"),
}


def sources() -> list[Path]:
    return [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


@cache
def import_statements(path: Path) -> list[ast.AST]:
    """Return every import of a file, wherever it stands; read once for all the tests."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def imported(path: Path) -> set[str]:
    """Return every dotted name a file imports, wherever in the file it does."""
    names: set[str] = set()
    for node in import_statements(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; name the package"
            names.add(node.module or "")
    return names


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imported_modules(path: Path, known: set[str]) -> set[str]:
    """Return the modules of ours that a file imports, wherever in the file it does; a package is its ``__init__``."""
    found: set[str] = set()
    for node in import_statements(path):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [
                f"{node.module}.{alias.name}"
                if {f"{node.module}.{alias.name}", f"{node.module}.{alias.name}.__init__"} & known
                else str(node.module)
                for alias in node.names
            ]
        else:
            continue
        found |= {name if name in known else f"{name}.__init__" for name in names}
    return found & known


def circles(imports: dict[str, set[str]]) -> list[str]:
    """Return the circles among the children of every package; a folder counts as one child with all it holds."""
    edges: dict[tuple[str, ...], dict[str, set[str]]] = {}
    for importer, targets in imports.items():
        for target in targets:
            a, b = importer.split("."), target.split(".")
            depth = next(i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y) if a != b else len(a) - 1
            edges.setdefault(tuple(a[:depth]), {}).setdefault(a[depth], set()).add(b[depth])
    return [
        f"{'.'.join(package) or 'rooms'}: {' <-> '.join(sorted(circle))}"
        for package, graph in sorted(edges.items())
        for circle in _components(graph)
    ]


def _components(graph: dict[str, set[str]]) -> list[set[str]]:
    reach = {node: _reachable(graph, node) for node in graph}
    return [
        circle
        for node in sorted(graph)
        if node in reach[node]
        and node == min(circle := {other for other in reach[node] if node in reach.get(other, ())})
    ]


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += graph.get(node, ())
    return seen


def back_arrows(room: str, names: set[str]) -> set[str]:
    later = ROOMS[ROOMS.index(room) + 1 :]
    return {name for name in names if name.split(".")[0] in (*later, "tests")}


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_arrow_points_back(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    assert not back_arrows(room, imported(path)), "hw_models <- envs <- mobo <- experiments"


def test_a_back_arrow_would_be_seen() -> None:
    assert back_arrows("hw_models", {"envs.errors", "numpy", "hw_models.graph.layer_graph"}) == {"envs.errors"}
    assert back_arrows("mobo", {"experiments", "envs"}) == {"experiments"}


def test_nothing_imports_in_a_circle() -> None:
    known = {module_name(path) for path in sources()}
    assert not circles({module_name(path): imported_modules(path, known) for path in sources()})


def test_a_circle_would_be_seen() -> None:
    assert circles({"mobo.a": {"mobo.b"}, "mobo.b": {"mobo.a"}}) == ["mobo: a <-> b"]
    folders = {"mobo.x.one": {"mobo.y.two"}, "mobo.y.three": {"mobo.x.four"}, "mobo.x.four": set(), "mobo.y.two": set()}
    assert circles(folders) == ["mobo: x <-> y"]
    assert not circles({"mobo.a": {"mobo.b", "mobo.c"}, "mobo.b": {"mobo.c"}, "mobo.c": set()})


@pytest.mark.parametrize("library", DOORS)
def test_heavy_libraries_stay_behind_their_door(library: str) -> None:
    outside = [
        str(path.relative_to(ROOT))
        for path in sources()
        if any(name.split(".")[0] == library for name in imported(path))
        and not str(path.relative_to(ROOT)).startswith(DOORS[library])
    ]
    assert not outside


def test_torch_in_hw_models_is_in_one_folder() -> None:
    users = {
        path.parent.name
        for path in sorted((ROOT / "hw_models").rglob("*.py"))
        if any(name.split(".")[0] == "torch" for name in imported(path))
    }
    assert users == {"from_torch"}


@pytest.mark.parametrize(
    "statement",
    ["import hw_models", "import envs", "import mobo", "import mobo.cli.app", "import mobo.tinyml.config"],
)
def test_importing_a_room_does_not_import_torch(statement: str) -> None:
    code = f"{statement}; import sys; print([m for m in ('torch', 'ax', 'botorch', 'plotly') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


def test_the_test_tree_mirrors_the_code() -> None:
    stray = [
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in (ROOT / "tests" / room).rglob("*")
        if path.is_dir() and path.name != "__pycache__" and not (ROOT / path.relative_to(ROOT / "tests")).is_dir()
    ]
    assert not stray


def test_the_tests_are_one_package() -> None:
    # Without this file an installed package of the same name would come before them; the folders inside need none.
    assert list((ROOT / "tests").rglob("__init__.py")) == [ROOT / "tests" / "__init__.py"]


@pytest.mark.parametrize("name", mobo.__all__)
def test_every_public_name_leads_somewhere(name: str) -> None:
    assert getattr(mobo, name).__name__ == name


def test_another_name_does_not() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Sudy'"):
        mobo.__getattr__("Sudy")
