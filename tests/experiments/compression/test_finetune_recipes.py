from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from experiments.compression import finetune_recipes
from experiments.compression.finetune_recipes import (
    BASELINE,
    COLUMNS,
    FLOAT,
    KEY,
    RECIPES,
    SETUPS,
    SmoothedClassification,
    Subject,
    Trainer,
    frame_of,
    ratio_to_baseline,
    summary,
)
from mobo.base.rows import RowFile
from mobo.tinyml.config import CompressionSettings

BETTER = "steps 500"


def rows_of(recipe: str, errors: dict[str, tuple[float, ...]], *, epochs: int | None = None) -> list[dict[str, object]]:
    return [
        dict.fromkeys(COLUMNS)
        | {"task": task, "network": "small", "seed": 0, "policy": str(place), "recipe": recipe}
        | {"epochs": SETUPS[task].training.epochs if epochs is None else epochs}
        | {"error": error, "cross_entropy": 2 * error, "processor_s": 1.0}
        for task, values in errors.items()
        for place, error in enumerate(values)
    ]


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        [
            *rows_of(BASELINE, {"digits": (0.1, 0.3), "wisdm": (0.2, 0.2, 0.9)}),
            *rows_of(BETTER, {"digits": (0.05, 0.15), "wisdm": (0.1, 0.3)}),
        ]
    )


def test_every_task_counts_the_same_and_only_pairs_count(frame: pd.DataFrame) -> None:
    ratio = ratio_to_baseline(frame, BETTER, "error")
    assert ratio.by_task == pytest.approx({"digits": 0.5, "wisdm": 1.0})
    assert ratio.value == pytest.approx(0.5**0.5)
    assert ratio.pair_count == 4
    # The ratio of digits is the same in every pair; that of wisdm is from 0.5 to 1.5.
    assert (ratio.low, ratio.high) == pytest.approx((0.25**0.5, 0.75**0.5))


def test_the_table_has_a_line_for_every_recipe_but_the_baseline(frame: pd.DataFrame) -> None:
    floats = pd.DataFrame(rows_of(FLOAT, {"digits": (0.1,), "wisdm": (0.3,)}))
    text = summary(pd.concat([floats, frame]), None)
    assert "| steps 500 | 0.707 | 0.500 to 0.866 | 0.50 | 1.00 | 0.71 | 1.00 | 4 |" in text
    assert "| baseline |" not in text
    assert "| digits | 10.0 | 20.0 |" in text


def test_networks_of_other_trainings_are_a_table_of_their_own(frame: pd.DataFrame) -> None:
    longer = [*rows_of(BASELINE, {"wisdm": (0.2,)}, epochs=7), *rows_of(BETTER, {"wisdm": (0.1,)}, epochs=7)]
    both = pd.concat([frame, pd.DataFrame(longer)])
    assert summary(both, None) == summary(frame, None)
    assert "| steps 500 | 0.500 | 0.500 to 0.500 | - | 0.50 | 0.50 | 1.00 | 1 |" in summary(both, 7)


def test_smoothing_is_for_training_alone() -> None:
    outputs, y = torch.tensor([[2.0, -1.0], [0.0, 1.0]]), torch.tensor([0, 1])
    purpose = SmoothedClassification(0.1)
    assert purpose.loss(outputs, outputs, y) == F.cross_entropy(outputs, y, label_smoothing=0.1)
    assert purpose.loss(outputs, outputs, y, reduction="sum") == F.cross_entropy(outputs, y, reduction="sum")


def test_recipes_of_one_training_share_it_and_a_kept_network_is_the_trained_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {name: replace(RECIPES[name], tuning=replace(RECIPES[name].tuning, steps=2)) for name in RECIPES}
    monkeypatch.setattr(finetune_recipes, "RECIPES", short)
    names = (BASELINE, "bias correction", "wide 0.9", "smoothing 0.1")
    trained, kept = (
        {
            name: network.weights[network.graph.weight_layers[-1].name]
            for name, network, _ in Subject(Trainer("digits", 0, 1, tmp_path), "small").compressed((0.6, 8), names)
        }
        for _ in range(2)
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "digits-small-0-1.safetensors",
        "digits-wide-0-1.safetensors",
    ]
    for name in names:
        assert (trained[name].values == kept[name].values).all()
    baseline = trained[BASELINE]
    assert (baseline.values == trained["bias correction"].values).all()
    assert (baseline.bias != trained["bias correction"].bias).any()
    assert (baseline.values != trained["wide 0.9"].values).any()
    assert (baseline.values != trained["smoothing 0.1"].values).any()


def test_the_committed_page_has_the_tables_of_the_committed_rows() -> None:
    folder = Path(__file__).resolve().parents[3] / "results" / "compression" / "finetune_recipes"
    rows = RowFile(folder / "errors.csv", key=KEY, columns=COLUMNS)
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert summary(frame_of(rows), None) in page
    batches = summary(frame_of(RowFile(folder / "batches" / "errors.csv", key=KEY, columns=COLUMNS)), None)
    assert batches.partition("\n\n")[0] in page


def test_the_default_has_the_steps_that_were_found_best() -> None:
    assert CompressionSettings().finetune == RECIPES["steps 1000"].tuning
