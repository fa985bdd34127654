"""The tools that guides to embedded machine learning name, on the job itself, and ours beside them.

    python -m experiments.rivals.table --environments DIR --minutes 10

Every rival runs in an environment of its own (``DIR/<name>/venv``, made from its ``requirements.txt`` where it is
missing), on one thread, until it and its children have used their processor time. Then it delivers what its
documentation calls the result, its best network or its front; that is converted to int8, measured and priced. Rows are
kept as they end, so a stopped command goes on.
"""

import argparse
import contextlib
import ctypes
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from experiments.rivals.models import convert_torch, measure, our_front
from experiments.rivals.splits import TASKS, study_of, write_splits
from experiments.searches.front_per_second import ARMS, OURS, STUDIES
from mobo.base.markdown import table
from mobo.base.rows import Row, RowFile
from mobo.space.pareto import hypervolume
from mobo.tinyml.tasks import load_task

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
QUICKSTART = ROOT / "experiments" / "searches" / "quickstart.toml"
US = "mobo"
RIVALS: Mapping[str, str] = {
    US: "ours",
    "optuna": "Optuna",
    "ax": "Ax",
    "ray_tune": "Ray Tune",
    "nni": "NNI",
    "keras_tuner": "Keras Tuner",
    "autokeras": "AutoKeras",
    "autogluon": "AutoGluon",
}
"""Folder (module ``search``) and name of every rival."""

COLUMNS = (
    "task", "rival", "minutes", "seed", "model", "processor_s", "trained", "validation_error", "test_error",
    "flash_model_bytes", "ram_bytes", "latency_ms", "fits_board", "keeps_limits", "install_mib", "note",
)  # fmt: skip
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS",
           "TF_NUM_INTEROP_THREADS")  # fmt: skip
_LOOKS, _LONGEST_POLL_S = 50, 2.0
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of Linux's prctl
_MIB = 2**20


@dataclass(frozen=True)
class Used:
    """What a limited command took.

    Attributes:
        processor_s: Processor time of it and all its children, those that left it included.
        exit_code: Its exit code; None if the limit ended it.
    """

    processor_s: float
    exit_code: int | None


def run_for(command: Sequence[str], seconds: float, *, log: Path, environment: Mapping[str, str]) -> Used:
    """Run a command until it ends, or until it and all it started have used so much processor time; then kill them.

    What loses its parent becomes a child of this process meanwhile, so daemons are counted and killed, too. Linux only.
    """
    with _adopting():
        return _limited(command, seconds, log=log, environment=environment)


@contextlib.contextmanager
def _adopting() -> Iterator[None]:
    """Let orphans become children of this process, but not for longer: who does not expect them reaps none."""
    set_subreaper = partial(ctypes.CDLL(None).prctl, _SUBREAPER)
    set_subreaper(1, 0, 0, 0)
    try:
        yield
    finally:
        set_subreaper(0, 0, 0, 0)


def _limited(command: Sequence[str], seconds: float, *, log: Path, environment: Mapping[str, str]) -> Used:
    others, before_s = set(_children().get(os.getpid(), ())), _ended_s()
    with log.open("a") as stream:
        process = subprocess.Popen(command, cwd=ROOT, env=dict(environment), stdout=stream, stderr=stream)
    used_s = 0.0
    try:
        while process.poll() is None and used_s < seconds:
            time.sleep(min(seconds / _LOOKS, _LONGEST_POLL_S))
            living = _descendants(others)
            used_s = max(used_s, _ended_s() - before_s + sum(_processor_s(pid) for pid in living))
            _reap(_descendants(others), process.pid)
        return Used(used_s, process.returncode)
    finally:
        while living := _descendants(others):
            for pid in living:
                _kill(pid)
            process.poll()
            _reap(living, process.pid)


def _children() -> Mapping[int, Sequence[int]]:
    found: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (fields := _fields(int(folder.name))):
            found.setdefault(int(fields[1]), []).append(int(folder.name))
    return found


def _fields(pid: int) -> Sequence[str]:
    """Return the fields of ``/proc/<pid>/stat`` from the state on; none where the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return ()


def _descendants(others: Iterable[int]) -> Sequence[int]:
    children = _children()
    waiting = [pid for pid in children.get(os.getpid(), ()) if pid not in others]
    found = []
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], ())
    return found


def _processor_s(pid: int) -> float:
    fields = _fields(pid)
    # User and system time of the process, and of its children that it has waited for.
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def _ended_s() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def _reap(living: Iterable[int], command: int) -> None:
    """Wait for ended processes that became ours; the command itself is its Popen's."""
    for pid in living:
        fields = _fields(pid)
        if pid != command and fields and fields[0] == "Z" and int(fields[1]) == os.getpid():
            os.waitpid(pid, 0)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def environment_of(rival: str, environments: Path) -> Path:
    """Return the Python of a rival's environment, made first where there is none; ours is this one.

    Raises:
        CalledProcessError: Its requirements cannot be installed.
    """
    if rival == US:
        return Path(sys.executable)
    python = environments.absolute() / rival / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
        requirements = str(HERE / rival / "requirements.txt")
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", requirements], check=True)
    return python


def extensions_of(python: Path) -> Path:
    """Return where an environment keeps what torch compiles in it, without the locks of what was killed meanwhile.

    BoTorch compiles at its first suggestion. In the user's folder, a lock left behind would make everybody's next
    suggestion wait for ever.
    """
    folder = python.parents[1] / "torch_extensions"
    for lock in folder.glob("*/lock"):
        lock.unlink()
    return folder


def install_mib(python: Path) -> int:
    """Return the size of an environment."""
    folder = python.parents[1]
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) // _MIB


def user_lines(rival: str) -> int:
    """Return how many lines a user writes, blank ones and comments aside: script and what it shares, or our config."""
    script = QUICKSTART if rival == US else HERE / rival / "search.py"
    shared = [HERE / "torch_networks.py"] if "torch_networks" in script.read_text() else []
    lines = [line.strip() for path in (script, *shared) for line in path.read_text().splitlines()]
    return sum(bool(line) and not line.startswith("#") for line in lines)


def rows_of(rival: str, task: str, folder: Path, given: argparse.Namespace) -> list[dict[str, object]]:
    """Run one rival on one task and return a row for every network it delivers, or one that says why there is none."""
    shutil.rmtree(folder, ignore_errors=True)
    splits = write_splits(task, folder)
    config = study_of(task, folder, seed=given.seed)
    python = environment_of(rival, given.environments)
    environment = {**os.environ, **dict.fromkeys(THREADS, "1"), "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    if rival != US:
        environment["TORCH_EXTENSIONS_DIR"] = str(extensions_of(python))
    asked = [str(python), "-m", f"experiments.rivals.{rival}.search", str(splits), str(folder), str(given.seed)]
    asked.append(str(60 * given.minutes))
    if rival == US:
        asked = [str(python), "-m", "mobo", "search", str(folder / "study.toml"), *ARMS[OURS].overrides]
        asked += ["--out", str(folder / "run")]
    used = run_for(asked, 60 * given.minutes, log=folder / "log.txt", environment=environment)
    cell: dict[str, object] = {
        "task": task, "rival": rival, "minutes": f"{given.minutes:g}", "seed": given.seed,
        "install_mib": install_mib(python), "processor_s": round(used.processor_s, 1),
    }  # fmt: skip
    data, delivered = load_task(config.task), folder / "delivered"
    if rival == US:
        trained: object = our_front(folder / "run", delivered)
    else:
        run_for([*asked, "--deliver"], float("inf"), log=folder / "log.txt", environment=environment)
        convert_torch(delivered, data)
        counted = folder / "trained.txt"
        trained = counted.read_text() if counted.exists() else None
    models = measure(delivered, data, config) if delivered.exists() else ()
    if not models:
        return [_row({**cell, "trained": trained, "note": f"delivered nothing; exit code {used.exit_code}"})]
    return [_row({**cell, "trained": trained, "model": model.name, **_figures(asdict(model))}) for model in models]


def _figures(model: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in model.items() if name != "name"}


def _row(values: Mapping[str, object]) -> dict[str, object]:
    return {name: values.get(name) for name in COLUMNS}


def summary(rows: Iterable[Row], lines: Mapping[str, int]) -> str:
    """Return the table as Markdown: of every rival the network with the lowest validation error, also within limits.

    Args:
        rows: Rows of the file; of a task that has any, every rival has a line.
        lines: Lines a user writes, by rival.
    """
    cells: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        for rival in RIVALS:
            cells.setdefault((row["task"], row["minutes"], rival), [])
        cells[row["task"], row["minutes"], row["rival"]].append(row)
    return table(
        ["task", "minutes", "tool", "networks trained", "front", "best test error", "its flash, KiB", "its RAM, KiB",
         "its latency, ms", "fits the board", "keeps the limits", "best test error within the limits",
         "test hypervolume", "lines written", "install, MiB"],
        [_line(key, cells[key], lines) for key in cells],
    )  # fmt: skip


def _line(key: tuple[str, str, str], rows: Sequence[Row], lines: Mapping[str, int]) -> list[object]:
    task, minutes, rival = key
    head = [task, minutes, RIVALS[rival]]
    if not rows:
        return [*head, None, None, "not run yet", *[None] * 7, lines[rival], None]
    tail = [lines[rival], rows[0]["install_mib"]]
    models = [row for row in rows if row["model"]]
    if not models:
        return [*head, rows[0]["trained"] or None, 0, rows[0]["note"], *[None] * 7, *tail]
    chosen = _best(models)
    kept = [row for row in models if row["keeps_limits"] == "True"]
    return [
        *head, chosen["trained"] or None, len(models), _percent(chosen), _kib(chosen["flash_model_bytes"]),
        _kib(chosen["ram_bytes"]), f"{float(chosen['latency_ms']):.2f}", _yes(chosen["fits_board"]),
        _yes(chosen["keeps_limits"]), _percent(_best(kept)) if kept else None,
        f"{_hypervolume(task, kept):.3f}", *tail,
    ]  # fmt: skip


def _hypervolume(task: str, kept: Sequence[Row]) -> float:
    """Return that of the networks within the limits, by test error, flash and latency and our study's references."""
    limits = tomllib.loads(STUDIES.read_text())[task]["limits"]
    names = {"test_error": "error", "flash_model_bytes": "flash_bytes", "latency_ms": "latency_ms"}
    Y = np.array([[float(row[name]) for name in names] for row in kept]).reshape(len(kept), len(names))
    return hypervolume(Y, [0.0] * len(names), [float(limits[name]) for name in names.values()])


def _best(models: Sequence[Row]) -> Row:
    return min(models, key=lambda row: (float(row["validation_error"]), int(row["flash_model_bytes"])))


def _percent(row: Row) -> str:
    return f"{100 * float(row['test_error']):.2f} %"


def _kib(value: str) -> str:
    return f"{int(value) / 1024:.1f}"


def _yes(value: str) -> str:
    return "yes" if value == "True" else "no"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/searches/rivals/rows.csv"), help="one row a network")
    parser.add_argument("--work", type=Path, default=Path("runs/rivals"), help="what the searches leave")
    parser.add_argument("--environments", type=Path, default=Path("runs/rivals-environments"))
    parser.add_argument("--minutes", type=float, default=10.0, help="processor time of a search")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--rivals", nargs="*", choices=tuple(RIVALS), default=tuple(RIVALS))
    given = parser.parse_args(arguments)
    rows = RowFile(given.out, key=COLUMNS[:4], columns=COLUMNS)
    for task in given.tasks:
        for rival in given.rivals:
            if (task, rival, f"{given.minutes:g}", given.seed) not in rows:
                folder = given.work.absolute() / f"{task}-{rival}-{given.seed}"
                rows.add(rows_of(rival, task, folder, given))
    print(summary(rows, {rival: user_lines(rival) for rival in RIVALS}))


if __name__ == "__main__":
    main()
