"""Moments of a search at which it, or one of its workers, is killed: named, and met by the process itself.

A process is *armed* with a :class:`Trap` and kills itself (SIGKILL) when it arrives at the moment, before what the
moment names has happened, or a random time of up to ``within_s`` into it. Files are seen by Python's audit events, the
store by the statements that SQLite is given, and the steps of a trial by wrapping the methods that take them; nothing
of the search knows of it. Where trials run in workers the trap lies in these, for the moments of a trial.
"""

import os
import re
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Literal

SEARCH, WORKER = "search", "worker"

_MODEL = r"/models/\.\d+\.[0-9a-f]+\.part"
_SAVE = r"INSERT INTO trials VALUES .*'{}'"
_COMMIT = _SAVE + r".*COMMIT$"


@dataclass(frozen=True)
class Moment:
    """A place in the code.

    Attributes:
        stage: Which part of a search it belongs to.
        what: What is about to happen there, for people.
        event: An audit event of Python; ``sql`` for a statement, ``call`` for a method.
        pattern: Of the path (of what is renamed: the old and the new one), of the statement or of the method's name.
        in_trial: Whether it is where a trial runs: in a worker, where there are workers.
        within_s: How far into it the process may come.
        most: It is killed at one of so many arrivals.
    """

    stage: str
    what: str
    event: str
    pattern: str
    in_trial: bool = False
    within_s: float = 0.0
    most: int = 1


MOMENTS = (
    # Only a new run makes these.
    Moment("new run", "the run's folder is made", "os.mkdir", r"/killed$"),
    Moment("new run", "config.toml takes its name", "os.rename", r"/config\.toml$"),
    Moment("new run", "the lock is taken", "sqlite3.connect", r"study\.db\.lock$"),
    Moment("new run", "the store's tables are made", "sql", r"CREATE TABLE trials"),
    Moment("new run", "the store's tables are committed", "sql", r"CREATE TABLE trials.*COMMIT$", within_s=0.004),
    # Every start comes by these.
    Moment("start-up", "the samples are read", "open", r"digits\.csv"),
    Moment("start-up", "config.toml takes its name", "os.rename", r"/config\.toml$"),
    Moment("start-up", "the samples are read in a worker", "open", r"digits\.csv", in_trial=True),
    Moment("journal", "a proposed trial is written", "sql", _SAVE.format("proposed"), most=3),
    Moment("journal", "a proposed trial is committed", "sql", _COMMIT.format("proposed"), within_s=0.004, most=3),
    Moment("journal", "a begun trial is committed", "sql", _COMMIT.format("running"), within_s=0.004, most=3),
    Moment("journal", "a finished trial is written", "sql", _SAVE.format("done"), most=3),
    Moment("journal", "a finished trial is to be committed", "sql", _COMMIT.format("done"), most=3),
    Moment("journal", "a finished trial is committed", "sql", _COMMIT.format("done"), within_s=0.004, most=3),
    Moment("training", "a rung of a training is measured", "call", "after_epoch", in_trial=True, within_s=0.05, most=3),
    Moment("training", "a network is fine-tuned", "call", "compress", in_trial=True, within_s=0.1, most=3),
    Moment("training", "a trial's outcome is handed over", "call", "evaluate", in_trial=True, most=3),
    Moment("rename", "a model's folder is begun", "os.mkdir", _MODEL + "$", in_trial=True, most=3),
    Moment("rename", "a model's file is written", "open", _MODEL + r"/\..*\.part$", in_trial=True, within_s=0.002,
           most=24),
    Moment("rename", "a model's file takes its name", "os.rename", _MODEL + r"/[^/]*$", in_trial=True, most=24),
    Moment("rename", "a model's folder takes its name", "os.rename", _MODEL + r"\n.*/models/\d+$", in_trial=True,
           most=3),
    Moment("rename", "a model's folder has its name", "open", r"/models$", in_trial=True, most=3),
    # Comes by only where the one before has left a model without its trial, so right behind it.
    Moment("rename", "the new folder of a model takes the place of the old", "os.rename replaced",
           _MODEL + r"\n.*/models/\d+$", in_trial=True),
    Moment("scoring", "a model of the front is read", "open", r"/models/\d+/quantised\.npz$"),
    Moment("scoring", "a model's mistakes take their name", "os.rename", r"/models/\d+/mistakes\.json$"),
    Moment("scoring", "a test error is written", "sql", "INSERT OR REPLACE INTO test_errors"),
    Moment("scoring", "a test error is committed", "sql", "INSERT OR REPLACE INTO test_errors", within_s=0.004),
    Moment("tables", "trials.csv is written", "open", r"/\.trials\.csv\..*\.part$", within_s=0.002),
    Moment("tables", "trials.csv takes its name", "os.rename", r"/trials\.csv$"),
    Moment("tables", "front.csv takes its name", "os.rename", r"/front\.csv$"),
    Moment("tables", "front.csv has its name", "os.rename", r"/front\.csv$", within_s=0.002),
    Moment("report", "report.html is written", "open", r"/\.report\.html\..*\.part$", within_s=0.02),
    Moment("report", "report.html takes its name", "os.rename", r"/report\.html$"),
    Moment("report", "report.html has its name", "os.rename", r"/report\.html$", within_s=0.01),
)  # fmt: skip

_FILE_EVENTS = frozenset({"open", "os.mkdir", "os.rename", "sqlite3.connect"})


@dataclass(frozen=True)
class Trap:
    """What a process is armed with; picklable, for workers.

    Attributes:
        moment: Where it goes off.
        victim: Who is killed: the search, or the worker that arrived.
        arrival: At which arrival of one process, from 1.
        delay_s: How long after it.
        token: A file that is there until it goes off, so that it does so once.
    """

    moment: Moment
    victim: Literal["search", "worker"]
    arrival: int
    delay_s: float
    token: Path

    def lay(self, *, jobs: int) -> None:
        """Arm this process, which is about to search, and with more than one job the workers that it starts."""
        if not self.moment.in_trial or jobs == 1:
            _Armed(self, os.getpid()).watch()
            return
        from functools import partial

        import mobo.search

        vars(mobo.search)["_problem_in_worker"] = partial(_armed_problem, self)


def _armed_problem(trap: Trap, *arguments: Any) -> Any:
    """Build a worker's problem in a worker that is armed."""
    import mobo.search

    _Armed(trap, os.getppid() if trap.victim == SEARCH else os.getpid()).watch()
    return vars(mobo.search)["_problem_in_worker"](*arguments)


class _Armed:
    """A trap in this process."""

    def __init__(self, trap: Trap, pid: int) -> None:
        self._trap, self._pid = trap, pid
        self._pattern = re.compile(trap.moment.pattern, re.DOTALL)
        self._arrivals = 0
        self._statements = ""

    def watch(self) -> None:
        event = self._trap.moment.event
        if event == "sql":
            self._watch_statements()
        elif event == "call":
            self._watch_calls()
        else:
            sys.addaudithook(self._on_event)

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _FILE_EVENTS or event != self._trap.moment.event.split()[0]:
            return
        paths = arguments[:2] if event == "os.rename" else arguments[:1]
        if not all(isinstance(path, str | Path) for path in paths):
            return  # an open descriptor
        *_, last = paths
        if self._trap.moment.event.endswith("replaced") and not list(Path(last).parent.glob(".*.old")):
            return
        if self._pattern.search("\n".join(map(str, paths))):
            self._arrive()

    def _watch_statements(self) -> None:
        connect = sqlite3.connect

        def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*arguments, **options)
            connection.set_trace_callback(self._on_statement)
            return connection

        vars(sqlite3)["connect"] = traced

    def _on_statement(self, statement: str) -> None:
        # A transaction is one text, so that a commit can be told from others by what is committed.
        self._statements = statement if statement.startswith("BEGIN") else f"{self._statements}\n{statement}"
        if self._trap.moment.pattern.endswith("COMMIT$"):
            arrived = self._pattern.search(self._statements)
        else:
            arrived = self._pattern.search(statement)
        if arrived:
            self._arrive()

    def _watch_calls(self) -> None:
        from envs.compression.evaluator import PolicyEvaluator
        from mobo.tinyml.problem import TinyMLProblem
        from mobo.tinyml.trainings import Rungs

        name = self._trap.moment.pattern
        owner: Any = {"after_epoch": Rungs, "compress": PolicyEvaluator, "evaluate": TinyMLProblem}[name]
        setattr(owner, name, self._watched(getattr(owner, name), after=name == "evaluate"))

    def _watched(self, method: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            if not after:
                self._arrive()
            result = method(*arguments, **options)
            if after:
                self._arrive()
            return result

        return called

    def _arrive(self) -> None:
        self._arrivals += 1
        if self._arrivals != self._trap.arrival:
            return
        if self._trap.delay_s:
            Thread(target=self._kill, daemon=True).start()
        else:
            self._kill()

    def _kill(self) -> None:
        time.sleep(self._trap.delay_s)
        with suppress(FileNotFoundError):
            self._trap.token.unlink()
            os.kill(self._pid, signal.SIGKILL)
