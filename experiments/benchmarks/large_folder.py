"""How long a large folder of images takes to start a study, and how much memory the study and its trainings take.

    python -m experiments.benchmarks.large_folder [--images 50000] [--side 96] [--out build/large_folder.md]

As many noisy images as asked are written, in ten classes; then the task is loaded three times, in a process each: the
first time it is read and put into the cache, from then on it comes from there. The third process also trains a small
network, for some steps on samples that are held and for one epoch on all, and measures it on the validation split, as a
worker does. Told are seconds from the start of loading and the largest resident set of each process (``VmHWM``).
"""

import json
import os
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from time import perf_counter, process_time
from typing import Annotated

import numpy as np
import torch
import typer
from torch import nn

from mobo.base.atomic_write import write_text
from mobo.base.markdown import table
from mobo.runs.identity import samples_digest
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.settings import ImageFolderSettings
from mobo.tinyml.training import TrainingSettings, error_rate, train

CLASSES, VARIANTS = 10, 50
BATCH = 64


def write_images(folder: Path, images: int, side: int) -> None:
    """Write so many JPEG images, a tenth into the folder of each class; every class has ``VARIANTS`` different ones."""
    from PIL import Image

    generator = np.random.default_rng(0)
    for label in range(CLASSES):
        (folder / str(label)).mkdir(parents=True)
        level = np.array([15 * label, 60, 100], np.uint8)
        pictures = []
        for _ in range(VARIANTS):
            stream = BytesIO()
            noise = generator.integers(0, 60, (side, side, 3), dtype=np.uint8)
            Image.fromarray(noise + level).save(stream, "JPEG", quality=90)
            pictures.append(stream.getvalue())
        for number in range(label, images, CLASSES):
            (folder / str(label) / f"{number}.jpg").write_bytes(pictures[number // CLASSES % VARIANTS])


def measure(folder: Path, steps: int) -> dict[str, float]:
    """Load the folder as a study does, train for so many steps, and say what that took."""
    begin_s, begin_cpu_s = perf_counter(), process_time()
    data = load_task(ImageFolderSettings(name="image_folder", folder=folder))
    loaded_s = perf_counter() - begin_s
    samples_digest(data)
    started_s = perf_counter() - begin_s
    found = {"loaded_s": loaded_s, "ready_s": started_s, "processor_s": process_time() - begin_cpu_s}
    if steps:
        torch.set_num_threads(1)
        first = nn.Conv2d(3, 8, 3, stride=2, bias=False)
        network = nn.Sequential(first, nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        network.append(nn.Linear(8, CLASSES))
        some = data.train.drawn(steps * BATCH, seed=0)
        settings = TrainingSettings(
            epochs=1, learning_rate=0.01, weight_decay=0.0, batch_size=BATCH, label_smoothing=0.0
        )
        for samples, name in ((some, "held_step_ms"), (data.train, "stored_step_ms")):
            count = len(samples) // BATCH
            begin_s = perf_counter()
            train(network, samples, settings, seed=0, device="cpu")
            found[name] = 1000 * (perf_counter() - begin_s) / count
        begin_s = perf_counter()
        error_rate(network, data.validation)
        found["validation_s"] = perf_counter() - begin_s
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return found | {"peak_mib": float(status["VmHWM"].split()[0]) / 1024}


def main(
    images: Annotated[int, typer.Option(help="How many images.")] = 5_000,
    side: Annotated[int, typer.Option(help="Height and width of each.")] = 96,
    steps: Annotated[int, typer.Option(help="Steps of the training on samples that are held.")] = 20,
    out: Annotated[Path, typer.Option(help="Where the table goes.")] = Path("build/large_folder.md"),
    folder: Annotated[Path | None, typer.Option(hidden=True, help="Measure this one and say it as JSON.")] = None,
) -> None:
    """Write a folder, load it three times, and write the table."""
    if folder is not None:
        typer.echo(json.dumps(measure(folder, steps)))
        return
    with tempfile.TemporaryDirectory() as work:
        write_images(Path(work) / "images", images, side)
        rows = [_in_a_process(Path(work), taken) for taken in (0, 0, steps)]
    heads = ["start", "loaded, s", "ready, s", "of it processor, s", "largest memory, MiB"]
    cells = [
        [name, *(f"{row[key]:.1f}" for key in ("loaded_s", "ready_s", "processor_s")), f"{row['peak_mib']:.0f}"]
        for name, row in zip(("first", "second", "third, with a training"), rows, strict=True)
    ]
    last = rows[-1]
    text = f"""# A folder of {images:,} images

`python -m experiments.benchmarks.large_folder --images {images} --side {side} --steps {steps}`: {side} x {side} x 3,
as float32 {images * side * side * 12 / 2**20:,.0f} MiB. *Ready* is with the digest of all samples, which every search
takes. A training step of {BATCH} images took {last["stored_step_ms"]:.1f} ms from the file and
{last["held_step_ms"]:.1f} ms from memory, the validation split {last["validation_s"]:.1f} s.

{table(heads, cells)}
"""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, text)
    typer.echo(text)


def _in_a_process(work: Path, steps: int) -> dict[str, float]:
    command = [sys.executable, "-m", "experiments.benchmarks.large_folder", "--steps", str(steps)]
    done = subprocess.run(
        [*command, "--folder", str(work / "images")],
        env=os.environ | {"MOBO_CACHE_DIR": str(work / "cache")},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return {name: float(value) for name, value in json.loads(done.stdout).items()}


if __name__ == "__main__":
    typer.run(main)
