"""How many wrong labels `mobo validate` finds, and how many right ones it takes for wrong.

    python -m experiments.code.check_label_warnings [--share 0.05] [--out results/code/label_warnings.md]

Of each data set a share of the labels is changed to another class, all classes alike, and what is found before and
after is counted. Labels that are wrong in the data themselves count as right ones. Most need ``MOBO_DATA_DIR``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer

from envs.compression.float_network.samples import LabelledSamples
from envs.compression.float_network.stored_inputs import in_memory
from mobo.base.atomic_write import write_text
from mobo.base.markdown import table
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.label_noise import NEIGHBOURS, surrounded
from mobo.tinyml.tasks.settings import (
    Cifar10Settings,
    DigitsSettings,
    KeywordsSettings,
    Mnist5kSettings,
    TaskSettings,
    TracebaseSettings,
    WisdmSettings,
)

TASKS: Sequence[TaskSettings] = (
    DigitsSettings(),
    Mnist5kSettings(name="mnist5k"),
    WisdmSettings(name="wisdm"),
    KeywordsSettings(name="keywords"),
    TracebaseSettings(name="tracebase"),
    Cifar10Settings(name="cifar10"),
)
_SAMPLES = 4000


def main(
    share: Annotated[float, typer.Option(min=0.0, max=1.0, help="Of the labels that are changed.")] = 0.05,
    out: Annotated[Path, typer.Option(help="Where the table goes.")] = Path("results/code/label_warnings.md"),
) -> None:
    """Change labels, count what is found, and write the table."""
    rows = [[task.name, *map(str, counted(load_task(task).train.drawn(_SAMPLES, seed=0), share))] for task in TASKS]
    heads = ("task", "samples", "found as they are", "changed", "found then", "of these changed")
    command = f"python -m experiments.code.check_label_warnings --share {share:g}"
    text = f"""# Wrong labels that are found

`{command}`: samples of the train split that have another label than all of their {NEIGHBOURS} nearest neighbours.

{table(heads, rows)}
"""
    write_text(out, text)
    print(text)


def counted(samples: LabelledSamples, share: float) -> tuple[int, int, int, int, int]:
    """Return samples, those found as they are, changed labels, those found then, and how many of them were changed."""
    generator = torch.Generator().manual_seed(1)
    x, y = in_memory(samples.x), samples.y
    classes = int(y.max()) + 1
    is_changed = torch.rand(len(y), generator=generator) < share
    others = (y + torch.randint(1, classes, y.shape, generator=generator)) % classes
    changed = torch.where(is_changed, others, y)
    found = surrounded(x, changed)
    return len(y), len(surrounded(x, y)), int(is_changed.sum()), len(found), int(is_changed[found].sum())


if __name__ == "__main__":
    typer.run(main)
