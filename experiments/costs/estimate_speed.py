"""Print how many costs per second one core estimates: ``python -m experiments.costs.estimate_speed``.

Every round changes channels and weight bits of ResNet-8 at random, as an agent does: building the changed graph is
timed as well, and costs of layers seen before are remembered as they would be in a search.
"""

import argparse
import time

import numpy as np

from experiments.costs.reference_networks import resnet8
from hw_models.cost import estimate
from hw_models.device import load_device
from hw_models.graph.layer_graph import LayerGraph
from hw_models.runtime import load_runtime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000, help="estimates to time")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random policies")
    arguments = parser.parse_args()
    device, runtime = load_device("nucleo-l4r5zi"), load_runtime("tflm-cmsis-nn")
    graph, generator = resnet8(), np.random.default_rng(arguments.seed)
    choices = [_random_choice(graph, generator) for _ in range(arguments.rounds)]
    start = time.perf_counter()
    graphs = [graph.resized(*choice) for choice in choices]
    built = time.perf_counter()
    for changed in graphs:
        estimate(changed, device, runtime)
    costed = time.perf_counter()
    print(f"{arguments.rounds / (built - start):8.0f} graphs changed per second")
    print(f"{arguments.rounds / (costed - built):8.0f} costs estimated per second")
    print(f"{arguments.rounds / (costed - start):8.0f} both")


def _random_choice(graph: LayerGraph, generator: np.random.Generator) -> tuple[dict[str, int], dict[str, int]]:
    """Return channels per layer, equal within a residual stage, and weight bits per layer."""
    keep = {f"stage{stage}": int(4 * generator.integers(1, 2 ** (stage + 1) + 1)) for stage in (1, 2, 3)}
    channels = {"stem": keep["stage1"]}
    for layer in graph.weight_layers:
        stage, _, part = layer.name.partition(".")
        if part == "conv1":
            channels[layer.name] = int(4 * generator.integers(1, 5))
        elif part:
            channels[layer.name] = keep[stage]
    bits = {layer.name: int(generator.choice([4, 8])) for layer in graph.weight_layers}
    return channels, bits


if __name__ == "__main__":
    main()
