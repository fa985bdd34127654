"""What takes the time of a search, by family of networks: the largest items.

    python -m experiments.benchmarks.trial_profile [--trials 16] [--family residual]
        [--out results/benchmarks/trial_profile.md]
    python -m experiments.benchmarks.trial_profile --study experiments/searches/quickstart.toml --trials 100

A short search of every family, its suggestions, trainings and fine-tunings in this process. Every two milliseconds of
processor time the innermost function of Python is looked up, and the time since the last look is its own: what runs in
C++ counts for the function that called it, the passing of gradients for the step that asked for them. So the
measurement takes next to no time itself, which a tracing profiler does not say of itself with networks that small.
Most families need ``MOBO_DATA_DIR``.
"""

import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import process_time
from types import FrameType
from typing import Annotated

import torch
import typer

from experiments.benchmarks.trial_speed import FAMILIES
from mobo.base.atomic_write import write_text
from mobo.base.markdown import table
from mobo.runs.start import prepare_run
from mobo.search import run_search
from mobo.tinyml.config import StudyConfig, parse_config
from mobo.tinyml.config_file import load_config

_LOOK_S = 0.002
_MOST = 5

STAGES: Mapping[str, str] = {
    "mobo.samplers": "suggestion",
    "mobo.study.loop": "suggestion",
    "mobo.tinyml.training": "training",
    "envs.compression.training.recovery": "fine-tuning",
    "envs.compression.structure": "pruning",
    "envs.compression.integer": "integers",
    "mobo.report": "report",
    "mobo.runs": "files",
    "mobo.study.store": "files",
    "hw_models": "costs",
}
"""What a function belongs to that one of these modules called; of several the innermost counts."""

ITEMS: Mapping[str, str] = {
    "_engine_run_backward": "gradients",
    "convolve": "convolutions",
    "_conv_forward": "convolutions",
    "batch_norm": "batch norms",
    "BatchNorm.forward": "batch norms",
    "Module._call_impl": "calls of modules",
    "Module._wrapped_call_impl": "calls of modules",
    "Module.__getattr__": "calls of modules",
    "Adam.step": "Adam",
}
"""What some innermost functions do; the others stand by their name."""

_CONFIG = """
name = "trial-profile"
trials = {trials}
[task]
{task}
[network]
family = "{family}"
[device]
name = "nucleo-l4r5zi"
[[objectives]]
name = "validation_error"
ideal = 0.0
reference = 1.0
[[objectives]]
name = "flash_model_bytes"
unit = "bytes"
ideal = 0
reference = 131072
[space]
epochs = {epochs}
finetune_steps = 250
"""

Spent = Counter[tuple[str, str]]
"""Seconds of processor time by stage and item."""


def main(
    trials: Annotated[int, typer.Option(min=2, help="Of every search.")] = 16,
    family: Annotated[list[str] | None, typer.Option(help="Some families only.")] = None,
    study: Annotated[Path | None, typer.Option(help="Print the tables of this study instead, with one job.")] = None,
    out: Annotated[Path, typer.Option(help="Where the page goes.")] = Path("results/benchmarks/trial_profile.md"),
) -> None:
    """Search with every family and write the page; or with one study and print its tables."""
    torch.set_num_threads(1)
    if study is not None:
        config = load_config(study, [f"trials={trials}", "compute.jobs=1"])
        print(tables({study.stem: measured(config)}))
        return
    found = {}
    for name in family or FAMILIES:
        found[name] = measured(study_of(name, trials))
        typer.echo(f"{name}: {sum(found[name].values()):.0f} s")
    text = page(found, trials)
    write_text(out, text)
    print(text)


def study_of(family: str, trials: int) -> StudyConfig:
    """Return the study of one family: every hyperparameter that the family has, short trainings."""
    task, epochs = FAMILIES[family]
    return parse_config(_CONFIG.format(trials=trials, task=task, family=family, epochs=epochs))


def measured(config: StudyConfig) -> Spent:
    """Run a search and return where its processor time went."""
    spent: Spent = Counter()
    with tempfile.TemporaryDirectory() as folder:
        run = prepare_run(config, out=Path(folder) / "run", resume=False)
        with sampled(lambda frame, seconds: spent.update({place_of(frame): seconds})):
            run_search(config, run)
    return spent


@contextmanager
def sampled(look: Callable[[FrameType, float], None]) -> Iterator[None]:
    """Show, every few milliseconds of processor time, the innermost frame and the seconds since the last look.

    Only in the main thread, and on systems that have ``SIGPROF``.
    """
    last_s = process_time()

    def looked(_signal: int, frame: FrameType | None) -> None:
        nonlocal last_s
        now_s = process_time()
        if frame is not None:
            look(frame, now_s - last_s)
        last_s = now_s

    before = signal.signal(signal.SIGPROF, looked)
    signal.setitimer(signal.ITIMER_PROF, _LOOK_S, _LOOK_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def place_of(frame: FrameType) -> tuple[str, str]:
    """Return the stage and the item that a frame's time belongs to."""
    name = frame.f_code.co_qualname
    at: FrameType | None = frame
    while at is not None:
        module = at.f_globals.get("__name__", "")
        for prefix, stage in STAGES.items():
            if module == prefix or module.startswith(f"{prefix}."):
                return stage, ITEMS.get(name, name)
        at = at.f_back
    return "else", ITEMS.get(name, name)


def page(found: Mapping[str, Spent], trials: int) -> str:
    """Return the page."""
    return f"""# What takes the time of a search

`python -m experiments.benchmarks.trial_profile --trials {trials}`: a search of {trials} trials of every family, one
job, 250 fine-tuning steps, few epochs. Seconds of processor time, the share of every stage, then the largest items.

{tables(found)}
"""


def tables(found: Mapping[str, Spent]) -> str:
    """Return for every family or study the seconds and the shares of the stages, then the largest items."""
    stages = list(dict.fromkeys(stage for spent in found.values() for stage, _ in _by_stage(spent).most_common()))
    rows = [
        [family, f"{sum(spent.values()):.0f}", *(f"{_share(_by_stage(spent)[stage], spent):.0f} %" for stage in stages)]
        for family, spent in found.items()
    ]
    shares = table(["family", "s", *stages], rows)
    return f"{shares}\n\n{table(['family', *(f'{place}.' for place in range(1, _MOST + 1))], _largest(found))}"


def _by_stage(spent: Spent) -> Counter[str]:
    stages: Counter[str] = Counter()
    for (stage, _), seconds in spent.items():
        stages[stage] += seconds
    return stages


def _largest(found: Mapping[str, Spent]) -> Sequence[Sequence[str]]:
    rows = []
    for family, spent in found.items():
        largest = spent.most_common(_MOST)
        items = [f"{stage}: {item}, {_share(taken_s, spent):.0f} %" for (stage, item), taken_s in largest]
        rows.append([family, *items, *["-"] * (_MOST - len(items))])
    return rows


def _share(seconds: float, spent: Spent) -> float:
    return 100 * seconds / sum(spent.values())


if __name__ == "__main__":
    typer.run(main)
