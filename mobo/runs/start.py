"""Decide in which folder a search runs, a new one or that of a run that was stopped, and make it the search's own."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from mobo.base.errors import MoboError
from mobo.runs.directory import RunDirectory
from mobo.runs.identity import differing_keys, study_identity
from mobo.runs.record import read_run
from mobo.study.store import Store, StoreLock, take_store_lock
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.config_file import load_config

RUNS = Path("runs")
"""Where runs without a folder of their own are numbered."""


class ResumeError(MoboError):
    """The run cannot be continued with this config; the message names the keys that differ."""


def prepare_run(config: StudyConfig, *, out: Path | None, resume: bool, runs: Path = RUNS) -> RunDirectory:
    """Return the folder a search shall write to, created if it is a new run; nothing changes in one that is there.

    Args:
        config: The resolved config.
        out: The folder; None for ``runs/<study>-NNN``: the next free number, or the newest one with ``resume``.
        resume: Whether to continue an existing run.
        runs: Where numbered runs lie.

    Raises:
        RunDirectoryError: The folder exists (without ``resume``), does not exist (with it), or cannot be written.
        ResumeError: The run was started with another config.
    """
    if not resume:
        if out is None:
            return RunDirectory.create_numbered(runs, config.name, config_toml=config.to_toml())
        return RunDirectory.create(out, config_toml=config.to_toml())
    run = RunDirectory.newest(runs, config.name) if out is None else RunDirectory.existing(out)
    _check(config, run)
    return run


@contextmanager
def claimed(config: StudyConfig, run: RunDirectory) -> Iterator[StoreLock]:
    """Make a run one search's own: nobody else writes to it, and what killed writers left is gone.

    Args:
        config: The study.
        run: Its folder, from :func:`prepare_run`.

    The run's store is made here, before anything else is, so that a run without one has lost it.

    Yields:
        The run's lock, for :class:`mobo.study.store.Store`.

    Raises:
        StoreError: Another process is searching the run.
        ResumeError, IdentityError: The run, or a part of it, is another study's, or its store is gone.
    """
    with closing(take_store_lock(run.store_path)) as lock:
        # Again, for another process may have worked on it until now.
        _check(config, run)
        run.sweep()
        if not run.config_path.is_file():
            # Killed right after its folder was made.
            run.write_config(config.to_toml())
        _make_store(config, run, lock)
        yield lock


def _make_store(config: StudyConfig, run: RunDirectory, lock: StoreLock) -> None:
    """Make the store of a run that has none yet; one of an earlier version gets the study's identity."""
    if not run.has_store:
        identity = study_identity(config)
        Store.create(
            run.store_path, config_toml=config.to_toml(), seed=config.seed, identity=identity, lock=lock
        ).close()
        return
    with Store.open(run.store_path, lock=lock) as store:
        if not store.identity:
            store.record_identity(study_identity(config))


def _check(config: StudyConfig, run: RunDirectory) -> None:
    """Refuse a folder that a study cannot be continued in."""
    run.check_writable()
    if run.origin_path.is_file():
        raise ResumeError(
            f"{run.path} was made by `mobo compress` and holds its one model; there is no search in it to resume: "
            "start one without --resume"
        )
    if not run.has_store and (left := run.without_store()):
        raise ResumeError(
            f"{run.path} has no trials in {run.store_path.name}, but {' and '.join(left)}: its store is gone, and a "
            "new one would begin at trial 0 and overwrite them; put it back, or start a new run without --resume"
        )
    if run.config_path.is_file():
        _check_same(config, load_config(run.config_path), run)
    elif run.has_store:
        raise ResumeError(f"{run.path} has trials but no config.toml; put the config back under that name to resume")
    if run.has_store:
        read_run(run.path)


def _check_same(given: StudyConfig, stored: StudyConfig, run: RunDirectory) -> None:
    found = differing_keys(given, stored)
    if not found:
        return
    differences = "; ".join(f"{key} is {mine!r} now and was {theirs!r}" for key, (mine, theirs) in found.items())
    raise ResumeError(
        f"{run.path} was started with another config: {differences}. "
        "Resume with the same config (only trials, hours, [keep], [confirm], [retrain] and [goal] may change), "
        "or start a new run without --resume"
    )
