"""Ax as its page on several objectives has it: a ``Client``, outcome constraints, its own choice of method.

The costs are known before a training, so what is beyond a limit is told without one (``mobo cost`` says so to anybody).
"""

# mypy: ignore-errors
# It runs in an environment of its own.

import json
import sys
from pathlib import Path

import torch
from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

from experiments.rivals import torch_networks as nets

COSTS = ("flash_model_bytes", "ram_bytes", "latency_ms")


def new_client(splits: nets.Splits, seed: int) -> Client:
    """Return an experiment without trials."""
    client = Client(random_seed=seed)
    choices = {"filters": nets.FILTERS, "growth": nets.GROWTHS, "kernel": nets.KERNELS, "kind": nets.KINDS}
    kinds = {"growth": "float", "kind": "str"}
    client.configure_experiment(
        parameters=[
            RangeParameterConfig(name="layers", bounds=(nets.LAYERS[0], nets.LAYERS[-1]), parameter_type="int"),
            RangeParameterConfig(
                name="learning_rate", bounds=nets.LEARNING_RATES, parameter_type="float", scaling="log"
            ),
            *(
                ChoiceParameterConfig(
                    name=name, values=list(values), parameter_type=kinds.get(name, "int"), is_ordered=name != "kind"
                )
                for name, values in choices.items()
            ),
        ]
    )
    limits = [f"{name} <= {splits.budget[name.replace('_model', '')]}" for name in COSTS]
    client.configure_optimization(
        objective="-error, -flash_model_bytes, -latency_ms", outcome_constraints=["error <= 0.5", *limits]
    )
    return client


def main(splits_path: Path, out: Path, seed: int, *, deliver: bool) -> None:
    """Search until killed, or deliver the front of what was found."""
    snapshot = out / "client.json"
    if deliver:
        client = Client.load_from_json_file(str(snapshot))
        numbers = [index for _, _, index, _ in client.get_pareto_frontier(use_model_predictions=False)]
        kept = {path.stem for path in (out / "trials").glob("*.json")}
        nets.deliver(out, [number for number in numbers if str(number) in kept])
        return
    splits = nets.load_splits(splits_path)
    client = new_client(splits, seed)
    while True:
        for number, design in client.get_next_trials(max_trials=1).items():
            torch.manual_seed(seed + number)
            network = nets.build(design, splits.shape, splits.classes)
            outcome = {"error": 1.0, **nets.price(network, splits)}
            if nets.fits({name: outcome[name] for name in COSTS}, splits):
                outcome["error"] = nets.fit(network, splits, design["learning_rate"], seed=number)
                nets.keep(out, number, network, design, outcome["error"])
            client.complete_trial(trial_index=number, raw_data=outcome)
            print(number, json.dumps(design), outcome, flush=True)
        client.save_to_json_file(str(out / "new.json"))
        (out / "new.json").replace(snapshot)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), deliver="--deliver" in sys.argv)
