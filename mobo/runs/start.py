"""Decide in which folder a search runs, a new one or that of a run that was stopped, and make it the search's own."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from mobo.base.errors import MoboError
from mobo.runs.directory import RunDirectory
from mobo.study.store import StoreLock, take_store_lock
from mobo.tinyml.config import StudyConfig, load_config

RUNS = Path("runs")
"""Where runs without a folder of their own are numbered."""

CHANGEABLE = ("trials", "hours", "keep", "confirm", "goal")
"""Keys and tables that may differ when a run is resumed: none of them changes the earlier trials."""


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

    Yields:
        The run's lock, for :class:`mobo.study.store.Store`.

    Raises:
        StoreError: Another process is searching the run.
        ResumeError: The run is another study's.
    """
    with closing(take_store_lock(run.store_path)) as lock:
        # Again, for another process may have worked on it until now.
        _check(config, run)
        run.sweep()
        if not run.config_path.is_file():
            # Killed right after its folder was made.
            run.write_config(config.to_toml())
        yield lock


def _check(config: StudyConfig, run: RunDirectory) -> None:
    """Refuse a folder that a study cannot be continued in."""
    run.check_writable()
    if run.origin_path.is_file():
        raise ResumeError(
            f"{run.path} was made by `mobo compress` and holds its one model; there is no search in it to resume: "
            "start one without --resume"
        )
    if run.config_path.is_file():
        _check_same(config, load_config(run.config_path), run)
    elif run.store_path.is_file():
        raise ResumeError(f"{run.path} has trials but no config.toml; put the config back under that name to resume")


def differing_keys(one: StudyConfig, other: StudyConfig) -> tuple[str, ...]:
    """Return the dotted keys in which two configs differ, the changeable ones left out."""
    mine, theirs = _keys(one), _keys(other)
    keys = dict.fromkeys([*mine, *theirs])
    missing = object()
    return tuple(
        key
        for key in keys
        if key.partition(".")[0] not in CHANGEABLE and mine.get(key, missing) != theirs.get(key, missing)
    )


def _check_same(given: StudyConfig, stored: StudyConfig, run: RunDirectory) -> None:
    keys = differing_keys(given, stored)
    if not keys:
        return
    mine, theirs = _keys(given), _keys(stored)
    differences = "; ".join(f"{key} is {mine.get(key)!r} now and was {theirs.get(key)!r}" for key in keys)
    raise ResumeError(
        f"{run.path} was started with another config: {differences}. "
        "Resume with the same config (only trials, hours, [keep], [confirm] and [goal] may change), or start a new run "
        "without --resume"
    )


def _keys(config: StudyConfig) -> dict[str, Any]:
    """Return a config as one level of dotted keys, as they are written in the file."""
    return _flat(config.model_dump(mode="json", by_alias=True))


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested tables and lists as one level with dotted keys, as overrides write them."""
    if isinstance(data, Mapping):
        items = [(str(key), value) for key, value in data.items()]
    elif isinstance(data, list) and any(isinstance(value, Mapping) for value in data):
        items = [(str(index), value) for index, value in enumerate(data)]
    else:
        return {prefix.rstrip("."): data}
    return {key: value for name, entry in items for key, value in _flat(entry, f"{prefix}{name}.").items()}
