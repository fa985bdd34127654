"""AutoGluon as its page on tuning hyperparameters has it: a table of numbers, its neural network, random search.

Its default, an ensemble of trees and networks, is for no microcontroller; pictures and signals go in as columns. What
it does to columns before the network is kept linear, so that the first layer can take it in.
"""

# mypy: ignore-errors
# It runs in an environment of its own.

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from autogluon.common import space
from autogluon.features.generators import IdentityFeatureGenerator
from autogluon.tabular import TabularPredictor

LABEL = "label"
MAX_TRIALS = 100_000
SEARCHED = 0.8
"""Share of the time that it is told of; the rest is for what comes before and after its search."""


def frame(splits: dict[str, np.ndarray], name: str) -> pd.DataFrame:
    """Return a split as a table in torch's order, without columns of one or two values, which would be recoded."""
    x, train = (splits[f"x_{part}"].transpose(0, 3, 1, 2) for part in (name, "train"))
    x, train = x.reshape(len(x), -1), train.reshape(len(train), -1)
    kept = [place for place in range(x.shape[1]) if len(np.unique(train[:, place])) > 2]
    return pd.DataFrame(x[:, kept], columns=[f"v{place}" for place in kept]).assign(**{LABEL: splits[f"y_{name}"]})


def search(splits: dict[str, np.ndarray], out: Path, seconds: float) -> None:
    """Search for so many seconds of processor time."""
    # Its limit is by the clock; here processor time is what counts, on a machine that others use, too.
    begun = time.time()
    time.time = lambda: begun + time.process_time()
    TabularPredictor(LABEL, problem_type="multiclass", eval_metric="accuracy", path=str(out / "models")).fit(
        frame(splits, "train"),
        tuning_data=frame(splits, "validation"),
        time_limit=SEARCHED * seconds,
        feature_generator=IdentityFeatureGenerator(),
        fit_weighted_ensemble=False,
        num_cpus=1,
        num_gpus=0,
        hyperparameters={
            "NN_TORCH": {
                "num_layers": space.Int(1, 3),
                "hidden_size": space.Categorical(16, 32, 64, 128),
                "learning_rate": space.Real(1e-4, 3e-2, log=True),
                "dropout_prob": space.Categorical(0.0, 0.1, 0.2),
                "num_epochs": int(splits["epochs"]),
                "max_batch_size": int(splits["batch_size"]),
                "use_batchnorm": False,
                "activation": "relu",
                "proc.skew_threshold": 1e9,
            }
        },
        hyperparameter_tune_kwargs={"num_trials": MAX_TRIALS, "scheduler": "local", "searcher": "random"},
    )


def deliver(splits: dict[str, np.ndarray], out: Path) -> None:
    """Write the best network as plain layers, what was done to the columns taken into the first."""
    predictor = TabularPredictor.load(str(out / "models"))
    best = predictor._trainer.load_model(predictor.model_best)
    layers = [layer for layer in best.model.main_block if hasattr(layer, "weight")]
    weights = [layer.weight.detach().numpy() for layer in layers]
    biases = [layer.bias.detach().numpy() for layer in layers]
    ((_, steps, columns),) = best.processor.transformers_
    scaled = weights[0] / steps["scaler"].scale_
    biases[0] = (biases[0] - scaled @ steps["scaler"].mean_).astype(np.float32)
    weights[0] = np.zeros((len(scaled), splits["x_train"][0].size), np.float32)
    weights[0][:, [int(name.removeprefix("v")) for name in columns]] = scaled
    delivered = out / "delivered"
    delivered.mkdir()
    arrays = {
        f"{1 + 2 * place}.{name}": values
        for name, found in (("weight", weights), ("bias", biases))
        for place, values in enumerate(found)
    }
    np.savez(delivered / "best.npz", **arrays)
    design = {"kind": "dense", "widths": [len(bias) for bias in biases[:-1]]}
    (delivered / "best.json").write_text(json.dumps({"design": design}))
    (out / "trained.txt").write_text(str(len(predictor.model_names())))


def main(splits_path: Path, out: Path, seconds: float, *, delivers: bool) -> None:
    """Search, or deliver the best network."""
    splits = dict(np.load(splits_path))
    if delivers:
        deliver(splits, out)
    else:
        search(splits, out, seconds)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[4]), delivers="--deliver" in sys.argv)
