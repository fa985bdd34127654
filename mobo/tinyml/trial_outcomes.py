"""What a finished trial reports of its network: costs, their bars, and what only the network itself tells."""

from collections.abc import Sequence

from envs.compression.integer.network import QuantisedNetwork
from envs.compression.integer.weight_coding import encode_network
from envs.compression.structure.groups import kept_channels_ratio, kept_parameters_ratio
from hw_models.cost import COST_NAMES, Cost
from mobo.space.columns import BARRED, DOWNLOAD_BYTES, KEPT, high_of, low_of
from mobo.space.objectives import Constraint
from mobo.tinyml.candidate import Candidate


def cost_outcomes(cost: Cost, constraints: Sequence[Constraint]) -> dict[str, float | None]:
    """Return every cost, the ends of the 80 % bars, and what is held against the limits that ask for a confidence."""
    outcomes: dict[str, float | None] = {name: cost.value(name) for name in COST_NAMES}
    for name in BARRED:
        interval = cost.interval(name)
        outcomes |= {low_of(name): interval.low, high_of(name): interval.high}
    sure = {item.outcome: (item.name, item.confidence) for item in constraints}
    return outcomes | {
        outcome: cost.at_confidence(name, confidence)
        for outcome, (name, confidence) in sure.items()
        if confidence is not None
    }


def size_outcomes(candidate: Candidate, split: Candidate, quantised: QuantisedNetwork) -> dict[str, float]:
    """Return the size of the network's download and the shares of the candidate that it kept.

    Args:
        candidate: The trained network; the share of the parameters is that of its own.
        split: The same with its layers split; the share of the channels is that of its own, ranks among them.
        quantised: What became of it.
    """
    channels = kept_channels_ratio(split.groups, quantised.graph)
    parameters = kept_parameters_ratio(candidate.trace.graph, quantised.graph)
    return {
        DOWNLOAD_BYTES: float(len(encode_network(quantised))),
        **dict(zip(KEPT, (channels, parameters), strict=True)),
    }
