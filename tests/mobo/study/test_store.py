import json
import math
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from mobo.base.errors import StoreError
from mobo.space.confirmation import Repeat
from mobo.space.search_space import Design
from mobo.space.trial import FinetuningReference, TrainingReference, Trial, TrialState
from mobo.study.store import SCHEMA_VERSION, Store
from tests.mobo.problems_for_tests import as_of_version

TRIAL = Trial(
    number=0,
    design=Design({"x": 0.1 + 0.2, "width": 8, "kernel": "3x3", "residual": True}),
    seed=4_294_967_295,
    state=TrialState.DONE,
    outcome={"error": 1 / 3, "flash_bytes": 12345, "energy_uj": None},
    message="a 'quoted' text\nwith a line end",
    times_s={"suggest": 0.25, "train": 3.5},
    started_utc="2026-01-01T00:00:00+00:00",
    finished_utc="2026-01-01T00:00:04+00:00",
)


def changed(path: Path, *statements: str) -> None:
    """Run statements on a store as another program would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.db"


def test_a_trial_comes_back_as_it_was_saved(path: Path) -> None:
    with Store.create(path, config_toml="trials = 1\n", seed=5) as store:
        store.save(TRIAL)
    with Store.open(path) as store:
        (again,) = store.trials()
        assert (store.config_toml, store.seed) == ("trials = 1\n", 5)
        assert {"python", "torch", "ax-platform"} <= set(store.versions)
        assert store.created_utc.endswith("+00:00")
    assert again == TRIAL
    # Equality leaves the times out and takes 1 for True.
    assert (again.times_s, again.started_utc, again.finished_utc) == (
        TRIAL.times_s,
        TRIAL.started_utc,
        TRIAL.finished_utc,
    )
    assert [type(value) for value in again.design.values()] == [float, int, str, bool]


def test_saving_again_replaces_and_trials_come_by_number(path: Path) -> None:
    with Store.create(path, config_toml="", seed=0) as store:
        store.save(replace(TRIAL, number=2))
        store.save(replace(TRIAL, number=1, state=TrialState.RUNNING))
        store.save(replace(TRIAL, number=1, state=TrialState.FAILED))
        assert [(trial.number, trial.state) for trial in store.trials()] == [(1, "failed"), (2, "done")]


def test_test_errors_are_kept_apart(path: Path) -> None:
    with Store.create(path, config_toml="", seed=0) as store:
        store.save(TRIAL)
        store.set_test_error(0, 0.25)
        store.save(TRIAL)  # must not take the test error away
        assert store.test_errors() == {0: 0.25}
        with pytest.raises(StoreError, match="must belong to a trial that is in the study"):
            store.set_test_error(7, 0.5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nothing_that_is_not_finite_is_written(path: Path, value: float) -> None:
    with Store.create(path, config_toml="", seed=0) as store:
        for bad in (replace(TRIAL, outcome={"error": value}), replace(TRIAL, times_s={"train": value})):
            with pytest.raises(StoreError, match="trial 0 cannot be written"):
                store.save(bad)
        with pytest.raises(StoreError, match="test error of trial 0 is"):
            store.set_test_error(0, value)
        assert store.trials() == ()


REPEAT = Repeat(trial=0, repeat=0, seed=4_294_967_295, trained_folds=1, samples=288, error=1 / 3)


def test_repeats_come_back_as_they_were_saved(path: Path) -> None:
    failed = replace(REPEAT, repeat=1, trained_folds=0, error=None, message="the loss is NaN\nin step 3")
    with Store.create(path, config_toml="", seed=0) as store:
        store.save(TRIAL)
        store.save_repeat(failed)
        store.save_repeat(REPEAT)
        store.save_repeat(REPEAT)
        store.save(TRIAL)  # must not take them away
    with Store.open(path, read_only=True) as store:
        assert store.repeats() == (REPEAT, failed)
        assert [entry.trained_folds for entry in store.repeats()] == [1, 0]
        with pytest.raises(StoreError, match="opened for reading only"):
            store.save_repeat(REPEAT)


def test_a_repeat_belongs_to_a_trial_and_its_error_is_finite(path: Path) -> None:
    with Store.create(path, config_toml="", seed=0) as store:
        store.save(TRIAL)
        with pytest.raises(StoreError, match="must belong to a trial that is in the study"):
            store.save_repeat(replace(REPEAT, trial=7))
        with pytest.raises(StoreError, match="repeat 0 of trial 0 has the error nan"):
            store.save_repeat(replace(REPEAT, error=math.nan))
        assert store.repeats() == ()


def test_a_file_of_before_repeats_is_read_and_gets_the_table_when_it_is_written(path: Path) -> None:
    with Store.create(path, config_toml="", seed=0) as store:
        store.save(TRIAL)
    as_of_version(path, 2)
    changed(path, "DROP TABLE confirmations")
    with Store.open(path, read_only=True) as store:
        assert (store.repeats(), store.trials()) == ((), (TRIAL,))
    with Store.open(path) as store:
        store.save_repeat(REPEAT)
        assert store.repeats() == (REPEAT,)


def test_an_existing_study_is_not_overwritten(path: Path) -> None:
    with Store.create(path, config_toml="first", seed=0):
        pass
    with pytest.raises(StoreError, match="holds a study already"):
        Store.create(path, config_toml="second", seed=0)
    with Store.open(path) as store:
        assert store.config_toml == "first"


def test_a_file_left_empty_by_a_killed_process_is_used(path: Path) -> None:
    path.touch()
    with Store.create(path, config_toml="again", seed=0) as store:
        assert store.config_toml == "again"


def test_a_newer_schema_is_refused_by_both_versions_names(path: Path) -> None:
    with Store.create(path, config_toml="", seed=0):
        pass
    changed(path, f"UPDATE meta SET value = '{SCHEMA_VERSION + 1}' WHERE key = 'schema_version'")
    text = f"newer version \\(schema {SCHEMA_VERSION + 1}; this one reads up to {SCHEMA_VERSION}\\); update"
    for read_only in (False, True):
        with pytest.raises(StoreError, match=text):
            Store.open(path, read_only=read_only)


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no study file .*study\.db"):
        Store.open(path)
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough to look like one" * 40])
def test_a_file_that_is_no_study_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"holds no study|not a study file or is damaged"):
        Store.open(path)


def test_another_database_is_refused(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE other (a)")
    connection.close()
    with pytest.raises(StoreError, match="holds no study"):
        Store.open(path)
    with pytest.raises(StoreError, match="holds a study already"):
        Store.create(path, config_toml="", seed=0)


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_a_truncated_file_is_refused(path: Path, part: float) -> None:
    with Store.create(path, config_toml="x" * 20_000, seed=0) as store:
        for number in range(50):
            store.save(replace(TRIAL, number=number))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(StoreError, match=r"damaged|cannot be read"), Store.open(path, read_only=True) as store:
        store.trials()


def test_a_read_only_store_looks_while_another_writes(path: Path) -> None:
    with Store.create(path, config_toml="", seed=0) as writer, Store.open(path, read_only=True) as reader:
        writer.save(TRIAL)
        assert reader.trials() == (TRIAL,)
        with pytest.raises(StoreError, match="opened for reading only"):
            reader.save(TRIAL)


def test_two_stores_cannot_write_one_study(path: Path) -> None:
    with (
        Store.create(path, config_toml="", seed=0),
        pytest.raises(StoreError, match=r"another process is searching .*; wait for it to end or stop it first"),
    ):
        Store.open(path)
    Store.open(path).close()


def test_the_lock_is_gone_when_its_process_is_killed(path: Path) -> None:
    code = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from mobo.study.store import Store
        store = Store.create(Path({str(path)!r}), config_toml="", seed=0)
        print("held", flush=True)
        time.sleep(60)
        """
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match="another process"):
            Store.open(path)
        process.kill()
        process.wait()
    Store.open(path).close()


def test_a_directory_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="choose a directory that exists and can be written"):
        Store.create(tmp_path / "nowhere" / "study.db", config_toml="", seed=0)


def test_a_path_with_odd_characters_works(tmp_path: Path) -> None:
    path = tmp_path / "a b%20?c#d" / "study.db"
    path.parent.mkdir()
    with Store.create(path, config_toml="", seed=0) as store:
        store.save(TRIAL)
    assert sqlite3.connect(path).execute("SELECT count(*) FROM trials").fetchone() == (1,)


def test_values_are_plain_json_for_other_programs(path: Path) -> None:
    with Store.create(path, config_toml="", seed=0) as store:
        store.save(TRIAL)
    (text,) = sqlite3.connect(path).execute("SELECT design FROM trials").fetchone()
    assert json.loads(text) == dict(TRIAL.design)


def test_a_half_written_transaction_is_undone_even_for_a_reader(path: Path, tmp_path: Path) -> None:
    with Store.create(path, config_toml="", seed=0) as store:
        for number in range(200):
            store.save(replace(TRIAL, number=number))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")  # spill to the file before the commit
    connection.execute("BEGIN")
    connection.execute("UPDATE trials SET message = 'half written', state = 'failed'")
    # What a killed process leaves: the changed file and the journal that undoes the change.
    killed = tmp_path / "killed.db"
    shutil.copy(path, killed)
    shutil.copy(f"{path}-journal", f"{killed}-journal")
    connection.close()
    assert b"half written" in killed.read_bytes()
    with Store.open(killed, read_only=True) as store:
        assert store.trials() == tuple(replace(TRIAL, number=number) for number in range(200))


def test_a_trial_that_makes_no_sense_is_reported(path: Path) -> None:
    with Store.create(path, config_toml="", seed=0) as store:
        store.save(TRIAL)
    as_of_version(path, 2)
    changed(path, "UPDATE trials SET state = 'flying'")
    with Store.open(path, read_only=True) as store, pytest.raises(StoreError, match=r"a trial cannot be read .*flying"):
        store.trials()


TRAINING = TrainingReference(trial=0, seed=7, digest="ab" * 32)


def whole(path: Path) -> tuple[object, ...]:
    """Return all that a store says."""
    with Store.open(path, read_only=True) as store:
        told = (store.config_toml, store.seed, store.created_utc, store.versions, store.identity, store.inputs)
        trials = store.trials()
        beside = [(trial.times_s, trial.started_utc, trial.finished_utc) for trial in trials]
        return (*told, trials, beside, store.test_errors(), store.repeats())


def filled(path: Path) -> None:
    with Store.create(path, config_toml="trials = 2\n", seed=5, identity="0123abcd") as store:
        for number in range(2):
            store.save(replace(TRIAL, number=number, training=TRAINING))
        store.set_test_error(1, 0.125)
        store.save_repeat(REPEAT)
        store.record_inputs({"task": "feed"})


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_an_earlier_version_is_read_and_gets_checksums_when_it_is_written(path: Path, version: int) -> None:
    filled(path)
    before = whole(path)
    as_of_version(path, version)
    with Store.open(path, read_only=True) as store:
        kept = (store.trials(), store.test_errors(), store.repeats(), store.identity, store.inputs)
    with Store.open(path) as store:
        assert (store.trials(), store.test_errors(), store.repeats(), store.identity, store.inputs) == kept
        store.record_identity("0123abcd")
        store.record_inputs({"task": "feed"})
    if version == 2:
        assert whole(path) == before
    else:
        assert [trial.training for trial in kept[0]] == [None, None]
    changed(path, "UPDATE trials SET seed = seed + 1 WHERE number = 1")
    with pytest.raises(StoreError, match="the row of trial 1 is not what was written"):
        whole(path)


def test_a_store_gives_what_was_written_or_says_that_it_is_damaged(path: Path, tmp_path: Path) -> None:
    filled(path)
    expected, content, generator = whole(path), path.read_bytes(), random.Random(0)
    refused = 0
    for number in range(300):
        # SQLite's header has bytes for free use, and pages have free space: a flip there changes nothing that is said.
        spoilt = bytearray(content)
        spoilt[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        copy = tmp_path / f"{number}.db"
        copy.write_bytes(spoilt)
        try:
            assert whole(copy) == expected, number
        except StoreError:
            refused += 1
    assert refused > 10


CHANGES = {
    "a text of a trial": ("UPDATE trials SET outcome = replace(outcome, '5', '4')", "the row of trial 0"),
    "a training": ("UPDATE trainings SET seed = 8 WHERE number = 1", "the row of trial 1"),
    "no training": ("DELETE FROM trainings WHERE number = 1", "the row of trial 1"),
    "a test error": ("UPDATE test_errors SET error = 0.25", "a row of trial 1 in 'test_errors'"),
    "a repeat": ("UPDATE confirmations SET error = 0.25", "a row of trial 0 in 'confirmations'"),
    "the config": ("UPDATE meta SET value = 'trials = 3' WHERE key = 'config_toml'", "what it says about itself"),
    "a missing checksum": ("DELETE FROM meta WHERE key = 'checksum'", "about itself has no checksum"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_changed_value_is_reported(path: Path, case: str) -> None:
    statement, message = CHANGES[case]
    filled(path)
    changed(path, statement)
    with pytest.raises(StoreError, match=f"is damaged: .*{message}"):
        whole(path)


ENDLESS = "WITH RECURSIVE endless (x) AS (SELECT 1 UNION ALL SELECT x FROM endless) SELECT"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE finetunings SET digest = 'other' WHERE number = 1",
        "UPDATE finetunings SET sibling = NULL WHERE number = 1",
        "DELETE FROM finetunings WHERE number = 1",
    ],
)
def test_what_a_trial_went_on_from_is_kept_and_a_change_of_it_reported(path: Path, change: str) -> None:
    sibling = FinetuningReference(trial=0, digest="cd" * 32)
    first = replace(TRIAL, number=0, training=TRAINING, finetuned=sibling.digest)
    child = replace(TRIAL, number=1, training=TRAINING, sibling=sibling, finetuned="ef" * 32)
    with Store.create(path, config_toml="", seed=5) as store:
        store.save(first)
        store.save(child)
        assert store.trials() == (first, child)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(change)
    with Store.open(path, read_only=True) as store, pytest.raises(StoreError, match="the row of trial 1"):
        store.trials()


FOREIGN = {
    "a view that never ends": (
        "ALTER TABLE trials RENAME TO away",
        f"CREATE VIEW trials AS {ENDLESS} x AS number FROM endless",
    ),
    "a view in the place of meta": (
        "ALTER TABLE meta RENAME TO away",
        f"CREATE VIEW meta AS {ENDLESS} x AS key, x AS value FROM endless",
    ),
    "other columns": ("ALTER TABLE trials ADD COLUMN more TEXT",),
    "another key": ("DROP TABLE trainings", "CREATE TABLE trainings (number, trial, seed, digest)"),
    "a missing table": ("DROP TABLE confirmations",),
    "a trigger": ("CREATE TRIGGER more AFTER INSERT ON trials BEGIN DELETE FROM test_errors; END",),
    "another table": ("CREATE TABLE more (a)",),
}


@pytest.mark.parametrize("case", FOREIGN)
@pytest.mark.parametrize("read_only", [True, False])
def test_tables_that_are_not_a_studys_are_refused_at_once(path: Path, case: str, read_only: bool) -> None:
    filled(path)
    changed(path, "PRAGMA foreign_keys = OFF", *FOREIGN[case])
    with pytest.raises(StoreError, match=r"is damaged|holds no study"):
        Store.open(path, read_only=read_only)


def test_what_is_no_file_is_refused(path: Path) -> None:
    os.mkfifo(path)
    for use in (
        lambda: Store.open(path),
        lambda: Store.open(path, read_only=True),
        lambda: Store.create(path, config_toml="", seed=0),
    ):
        with pytest.raises(StoreError, match="is no plain file, so no study"):
            use()


@pytest.mark.parametrize("beside", ["-journal", "-wal", ".lock", ".lock-journal"])
def test_a_pipe_beside_a_store_is_not_waited_for(path: Path, beside: str) -> None:
    filled(path)
    pipe = path.with_name(path.name + beside)
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    with pytest.raises(StoreError, match=f"{pipe} is no plain file, so no (study|lock)"):
        Store.open(path)
