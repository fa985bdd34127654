"""Optuna as its pages on several objectives have it: error, flash and latency, TPE, limits as constraints.

The costs are known before a training, so what is beyond a limit is told without one (``mobo cost`` says so to anybody).
"""

# mypy: ignore-errors
# It runs in an environment of its own.

import sys
from pathlib import Path

import optuna
import torch

from experiments.rivals import torch_networks as nets


def main(splits_path: Path, out: Path, seed: int, *, deliver: bool) -> None:
    """Search until killed, or deliver the front of what was found."""
    study = optuna.create_study(
        study_name="rival",
        storage=f"sqlite:///{out}/study.db",
        load_if_exists=True,
        directions=["minimize"] * 3,
        sampler=optuna.samplers.TPESampler(seed=seed),
    )
    if deliver:
        nets.deliver(out, [trial.number for trial in study.best_trials])
        return
    splits = nets.load_splits(splits_path)

    def objective(trial: optuna.Trial) -> tuple[float, float, float]:
        design = {
            "layers": trial.suggest_int("layers", nets.LAYERS[0], nets.LAYERS[-1]),
            "filters": trial.suggest_categorical("filters", nets.FILTERS),
            "growth": trial.suggest_categorical("growth", nets.GROWTHS),
            "kernel": trial.suggest_categorical("kernel", nets.KERNELS),
            "kind": trial.suggest_categorical("kind", nets.KINDS),
            "learning_rate": trial.suggest_float("learning_rate", *nets.LEARNING_RATES, log=True),
        }
        torch.manual_seed(seed + trial.number)
        network = nets.build(design, splits.shape, splits.classes)
        costs = nets.price(network, splits)
        for name, cost in costs.items():
            trial.set_constraint(name, cost / splits.budget[name.replace("_model", "")] - 1)
        if not nets.fits(costs, splits):
            return 1.0, costs["flash_model_bytes"], costs["latency_ms"]
        error = nets.fit(network, splits, design["learning_rate"], seed=trial.number)
        nets.keep(out, trial.number, network, design, error)
        return error, costs["flash_model_bytes"], costs["latency_ms"]

    study.optimize(objective)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), deliver="--deliver" in sys.argv)
