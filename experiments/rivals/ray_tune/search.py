"""Ray Tune as its PyTorch pages have it: random designs, ASHA ends the bad ones, the best by validation error.

Its pages minimise one metric; a network beyond a limit reports the error 1 and is not trained.
"""

# mypy: ignore-errors
# It runs in an environment of its own.

import os
import sys
from pathlib import Path

import ray
from ray import tune
from torch import manual_seed

from experiments.rivals import torch_networks as nets


def train(design: dict, *, splits_path: Path, out: Path, seed: int) -> None:
    """Train one design and report after every epoch.

    Ray takes the name ``classes`` here for ``torch.classes``, which it cannot send, where ``torch`` is a global.
    """
    splits = nets.load_splits(splits_path)
    manual_seed(seed)
    network = nets.build(design, splits.shape, splits.classes)
    if not nets.fits(nets.price(network, splits), splits):
        tune.report({"error": 1.0})
        return
    error = nets.fit(
        network, splits, design["learning_rate"], seed=seed, after_epoch=lambda error: tune.report({"error": error})
    )
    nets.keep(out, tune.get_context().get_trial_id(), network, design, error)


def main(splits_path: Path, out: Path, seed: int, *, deliver: bool) -> None:
    """Search until killed, or deliver the best network of those that were trained to the end."""
    if deliver:
        nets.deliver(out, [nets.best(out)])
        return
    manual_seed(seed)
    # It waits thirty seconds for its node to start; a busy machine takes longer.
    os.environ["RAY_raylet_start_wait_time_s"] = "300"  # noqa: SIM112 (its name)
    ray.init(address="local", num_cpus=1, include_dashboard=False)
    space = {
        "layers": tune.choice(nets.LAYERS),
        "filters": tune.choice(nets.FILTERS),
        "growth": tune.choice(nets.GROWTHS),
        "kernel": tune.choice(nets.KERNELS),
        "kind": tune.choice(nets.KINDS),
        "learning_rate": tune.loguniform(*nets.LEARNING_RATES),
    }
    tuner = tune.Tuner(
        tune.with_parameters(train, splits_path=splits_path, out=out, seed=seed),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="error",
            mode="min",
            num_samples=-1,
            max_concurrent_trials=1,
            scheduler=tune.schedulers.ASHAScheduler(),
            search_alg=tune.search.BasicVariantGenerator(random_state=seed),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(name="search", storage_path=str(out / "ray")),
    )
    tuner.fit()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), deliver="--deliver" in sys.argv)
