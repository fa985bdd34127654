"""What lies in a benchmark's folder: one SQLite file while it runs, the archive when it has ended.

The SQLite file, where there is one, is the truth: it holds everything that the archive held when the benchmark began,
and what came since. A killed benchmark leaves it; the command that ends writes the archive and removes it.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from mobo.base.process_lock import take_lock
from mobo.benchmark import archive
from mobo.benchmark.cell_record import KeptCell
from mobo.benchmark.cell_store import BenchmarkStore
from mobo.benchmark.errors import BenchmarkError

DATABASE = "benchmark.db"

# A folder and a file per cell, as versions before the one store wrote them, and the last of these versions.
_OLD_CELLS = "*/*/seed-*/run.json"
_OLD_COMMIT = "b37668e"


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep other commands from working on a folder.

    Raises:
        BenchmarkError: Another process does already, or the folder cannot be written.
    """
    busy = f"another process runs a benchmark in {out}; wait for it to end, stop it, or give another folder with --out"
    with closing(take_lock(out / ".lock", busy=busy, error=BenchmarkError)):
        yield


def begin(out: Path) -> None:
    """Make sure that the SQLite file is there, with what the folder's archive holds.

    Raises:
        BenchmarkError: The folder has cells of an old version, or a damaged archive.
        StoreError: The file cannot be written.
    """
    database = out / DATABASE
    if database.exists():
        return
    _refuse_old(out)
    # Under another name until it is whole: a benchmark killed here still has its archive.
    part = out / f".{DATABASE}.part"
    part.unlink(missing_ok=True)
    BenchmarkStore.create(part, archive.read_archive(out) if archive.exists(out) else ()).close()
    part.replace(database)


def end(out: Path) -> None:
    """Write the archive from the SQLite file and remove that.

    Raises:
        StoreError: The file cannot be read.
        OSError: The folder cannot be written.
    """
    database = out / DATABASE
    with BenchmarkStore.open(database) as store:
        archive.write_archive(out, store.cells())
    database.unlink()


def read_cells(out: Path) -> list[KeptCell]:
    """Return every cell of a folder, also while a benchmark runs there; none if there is none.

    Raises:
        BenchmarkError: The folder has cells of an old version, or a damaged archive.
        StoreError: The SQLite file is damaged.
    """
    if (out / DATABASE).exists():
        with BenchmarkStore.open(out / DATABASE, read_only=True) as store:
            return list(store.cells())
    if archive.exists(out):
        return archive.read_archive(out)
    _refuse_old(out)
    return []


def _refuse_old(out: Path) -> None:
    old = None if archive.exists(out) else next(out.glob(_OLD_CELLS), None)
    if old is not None:
        raise BenchmarkError(
            f"{out} holds cells as an older version wrote them ({old.relative_to(out)}); run the benchmark anew with "
            f"another --out, or read and continue this one with the commit {_OLD_COMMIT}"
        )
