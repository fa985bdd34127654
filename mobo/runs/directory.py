"""One search on disk: where each file of a run lies, and how the folder comes into being.

Layout::

    study.db          every trial; the truth from which the rest is rebuilt
    config.toml       the resolved config
    trials.csv        every trial, units in the column names
    front.csv         the feasible front, validation and test error apart
    models/<trial>/   policy.json, weights, graph.json, cost.json, study.json
    report.html       stands alone, opens offline
    log.txt           the lines the search printed
    machines.csv      only of a search on a cluster: which trial ran where, on what kind of processor
    tensorboard/      only of a search with --tensorboard: its events
    retrained/<trial>/ only after `mobo retrain`: the files of a model that was trained again, and described.json
    origin.json       only in a run made by `mobo compress`: which trial of which run was compressed
    goal.json         only with a [goal]: which network meets it, against which baseline
    goal/<network>/   only with a [goal]: the baseline and a narrower network, the files of a model and described.json
"""

import csv
import os
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobo.base import atomic_write
from mobo.base.errors import MoboError
from mobo.base.sqlite_file import undo_cut_off
from mobo.runs.front_table import front_table, trials_table
from mobo.space.confirmation import Confirmation, Retrained
from mobo.space.trial import Trial
from mobo.study.store import Store

MACHINE_COLUMNS = ("trial", "node", "kind")
"""Of the file that says where the trials of a search on a cluster ran."""


class RunDirectoryError(MoboError):
    """A run's folder cannot be created or is not one; the message says what is missing and what to do."""


@dataclass(frozen=True)
class RunDirectory:
    """The folder of one run.

    Attributes:
        path: The folder; create it with :meth:`create` or :meth:`create_numbered`, find it with :meth:`open`.
    """

    path: Path

    @property
    def store_path(self) -> Path:
        """The SQLite file with every trial."""
        return self.path / "study.db"

    @property
    def config_path(self) -> Path:
        """The resolved config."""
        return self.path / "config.toml"

    @property
    def trials_path(self) -> Path:
        """The table of every trial."""
        return self.path / "trials.csv"

    @property
    def front_path(self) -> Path:
        """The table of the front."""
        return self.path / "front.csv"

    @property
    def report_path(self) -> Path:
        """The page for people."""
        return self.path / "report.html"

    @property
    def log_path(self) -> Path:
        """The lines the search printed."""
        return self.path / "log.txt"

    @property
    def machines_path(self) -> Path:
        """Which trial ran on which machine of a cluster; of a trial with several lines the last one counts."""
        return self.path / "machines.csv"

    @property
    def events_path(self) -> Path:
        """The folder of TensorBoard events, if the search was asked for them."""
        return self.path / "tensorboard"

    @property
    def origin_path(self) -> Path:
        """Which trial of which run was compressed, if no search made this run."""
        return self.path / "origin.json"

    @property
    def goal_path(self) -> Path:
        """What became of the study's goal, if it has one."""
        return self.path / "goal.json"

    @property
    def goal_networks_path(self) -> Path:
        """The folder of the networks that the goal holds the trials against."""
        return self.path / "goal"

    @property
    def models_path(self) -> Path:
        """The folder with one folder per finished trial."""
        return self.path / "models"

    @property
    def retrained_path(self) -> Path:
        """The folder with one folder per model of the front that was trained again."""
        return self.path / "retrained"

    def retrained_directory(self, number: int) -> Path:
        """Return the folder of one trial's model that was trained again; it exists only once that was saved."""
        return self.retrained_path / str(number)

    def model_directory(self, number: int) -> Path:
        """Return the folder of one trial's model; it exists only once the model was saved."""
        return self.models_path / str(number)

    @classmethod
    def create(cls, path: Path, *, config_toml: str) -> "RunDirectory":
        """Make a new folder with the config in it.

        Args:
            path: The folder to make; its parents are made too.
            config_toml: The resolved config.

        Raises:
            RunDirectoryError: The folder exists already, or its place cannot be written.
        """
        _make_folder(path.parent)
        try:
            # Exclusive: of two searches that want the same folder, exactly one gets it.
            path.mkdir()
        except FileExistsError as error:
            raise RunDirectoryError(
                f"{path} exists already; continue that run with --resume, or give another --out"
            ) from error
        except OSError as error:
            raise _cannot_write(path, error) from error
        run = cls(path)
        run.write_config(config_toml)
        return run

    @classmethod
    def create_numbered(cls, parent: Path, name: str, *, config_toml: str) -> "RunDirectory":
        """Make ``parent/<name>-NNN`` with the number after the highest one there.

        Raises:
            RunDirectoryError: The place cannot be written.
        """
        _make_folder(parent)
        number = max(numbered_runs(parent, name), default=0) + 1
        while True:
            path = parent / f"{name}-{number:03d}"
            try:
                path.mkdir()
                break
            except FileExistsError:
                # Somebody else took the number since the folder was read.
                number += 1
            except OSError as error:
                raise _cannot_write(path, error) from error
        run = cls(path)
        run.write_config(config_toml)
        return run

    @classmethod
    def newest(cls, parent: Path, name: str) -> "RunDirectory":
        """Return ``parent/<name>-NNN`` with the highest number.

        Raises:
            RunDirectoryError: There is none.
        """
        numbered = numbered_runs(parent, name) if parent.is_dir() else {}
        if not numbered:
            raise RunDirectoryError(
                f"there is no run {parent / name}-NNN to resume; start one without --resume, or name it with --out"
            )
        return cls(numbered[max(numbered)])

    @classmethod
    def existing(cls, path: Path) -> "RunDirectory":
        """Return a folder that a search started in, even one that was killed before its first trial.

        Raises:
            RunDirectoryError: There is no such folder.
        """
        if not path.is_dir():
            raise RunDirectoryError(f"there is no run {path} to resume; start it without --resume")
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """Return an existing run.

        Raises:
            RunDirectoryError: The folder is missing, or the config or the store in it.
        """
        if not path.is_dir():
            raise RunDirectoryError(f"{path} is not a folder; give the folder of a run, like runs/quickstart-001")
        run = cls(path)
        missing = [file.name for file in (run.config_path, run.store_path) if not file.is_file()]
        if missing:
            raise RunDirectoryError(
                f"{path} is not a run: {' and '.join(missing)} missing; a run's folder is made by `mobo search`"
            )
        return run

    def write_config(self, config_toml: str) -> None:
        """Write the resolved config.

        Raises:
            RunDirectoryError: The folder cannot be written.
        """
        try:
            atomic_write.write_text(self.config_path, config_toml)
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    def check_writable(self) -> None:
        """Try to write into the folder, so that a search finds out before its first training.

        Raises:
            RunDirectoryError: The folder cannot be written.
        """
        probe = self.path / f".probe.{secrets.token_hex(4)}"
        try:
            probe.touch(exist_ok=False)
            probe.unlink()
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    @property
    def has_store(self) -> bool:
        """Whether there is a store; a process killed while it made one leaves an empty file, or none.

        Raises:
            RunDirectoryError: Something else lies in its place.
            StoreError: What a killed process had begun to write cannot be undone.
        """
        if self.store_path.exists() and not self.store_path.is_file():
            raise RunDirectoryError(f"{self.store_path} is no plain file, so no study; put the run's own back")
        if not self.store_path.is_file():
            return False
        undo_cut_off(self.store_path, "study")
        return self.store_path.stat().st_size > 0

    def without_store(self) -> tuple[str, ...]:
        """Return what shows that a run without a store had one: all that comes into being after it."""
        # SQLite's own files beside the store and its lock begin like these.
        before = (self.config_path.name, self.store_path.name, ".")
        return tuple(sorted(entry.name for entry in self.path.iterdir() if not entry.name.startswith(before)))

    def remove_unused(self) -> None:
        """Remove the folder of a new run whose search was refused before its first trial; nobody else may use it."""
        if set(self.without_store()) - {self.log_path.name}:
            return
        if self.has_store:
            with Store.open(self.store_path, read_only=True) as store:
                if store.trials():
                    return
        shutil.rmtree(self.path)

    def sweep(self) -> None:
        """Remove what killed writers left half-written; for who holds the run's lock.

        Raises:
            OSError: The folder cannot be written.
        """
        kept = (self.models_path, self.goal_networks_path, self.retrained_path)
        within = (path for folder in kept if folder.is_dir() for path in folder.iterdir() if path.is_dir())
        for folder in (self.path, *kept, *within):
            for pattern in (".*.part", ".*.old", ".probe.*"):
                for leftover in folder.glob(pattern):
                    shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)

    def save_model(self, number: int, files: Mapping[str, bytes]) -> Path:
        """Write the files of one trial's model, all or none, and return their folder.

        What a killed trial left under the same number is replaced.

        Args:
            number: The trial.
            files: Content by file name, e.g. ``{"policy.json": b"{}"}``.

        Raises:
            OSError: The folder cannot be written.
        """
        return _save_whole(self.models_path, str(number), files)

    def save_retrained(self, number: int, files: Mapping[str, bytes]) -> Path:
        """Write the files of a model that was trained again, all or none; else as a model's."""
        return _save_whole(self.retrained_path, str(number), files)

    def save_goal_network(self, name: str, files: Mapping[str, bytes]) -> Path:
        """Write the files of a network that the goal needs, all or none, and return their folder; else as a model's."""
        return _save_whole(self.goal_networks_path, name, files)

    def write_tables(
        self,
        trials: Sequence[Trial],
        front: Sequence[Trial],
        *,
        test_errors: Mapping[int, float],
        confirmed: Mapping[int, Confirmation],
        retrained: Mapping[int, Retrained],
    ) -> None:
        """Write ``trials.csv`` and ``front.csv``; units are in the column names (:mod:`mobo.space.columns`).

        Args:
            trials: Every trial.
            front: Those on the front, in the order of the table.
            test_errors: Error on the test split by trial, as far as it was read.
            confirmed: What the repeats of models say, by trial.
            retrained: What became of models that were trained again, by trial.

        Raises:
            OSError: The folder cannot be written.
        """
        atomic_write.write_text(self.trials_path, trials_table(trials, test_errors).to_csv())
        table = front_table(front, test_errors, confirmed, retrained)
        atomic_write.write_text(self.front_path, table.to_csv())

    def append_log(self, line: str) -> None:
        """Add one line to the log.

        Raises:
            RunDirectoryError: Something else lies in its place.
            OSError: The folder cannot be written.
        """
        _check_plain(self.log_path)
        with self.log_path.open("a", encoding="utf-8") as stream:
            stream.write(line.rstrip("\n") + "\n")

    def append_machine(self, number: int, node: str, kind: str) -> None:
        """Note where a trial ran.

        Raises:
            RunDirectoryError: Something else lies in the file's place.
            OSError: The folder cannot be written.
        """
        _check_plain(self.machines_path)
        is_new = not self.machines_path.exists()
        with self.machines_path.open("a", encoding="utf-8", newline="") as stream:
            lines = csv.writer(stream, lineterminator="\n")
            lines.writerows([MACHINE_COLUMNS] if is_new else [])
            lines.writerow((number, node, kind))


def _save_whole(parent: Path, name: str, files: Mapping[str, bytes]) -> Path:
    """Write files into a folder that is there with all of them or not at all, in the place of an older one."""
    parent.mkdir(exist_ok=True)
    target = parent / name
    for ending in ("part", "old"):
        for leftover in parent.glob(f".{name}.*.{ending}"):
            shutil.rmtree(leftover)
    part = parent / f".{name}.{secrets.token_hex(4)}.part"
    part.mkdir()
    for file, data in files.items():
        atomic_write.write_bytes(part / file, data)
    if target.exists():
        # A folder with files in it cannot be renamed over; the old one leaves the name first.
        old = parent / f".{name}.{secrets.token_hex(4)}.old"
        target.rename(old)
        part.rename(target)
        shutil.rmtree(old)
    else:
        part.rename(target)
    atomic_write.sync_folder(parent)
    return target


def _check_plain(path: Path) -> None:
    """Refuse a pipe or a device in the place of a file that is added to: it might be waited for without end."""
    if path.exists() and not path.is_file():
        raise RunDirectoryError(f"{path} is no plain file, so nothing can be added to it; remove it")


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from error


def numbered_runs(parent: Path, name: str) -> dict[int, Path]:
    """Return the folders ``<name>-NNN`` in a folder that exists, by number."""
    pattern = re.compile(re.escape(name) + r"-(\d{3,})")
    matches = ((pattern.fullmatch(entry.name), entry) for entry in parent.iterdir() if entry.is_dir())
    return {int(match[1]): entry for match, entry in matches if match}


def _cannot_write(path: Path, error: OSError) -> RunDirectoryError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return RunDirectoryError(f"cannot write {path}: {reason}; give a folder you may write with --out")
