"""How much of a household's power does its refrigerator draw? A regression, against predictors that need no search.

    python -m experiments.searches.refrigerator_watts --out runs/refrigerator-watts

Load disaggregation with one input: 512 seconds of the summed power of a refrigerator and one other appliance, the label
is the refrigerator's mean power in them. Traces are real and metered one by one (tracebase), sums are made of them:
every refrigerator's window with three windows of other appliances. No refrigerator is on two sides of a split, and no
appliance of the test split in any other one. A network sees the means of eight seconds each, as ln(1 + watt).

The front of a small study stands beside what says the same of all windows, ridge regression and a random forest, which
see the same inputs, learn from the same train split, and, where they have a choice, choose on the validation split.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import numpy.typing as npt
import typer
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge

from envs.compression.float_network.samples import LabelledSamples
from mobo.base.markdown import table
from mobo.runs.record import read_run
from mobo.runs.start import prepare_run
from mobo.search import run_search
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.config_file import load_config
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.data import TaskData
from mobo.tinyml.tasks.data_files import find_data_file, read_arrays

APPLIANCE = "Refrigerator"
_PARTNERS, _SECONDS_OF_MEAN = 3, 8
_ALPHAS = (0.1, 1.0, 10.0, 100.0, 1000.0)
_TREES = 200
_STUDY = """
name = "refrigerator-watts"
seed = 0
trials = 12
[task]
name = "npz"
file = "refrigerator.npz"
layout = "length"
group_key = "appliance_train"
test_group_key = "appliance_test"
error = "mae"
unit = "W"
[network]
family = "cnn1d"
[device]
name = "nucleo-l4r5zi"
[[objectives]]
name = "validation_error"
[[objectives]]
name = "flash_model_bytes"
unit = "bytes"
reference = 32768
[[objectives]]
name = "latency_ms"
unit = "ms"
reference = 40
[[constraints]]
name = "ram_bytes"
unit = "bytes"
upper = 16384
[compression.finetune]
steps = 150
[space]
epochs = 20
width = {type = "ordinal", values = [8, 12, 16, 24]}
"""

_Array = npt.NDArray[np.generic]


class Sums(NamedTuple):
    """Summed windows.

    Attributes:
        x: Means of some seconds as ln(1 + watt), N x means.
        watts: Mean power of the appliance, N.
        appliance: Which one it is, N.
    """

    x: npt.NDArray[np.float32]
    watts: npt.NDArray[np.float32]
    appliance: _Array


def main(
    out: Annotated[Path, typer.Option(help="Folder of the arrays and the run.")] = Path("runs/refrigerator-watts"),
    trials: Annotated[int, typer.Option(min=1, help="Of the study.")] = 12,
) -> None:
    """Make the sums, search, print the table."""
    out.mkdir(parents=True, exist_ok=True)
    write_sums(out / "refrigerator.npz")
    (out / "study.toml").write_text(_STUDY, encoding="utf-8")
    config = load_config(out / "study.toml", [f"trials={trials}"])
    path = out / "run"
    if not (path / "front.csv").is_file():
        run_search(config, prepare_run(config, out=path, resume=path.is_dir()), resume=path.is_dir())
        read_run(path).write_tables()
    print(page(config, path))


def write_sums(path: Path) -> None:
    """Write the arrays of the study."""
    arrays = read_arrays(find_data_file(Path("tracebase_windows.npz")))
    label = [str(name) for name in arrays["class_names"]].index(APPLIANCE)
    written: dict[str, _Array] = {}
    for seed, part in enumerate(("train", "test")):
        found = sums(arrays[f"x_{part}"], arrays[f"y_{part}"] == label, arrays[f"device_{part}"], seed=seed)
        written |= {f"x_{part}": found.x, f"y_{part}": found.watts, f"appliance_{part}": found.appliance}
    np.savez_compressed(path, **written)  # type: ignore[arg-type]


def sums(watts: _Array, is_own: npt.NDArray[np.bool_], device: _Array, *, seed: int) -> Sums:
    """Return every window of an appliance, summed with windows of others.

    Args:
        watts: Windows, N x seconds.
        is_own: Which of them are the appliance's, N.
        device: Which device each is of, N.
        seed: Of the choice of the others.
    """
    own = np.repeat(watts[is_own].astype(np.float32), _PARTNERS, axis=0)
    others = np.random.default_rng(seed).choice(np.flatnonzero(~is_own), len(own), replace=len(own) > (~is_own).sum())
    together = own + watts[others].astype(np.float32)
    means = together.reshape(len(own), -1, _SECONDS_OF_MEAN).mean(axis=2)
    return Sums(np.log1p(means), own.mean(axis=1), np.repeat(device[is_own], _PARTNERS))


def page(config: StudyConfig, path: Path) -> str:
    """Return the test errors of the front and of the predictors as a table."""
    record, data = read_run(path), load_task(config.task)
    scale = config.error_scale
    rows: list[tuple[str, ...]] = [
        (name, scale.number(validation), scale.number(test), "–", "–") for name, validation, test in rivals(data)
    ]
    for entry in record.front_objects():
        errors = [scale.number(entry[name]) for name in ("validation_error", "test_error")]
        costs = (f"{entry['flash_model_bytes'] / 1024:.1f}", f"{entry['latency_ms']:.2f}")
        rows.append((f"trial {entry['trial']}, integers", *errors, *costs))
    heads = ("", f"{scale.called('validation')} {scale.unit}", f"{scale.called('test')} {scale.unit}")
    return table((*heads, "model flash KiB", "latency ms"), rows)


def rivals(data: TaskData) -> Iterator[tuple[str, float, float]]:
    """Yield what needs no search: its name, and its errors on the validation and on the test split."""
    (x, y), validation, test = map(_flat, (data.train, data.validation, data.load_test()))
    median = np.median(y)
    yield "the median of train", _mae(median, validation[1]), _mae(median, test[1])
    ridges = [Ridge(alpha=alpha).fit(x, y) for alpha in _ALPHAS]
    best = min(ridges, key=lambda ridge: _mae(ridge.predict(validation[0]), validation[1]))
    forest = RandomForestRegressor(_TREES, random_state=0).fit(x, y)
    for name, model in ((f"ridge, alpha {best.alpha:g}", best), (f"random forest of {_TREES} trees", forest)):
        yield name, _mae(model.predict(validation[0]), validation[1]), _mae(model.predict(test[0]), test[1])


def _flat(samples: LabelledSamples) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    return samples.x[:].flatten(1).numpy(), samples.y[:, 0].numpy()


def _mae(said: npt.ArrayLike, labels: npt.NDArray[np.float32]) -> float:
    return float(np.abs(np.asarray(said) - labels).mean())


if __name__ == "__main__":
    typer.run(main)
