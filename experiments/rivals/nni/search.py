"""NNI as its page on hyperparameters has it: an experiment on this machine, TPE, one metric, the best trial.

A network beyond a limit reports the error 1 and is not trained.
"""

# mypy: ignore-errors
# It runs in an environment of its own.

import os
import sys
from pathlib import Path

import nni
import torch
from nni.experiment import Experiment, launcher

from experiments.rivals import torch_networks as nets

PORT = 18080


def trial(splits_path: Path, out: Path, seed: int) -> None:
    """Train the design that NNI gives this process."""
    design = nni.get_next_parameter()
    splits = nets.load_splits(splits_path)
    torch.manual_seed(seed)
    network = nets.build(design, splits.shape, splits.classes)
    if not nets.fits(nets.price(network, splits), splits):
        nni.report_final_result(1.0)
        return
    error = nets.fit(network, splits, design["learning_rate"], seed=seed, after_epoch=nni.report_intermediate_result)
    nets.keep(out, os.environ["NNI_TRIAL_JOB_ID"], network, design, error)
    nni.report_final_result(error)


def main(splits_path: Path, out: Path, seed: int, *, deliver: bool) -> None:
    """Search until killed, or deliver the best network."""
    if deliver:
        nets.deliver(out, [nets.best(out)])
        return
    # It waits three seconds for its server to start; a busy machine takes longer.
    launcher._check_rest_server.__defaults__ = (120, None)
    experiment = Experiment("local")
    asked = " ".join([sys.executable, "-m", "experiments.rivals.nni.search", *sys.argv[1:], "--trial"])
    experiment.config.trial_command = asked
    experiment.config.trial_code_directory = Path.cwd() / "experiments" / "rivals" / "nni"
    experiment.config.experiment_working_directory = out / "nni"
    experiment.config.search_space = {
        **{
            name: {"_type": "choice", "_value": list(values)}
            for name, values in {
                "layers": nets.LAYERS, "filters": nets.FILTERS, "growth": nets.GROWTHS, "kernel": nets.KERNELS,
                "kind": nets.KINDS,
            }.items()
        },
        "learning_rate": {"_type": "loguniform", "_value": list(nets.LEARNING_RATES)},
    }  # fmt: skip
    experiment.config.tuner.name = "TPE"
    experiment.config.tuner.class_args = {"optimize_mode": "minimize", "seed": seed}
    experiment.config.trial_concurrency = 1
    experiment.config.max_trial_number = 100_000
    experiment.run(PORT)


if __name__ == "__main__":
    where = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    if "--trial" in sys.argv:
        trial(*where)
    else:
        main(*where, deliver="--deliver" in sys.argv)
