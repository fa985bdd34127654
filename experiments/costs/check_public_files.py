"""Read every tflite file below a folder, and hold the arenas of those that are read against the real interpreter.

    python -m experiments.costs.check_public_files DIR [--out FILE.csv]

A file is read, or refused with a reason; the interpreter is the `tflite-micro` package's (x86-64, reference kernels),
in a process of its own, since some files end it. Prints a line per file and the counts; exit code 1 if an arena of a
file that the interpreter runs differs from the predicted one, 2 if there is no file.
"""

import csv
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import astuple, dataclass, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import typer

from hw_models.errors import HardwareModelError
from hw_models.graph.from_tflite import read_tflite
from hw_models.memory.arena_plan import plan_interpreter
from hw_models.memory.arena_structures import load_structures
from mobo.export.errors import ExportError
from mobo.export.tflite.runnable import read_runnable
from mobo.export.verify.tflm import tflm_arena

_STRUCTURES = "tflm-reference-64bit"


@dataclass(frozen=True)
class PublicFile:
    """What became of one file.

    Attributes:
        name: Its path below the folder.
        refused: Why the reader refused it; empty if it was read.
        predicted_bytes: The arena of the interpreter on the desk; None if it was refused.
        real_bytes: What the interpreter took; None where it did not run.
        not_run: Why it did not; empty if it did, or was not asked.
    """

    name: str
    refused: str = ""
    predicted_bytes: int | None = None
    real_bytes: int | None = None
    not_run: str = ""

    @property
    def differs(self) -> bool:
        """Whether the interpreter took another arena than predicted."""
        return self.real_bytes is not None and self.real_bytes != self.predicted_bytes

    def __str__(self) -> str:
        if self.refused:
            return f"refused  {self.name}: {self.refused}"
        real = f"not run ({self.not_run})" if self.real_bytes is None else f"interpreter {self.real_bytes:,}"
        return f"read     {self.name}: arena {self.predicted_bytes:,} bytes, {real}{' <- differs' * self.differs}"


def public_files(folder: Path) -> Iterator[PublicFile]:
    """Yield every tflite file below a folder, by name."""
    for path in sorted(folder.rglob("*.tflite")):
        name = str(path.relative_to(folder))
        try:
            graph = read_tflite(path).graph
            predicted = plan_interpreter(graph, load_structures(_STRUCTURES)).arena_bytes
        except HardwareModelError as error:
            yield PublicFile(name, refused=str(error).replace(f"{folder}/", ""))
            continue
        try:
            with ProcessPoolExecutor(1, mp_context=get_context("fork")) as process:
                yield PublicFile(name, "", predicted, process.submit(_real_bytes, path).result())
        except (ExportError, BrokenProcessPool, RuntimeError) as error:
            yield PublicFile(name, "", predicted, not_run=" ".join(str(error).split()))


def _real_bytes(path: Path) -> int:
    return tflm_arena(read_runnable(path.read_bytes())).total_bytes


def main(
    folder: Annotated[Path, typer.Argument(help="Folder that the files are below.", exists=True, file_okay=False)],
    out: Annotated[Path | None, typer.Option(help="CSV to write, one row per file.")] = None,
) -> None:
    """Print what became of every file."""
    found = []
    for file in public_files(folder):
        print(file, flush=True)
        found.append(file)
    if not found:
        print(f"there is no .tflite file below {folder}; name another folder, e.g. a checkout", file=sys.stderr)
        raise typer.Exit(2)
    if out is not None:
        with out.open("w", newline="", encoding="utf-8") as table:
            writer = csv.writer(table, lineterminator="\n")
            writer.writerow([field.name for field in fields(PublicFile)])
            writer.writerows(map(astuple, found))
    refused = sum(bool(file.refused) for file in found)
    ran = sum(file.real_bytes is not None for file in found)
    differ = sum(file.differs for file in found)
    print(f"{len(found)} files: {len(found) - refused} read, {refused} refused; of {ran} that the interpreter ran,")
    print(f"{ran - differ} arenas are equal to the byte, {differ} differ")
    raise typer.Exit(1 if differ else 0)


if __name__ == "__main__":
    typer.run(main)
