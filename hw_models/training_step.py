"""What one step of training the last layers of a quantised network would cost on the chip; a report, no engine for it.

Fully quantised training [Deutel2024]: weights, activations and errors have 8 bits, gradients are summed up in 32 bits
over a batch, one sample after the other. Nobody measured it here, so everything follows from assumptions:

- The whole network is inferred, then the errors go back through the layers from the last one to the first trained one.
- The inputs of the trained layers are kept from the inference, and the positions of maxima in between (a byte each).
  The sign of a ReLU is seen in what is kept. All of it lies beside the arena of the inference, which is an upper bound.
- The weights of trained layers are copied to RAM, with a sum of 32 bits for each weight and bias.
- Of the errors at most those behind and before one layer are alive, 8 bits each; the largest such pair counts.
- A layer takes as long for the gradients of its weights as for its inference, and once more for the errors before it,
  which the first trained layer does not need. The true factor may be half or twice as large.
- The code of the backward kernels is not counted: there is none.

[Deutel2024] M. Deutel, F. Hannig, C. Mutschler, J. Teich: On-Device Training of Fully Quantized Deep Neural Networks on
Cortex-M Microcontrollers. IEEE TCAD 2024 (arXiv 2407.10734).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import log, prod
from typing import Any

from hw_models.cost import Cost
from hw_models.errors import HardwareModelError
from hw_models.graph.layer_graph import (
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Layer,
    LayerGraph,
    MaxPool2D,
    WeightLayer,
)
from hw_models.interval import Z80, Interval, combined_log_std

_SUM_BYTES, _BIAS_BYTES = 4, 4
# Half or twice as long, with the confidence of all bars.
_BACKWARD_LOG_STD = log(2) / Z80


class TrainingStepError(HardwareModelError):
    """The layers asked for cannot be trained; the message says what can."""


@dataclass(frozen=True)
class TrainedLayer:
    """One layer that is trained.

    Attributes:
        name: Its name.
        kind: Its kind.
        parameters: Its weights and biases.
        kept_bytes: Its input, kept from the inference; 0 where a trained layer before it reads the same one.
        forward_macs: Multiply-accumulates of the inference.
        backward_macs: Those of the gradients, and of the errors before it where they are needed.
    """

    name: str
    kind: str
    parameters: int
    kept_bytes: int
    forward_macs: int
    backward_macs: int


@dataclass(frozen=True)
class TrainingStep:
    """One sample forward and backward.

    Attributes:
        layers: The trained layers, in the order of the network.
        arena_bytes: RAM of the inference.
        kept_bytes: Inputs of trained layers, and positions of maxima.
        weights_bytes: Weights and biases of trained layers, in RAM.
        sums_bytes: Sums of their gradients.
        errors_bytes: The errors that are alive together.
        forward_ms: The inference.
        backward_ms: The way back.
        log_std: Spread of the logarithm of the time of both.
    """

    layers: tuple[TrainedLayer, ...]
    arena_bytes: int
    kept_bytes: int
    weights_bytes: int
    sums_bytes: int
    errors_bytes: int
    forward_ms: float
    backward_ms: float
    log_std: float

    @property
    def ram_bytes(self) -> int:
        """RAM of a step, at most."""
        return self.arena_bytes + self.kept_bytes + self.weights_bytes + self.sums_bytes + self.errors_bytes

    @property
    def latency_ms(self) -> Interval:
        """The time of a step, with its 80 % interval."""
        return Interval.around(self.forward_ms + self.backward_ms, self.log_std)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        _, low, high = self.latency_ms
        own = {name: value for name, value in asdict(self).items() if name != "log_std"}
        return {"ram_bytes": self.ram_bytes, "latency_ms_low": low, "latency_ms_high": high, **own}


def training_step(graph: LayerGraph, cost: Cost, *, last: int) -> TrainingStep:
    """Return what a step costs that trains the last layers with weights.

    Args:
        graph: The network, 8-bit activations.
        cost: What it costs on the board, from the same graph.
        last: How many layers are trained.

    Raises:
        TrainingStepError: There are not so many, the network's edges are unknown, or some activations have no 8 bits.
    """
    trained = _trained(graph, last)
    if cost.memory is None:
        raise TrainingStepError("the edges of the network are unknown, so nobody knows what its training has to keep")
    back = graph.layers[graph.layers.index(trained[0]) :]
    if any(graph.bits[name] != 8 for layer in back for name in (*layer.inputs, layer.name)):
        raise TrainingStepError("the trained part has activations of other than 8 bits; quantise them to 8")
    latency = {row.name: row.latency_ms for row in cost.rows}
    described = tuple(_described(graph, trained))
    backward_ms = sum(latency[layer.name] * _passes(layer, trained) for layer in back)
    spread = combined_log_std((cost.log_std["latency_ms"], _BACKWARD_LOG_STD))
    parameters = sum(layer.parameters for layer in described)
    biases = sum(graph.shapes[layer.name][2] for layer in trained)
    return TrainingStep(
        layers=described,
        arena_bytes=cost.memory.arena_bytes,
        kept_bytes=sum(layer.kept_bytes for layer in described) + _maxima_bytes(graph, back),
        weights_bytes=parameters - biases + _BIAS_BYTES * biases,
        sums_bytes=_SUM_BYTES * parameters,
        errors_bytes=max(_elements(graph, layer.name) + _before(graph, layer, trained) for layer in back),
        forward_ms=cost.latency_ms,
        backward_ms=backward_ms,
        log_std=spread,
    )


def _trained(graph: LayerGraph, last: int) -> tuple[WeightLayer, ...]:
    layers = graph.weight_layers
    if not 1 <= last <= len(layers):
        raise TrainingStepError(f"the last {last} layers with weights shall be trained; the network has {len(layers)}")
    trained = layers[-last:]
    for layer in trained:
        if not isinstance(layer, Conv2D | DepthwiseConv2D | Dense):
            raise TrainingStepError(
                f"layer {layer.name!r} is of kind {layer.kind!r}; convolutions and dense layers can be trained: ask "
                "for fewer layers"
            )
    return trained


def _passes(layer: Layer, trained: tuple[WeightLayer, ...]) -> int:
    """Return how often a layer's own time passes on the way back."""
    return (layer in trained) + (layer is not trained[0])


def _described(graph: LayerGraph, trained: tuple[WeightLayer, ...]) -> Iterator[TrainedLayer]:
    kept: set[str] = set()
    for layer in trained:
        macs = layer.macs(graph.input_shapes(layer))
        (source,) = layer.inputs
        yield TrainedLayer(
            name=layer.name,
            kind=layer.kind,
            parameters=layer.weight_count(graph.input_shapes(layer)) + graph.shapes[layer.name][2],
            kept_bytes=0 if source in kept else _elements(graph, source),
            forward_macs=macs,
            backward_macs=macs * _passes(layer, trained),
        )
        kept.add(source)


def _maxima_bytes(graph: LayerGraph, back: tuple[Layer, ...]) -> int:
    return sum(_elements(graph, layer.name) for layer in back if isinstance(layer, MaxPool2D))


def _before(graph: LayerGraph, layer: Layer, trained: tuple[WeightLayer, ...]) -> int:
    """Return the errors before a layer; nobody needs those before the first trained one."""
    return 0 if layer is trained[0] else sum(_elements(graph, name) for name in layer.inputs)


def _elements(graph: LayerGraph, tensor: str) -> int:
    return prod(graph.shapes[tensor])
