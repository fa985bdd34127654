"""From a folder to a model within a board's limit, beside what needs no search: a float CNN, an SVM, a random forest.

    python -m experiments.rivals.folders_beside_baselines --minutes 2 --seeds 2

Three folders (``data_folders.py``) each get the config that ``mobo init`` writes. One arm adds augmentation as part of
the search and the last training on train and reward, and on sound the input as part of the design; the other one has
none of that and as much processor time as the first one took with its last training. What is picked is the model of
least validation error within 64 KiB of flash.

Rivals learn from train and reward together, see the input that the config says, standardised, and have no limit: a CNN
of three layers in float, as many epochs as a thousand steps take; an SVM (its C chosen on the validation split) and a
random forest on features. The test split chooses nothing. Resumable: what has rows in ``rows.csv`` is not measured
again.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from time import process_time
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from envs.compression.float_network.stored_inputs import in_memory
from experiments.rivals.data_folders import FOLDERS
from experiments.rivals.torch_networks import Splits, build, error_of, fit
from experiments.searches.searched_input import searched
from hw_models.device import load_device
from mobo.base import atomic_write, markdown
from mobo.base.rows import Row, RowFile
from mobo.runs.record import RunRecord
from mobo.space.columns import VALIDATION_ERROR
from mobo.space.trial import Trial
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.config_file import load_config
from mobo.tinyml.starter import starter_config
from mobo.tinyml.tasks import load_task

BOARD, FLASH_BYTES = "nucleo-l4r5zi", 64 * 1024
WITH, WITHOUT, CNN, SVM, FOREST = "ours", "ours, without", "float CNN", "SVM", "random forest"

# 20 epochs of a few hundred samples end long before a network has learnt them.
_STEPS, _FEWEST_EPOCHS, _MOST_EPOCHS = 1000, 20, 100
_ALL_OF_IT = (
    "retrain.front=true",
    'space.augmentation_strength={type="ordinal", values=[0.0, 0.25, 0.5]}',
)
# What a user knows of these data: photographs may be mirrored; what a keyword's map needs may be searched.
_KNOWN: Mapping[str, Sequence[str]] = {
    "images": ('training.augmentation=["shift", "flip"]',),
    "sound": (
        'training.augmentation=["time_shift", "noise", "mask"]',
        'space.task_coefficients={type="int", low=8, high=20}',
        'space.task_step_ms={type="ordinal", values=[20, 30, 40]}',
    ),
    "motion": ('training.augmentation=["time_shift", "noise", "scale"]',),
}
_CS, _TREES, _BATCH, _RATE = (1.0, 10.0, 100.0), 300, 64, 3e-3
_CNN = {"kind": "plain", "layers": 3, "filters": 16, "growth": 2.0, "kernel": 5}
COLUMNS = (
    "data", "model", "seed", "samples", "search_s", "processor_s", "trials", "trainings", "validation_error",
    "test_error", "searched_test_error", "flash_bytes", "ram_bytes", "latency_ms", "design",
)  # fmt: skip
"""Of ``rows.csv``: a model a row, and how many samples it learnt from. Errors are shares, seconds the processor's.

``processor_s`` is all of an arm, ``searched_test_error`` is from before the last training.
"""

_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)

_Values = npt.NDArray[np.float32]
Tensors = dict[str, torch.Tensor]


def main(
    minutes: Annotated[float, typer.Option(min=0.1, help="Of processor time, of the first arm's search.")] = 2.0,
    seeds: Annotated[int, typer.Option(min=1, help="How many, from 0 on.")] = 2,
    data: Annotated[list[str] | None, typer.Option(help="images, sound, motion; without it all.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the data, the runs, rows.csv and table.md.")] = Path(
        "runs/folders-beside-baselines"
    ),
) -> None:
    """Measure what is missing, print the table."""
    rows = RowFile(out / "rows.csv", key=("data", "model", "seed"), columns=COLUMNS, settings=f"{minutes:g} minutes")
    for seed in range(seeds):
        for name in data or list(FOLDERS):
            starter, seconds = _started(name, out), 60 * minutes
            for model in (WITH, WITHOUT):
                if (name, model, seed) not in rows:
                    path = out / f"{name}-{model.replace(', ', '-')}-{seed}"
                    rows.add([_whole(_ours(name, model, seed, starter, seconds, path))])
                seconds = float(rows.of((name, model, seed))[0]["processor_s"])
            if (name, CNN, seed) not in rows:
                rows.add([_whole(row) for row in _rivals(name, seed, study(starter, name, WITHOUT, seed))])
            atomic_write.write_text(out / "table.md", table(rows) + "\n")
    print(table(rows))


def _whole(row: Mapping[str, object]) -> Mapping[str, object]:
    """Return a row with nothing in the columns that it lacks."""
    return {**dict.fromkeys(COLUMNS, ""), **row}


def _started(name: str, out: Path) -> Path:
    """Return the config that ``mobo init`` writes for a folder; makes both where they are missing."""
    folder, config_file = out / "data" / name, out / f"{name}.toml"
    if not config_file.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        FOLDERS[name](folder)
        atomic_write.write_text(config_file, starter_config(folder, load_device(BOARD), place=out))
    return config_file


def study(starter: Path, name: str, model: str, seed: int) -> StudyConfig:
    """Return the study of an arm: the starter's, and in the one arm what a user adds."""
    same = ('task.front_end="counted"', f"seed={seed}", f"task.split_seed={seed}")
    return load_config(starter, (*same, *((*_ALL_OF_IT, *_KNOWN[name]) if model == WITH else ())))


def _ours(name: str, model: str, seed: int, starter: Path, seconds: float, path: Path) -> Mapping[str, object]:
    config, begin = study(starter, name, model, seed), process_time()
    record, search_s = searched(lambda trials: config.model_copy(update={"trials": trials}), seconds, path)
    taken_s = process_time() - begin
    row = {
        "data": name,
        "model": model,
        "seed": seed,
        "search_s": round(search_s),
        "processor_s": round(taken_s),
        "trials": len(record.finished),
        "trainings": sum(trial.training is None or trial.training.trial == trial.number for trial in record.finished),
    }
    picked = pick(record)
    if picked is None:
        return row
    again = record.retrained_model(picked.number)
    searched_error = record.test_errors[picked.number]
    data = load_task(config.task)
    return row | {
        "samples": len(data.train) if again is None else again.samples,
        "validation_error": picked.outcome[VALIDATION_ERROR],
        "test_error": searched_error if again is None else again.test_error,
        "searched_test_error": searched_error,
        "flash_bytes": picked.outcome["flash_model_bytes"],
        "ram_bytes": picked.outcome["ram_bytes"],
        "latency_ms": picked.outcome["latency_ms"],
        "design": ", ".join(f"{key} {value}" for key, value in picked.design.items()),
    }


def pick(record: RunRecord) -> Trial | None:
    """Return the model of the front of least validation error within the flash."""
    within = [trial for trial in record.front if (trial.outcome["flash_model_bytes"] or 0.0) <= FLASH_BYTES]
    return min(within, key=lambda trial: trial.outcome[VALIDATION_ERROR] or 0.0, default=None)


def _rivals(name: str, seed: int, config: StudyConfig) -> Iterator[Mapping[str, object]]:
    """Yield a row of each model that needs no search."""
    data = load_task(config.task)
    splits = {"train": data.train, "reward": data.reward, "validation": data.validation, "test": data.load_test()}
    x = {split: in_memory(samples.x).contiguous() for split, samples in splits.items()}
    y = {split: samples.y for split, samples in splits.items()}
    for of in (x, y):
        of["train"] = torch.cat([of["train"], of.pop("reward")])
    features = {split: _features(name, values.numpy()) for split, values in x.items()}
    forest = RandomForestClassifier(_TREES, random_state=seed)
    svms = [make_pipeline(StandardScaler(), SVC(C=c)) for c in _CS]
    judged: Mapping[str, Callable[[], tuple[float, float]]] = {
        CNN: lambda: _network(x, y, _epochs(len(data.train)), len(data.class_names), seed),
        SVM: lambda: min(_fitted(svm, features, y) for svm in svms),
        FOREST: lambda: _fitted(forest, features, y),
    }
    for model, errors in judged.items():
        begin = process_time()
        validation_error, test_error = errors()
        yield {
            "data": name,
            "model": model,
            "seed": seed,
            "samples": len(y["train"]),
            "processor_s": round(process_time() - begin),
            "validation_error": validation_error,
            "test_error": test_error,
        }


def _epochs(samples: int) -> int:
    """Return how long the CNN is trained."""
    return min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, ceil(_STEPS * _BATCH / samples)))


def _network(x: Tensors, y: Tensors, epochs: int, classes: int, seed: int) -> tuple[float, float]:
    """Return validation and test error of a small CNN in float."""
    torch.manual_seed(seed)
    splits = Splits(x, y, {"classes": classes, "batch_size": _BATCH, "epochs": float(epochs)})
    network = build(_CNN, splits.shape, classes)
    validation_error = fit(network, splits, _RATE, seed=seed)
    return validation_error, error_of(network, Splits({"validation": x["test"]}, {"validation": y["test"]}, {}))


def _fitted(model: ClassifierMixin, features: Mapping[str, _Values], y: Tensors) -> tuple[float, float]:
    """Return validation and test error of a model of scikit-learn."""
    model.fit(features["train"], y["train"].numpy())
    validation, test = (
        float((model.predict(features[split]) != y[split].numpy()).mean()) for split in ("validation", "test")
    )
    return validation, test


def _features(name: str, x: _Values) -> _Values:
    """Return what the models of scikit-learn see of samples ``N x C x H x W``.

    Pixels; of sound the MFCC and their means and deviations over time; of motion statistics and the spectrum of each
    axis.
    """
    flat = x.reshape(len(x), -1)
    if name == "images":
        return flat
    if name == "sound":
        return np.concatenate([flat, x.mean(axis=2).reshape(len(x), -1), x.std(axis=2).reshape(len(x), -1)], axis=1)
    spectrum = np.log1p(np.abs(np.fft.rfft(x - x.mean(axis=3, keepdims=True), axis=3)))
    quantiles = np.moveaxis(np.quantile(x, _QUANTILES, axis=3), 0, -1)
    parts = (x.mean(axis=3), x.std(axis=3), quantiles, spectrum)
    return np.concatenate([part.reshape(len(x), -1) for part in parts], axis=1).astype(np.float32)


_HEADS = (
    "data", "model", "seed", "learnt from", "processor s", "trials", "trainings", "validation %", "test %",
    "before the last training", "flash KiB", "RAM KiB", "latency ms",
)  # fmt: skip


def table(rows: Iterable[Row]) -> str:
    """Return models as a Markdown table, those of one folder and seed one after the other."""
    return markdown.table(
        _HEADS, map(_shown, sorted(rows, key=lambda row: (list(FOLDERS).index(row["data"]), row["seed"])))
    )


def _shown(row: Row) -> tuple[str, ...]:
    def shown(name: str, form: str, divisor: float = 1.0) -> str:
        return format(float(row[name]) / divisor, form) if row[name] else "-"

    plain = tuple(row[name] for name in ("data", "model", "seed", "samples", "processor_s"))
    return (
        *plain, row["trials"] or "-", row["trainings"] or "-",
        *(shown(name, ".1f", 0.01) for name in ("validation_error", "test_error", "searched_test_error")),
        *(shown(name, ".1f", 1024) for name in ("flash_bytes", "ram_bytes")), shown("latency_ms", ".2f"),
    )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
