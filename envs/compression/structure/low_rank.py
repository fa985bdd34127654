"""Chains of factor layers in the place of the dense and convolutional layers of a trained network.

``svd``: a K x K convolution to R channels, then 1x1. ``tucker``: 1x1 to Ri channels, K x K to Ro, 1x1. ``cp``: 1x1 to R
channels, K x K depthwise, 1x1. Dense layers, 1x1 convolutions and those of a single input channel are split by ``svd``
whatever the form; depthwise layers stay. The inner channels are ordinary channels: pruning them lowers the rank.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import nn

from envs.compression.structure.factorisation import cp_factors, singular_values, svd_factors, tucker_factors
from envs.compression.structure.layer_chains import convolution, pointwise, with_chains
from envs.errors import EnvError
from hw_models.errors import unknown_name
from hw_models.graph.from_torch import TorchTrace
from hw_models.graph.layer_graph import Conv2D, Dense, LayerGraph, WeightLayer

FORMS = ("svd", "tucker", "cp")


@dataclass(frozen=True)
class Factors:
    """How one layer is split.

    Attributes:
        form: One of :data:`FORMS`.
        ranks: Inner channels, in the order of the layers: one number, two for ``tucker``.
    """

    form: str
    ranks: tuple[int, ...]


@dataclass(frozen=True)
class _Sizes:
    """A layer's input and output channels and kernel positions."""

    inputs: int
    outputs: int
    positions: int

    def weights(self, factors: Factors | None = None) -> int:
        """Return the weights and biases of the layer or of the chain in its place."""
        i, o, k = self.inputs, self.outputs, self.positions
        if factors is None:
            return o * i * k + o
        before, behind = factors.ranks[0], factors.ranks[-1]
        # On the target every layer of a chain has a bias.
        if factors.form == "svd":
            return before * (i * k + 1) + (before + 1) * o
        if factors.form == "tucker":
            return before * (i + 1) + behind * (before * k + 1) + (behind + 1) * o
        return before * (i + 1) + before * (k + 1) + (before + 1) * o


def factors_by_ratio(
    graph: LayerGraph, *, form: str, ratio: float, rank_round: int, protected: frozenset[str] = frozenset()
) -> Mapping[str, Factors]:
    """Return the factors that hold at most a share of every layer's parameters; they follow from the graph alone.

    Args:
        graph: The network.
        form: One of :data:`FORMS`.
        ratio: Parameters of a chain over those of its layer, in (0, 1). The ranks are the largest that allows.
        rank_round: Ranks are multiples of it (or full).
        protected: Layers that stay as they are.

    Returns:
        By name of the layer; a layer of which not even the smallest chain is small enough is left out.

    Raises:
        EnvError: An unknown form or a ratio out of range.
    """
    if not 0 < ratio < 1:
        raise EnvError(f"the rank ratio is {ratio}; it must lie between 0 and 1")
    found = {}
    for layer in _candidates(graph, form, protected):
        sizes = _sizes(graph, layer)
        allowed = ratio * sizes.weights()
        fitting = [factors for factors in _options(sizes, form, rank_round) if sizes.weights(factors) <= allowed]
        if fitting:
            found[layer.name] = fitting[-1]
    return found


def factors_by_energy(
    module: nn.Module,
    trace: TorchTrace,
    *,
    form: str,
    energy: float,
    rank_round: int,
    protected: frozenset[str] = frozenset(),
) -> Mapping[str, Factors]:
    """Return the smallest factors that hold a share of the squared singular values of every layer of a trained network.

    ``svd`` and ``cp`` lose at most ``1 - energy`` of the squared weights. ``tucker`` takes the share along either axis
    of channels, and so loses at most twice that.

    Args:
        module: The trained network.
        trace: Its trace.
        form: One of :data:`FORMS`.
        energy: Share to keep, in (0, 1].
        rank_round: Ranks are multiples of it (or full).
        protected: Layers that stay as they are.

    Returns:
        By name of the layer; a layer whose chain would have no fewer parameters is left out.

    Raises:
        EnvError: An unknown form, a share out of range, or weights that are not finite.
    """
    if not 0 < energy <= 1:
        raise EnvError(f"the rank energy is {energy}; it must be in (0, 1]")
    found = {}
    for layer in _candidates(trace.graph, form, protected):
        sizes, weight = _sizes(trace.graph, layer), _weight(module, layer)
        factors = _energetic(weight, sizes, form, energy, rank_round)
        if factors is not None and sizes.weights(factors) < sizes.weights():
            found[layer.name] = factors
    return found


def smallest_factors(
    graph: LayerGraph, *, form: str, rank_round: int, protected: frozenset[str] = frozenset()
) -> Mapping[str, Factors]:
    """Return the factors with the fewest parameters, by name of the layer, where they are fewer than the layer's.

    Args:
        graph: The network.
        form: One of :data:`FORMS`.
        rank_round: Ranks are multiples of it (or full).
        protected: Layers that stay as they are.

    Raises:
        EnvError: An unknown form.
    """
    found = {}
    for layer in _candidates(graph, form, protected):
        sizes = _sizes(graph, layer)
        smallest = _options(sizes, form, rank_round)[0]
        if sizes.weights(smallest) < sizes.weights():
            found[layer.name] = smallest
    return found


def decompose(
    module: nn.Module, trace: TorchTrace, factors: Mapping[str, Factors], *, fitted: bool = True
) -> nn.Module:
    """Return a copy of a network with chains of factor layers; trace and group it anew.

    The layers of a chain are called ``reduce``, ``core`` (not with ``svd``) and ``expand`` under the old layer's name;
    the last has its bias and is followed by what followed it.

    Args:
        module: The trained network; not changed.
        trace: Its trace.
        factors: How each layer is split, by name.
        fitted: Whether the factors are computed; without it the chains keep random weights, enough to be costed.

    Raises:
        EnvError: A name that is no dense or convolutional layer of the network, or weights that are not finite.
    """
    splittable = {layer.name: layer for layer in trace.graph.layers if isinstance(layer, Conv2D | Dense)}
    chains = {}
    for name, chosen in factors.items():
        if name not in splittable:
            raise EnvError(unknown_name("dense or convolutional layer", name, splittable))
        layer, part = splittable[name], module.get_submodule(name)
        chain = _chain(layer, part, _sizes(trace.graph, layer), chosen)
        if fitted:
            _fill(chain, _weight(module, layer), chosen)
            if isinstance(part.bias, torch.Tensor):
                chain.get_submodule("expand").get_parameter("bias").data.copy_(part.bias.detach())
        chains[name] = chain
    return with_chains(module, chains)


def _candidates(graph: LayerGraph, form: str, protected: frozenset[str]) -> Iterator[Conv2D | Dense]:
    if form not in FORMS:
        raise EnvError(unknown_name("low-rank form", form, FORMS))
    for layer in graph.layers:
        if isinstance(layer, Conv2D | Dense) and layer.name not in protected:
            yield layer


def _sizes(graph: LayerGraph, layer: Conv2D | Dense) -> _Sizes:
    inputs = graph.input_shapes(layer)[0][2]
    return _Sizes(inputs, layer.out_channels, prod(layer.kernel) if isinstance(layer, Conv2D) else 1)


def _weight(module: nn.Module, layer: WeightLayer) -> torch.Tensor:
    weight = module.get_submodule(layer.name).get_parameter("weight").detach().double().cpu()
    if not bool(torch.isfinite(weight).all()):
        raise EnvError(f"layer {layer.name!r} has weights that are not finite; lower the learning rate")
    # A convolution of one dimension is one over a map of one row.
    return weight.unsqueeze(2) if weight.ndim == 3 else weight


def _form(sizes: _Sizes, form: str) -> str:
    return "svd" if sizes.positions == 1 or sizes.inputs == 1 else form


def _multiples(full: int, rank_round: int) -> list[int]:
    return [*range(rank_round, full, rank_round), full]


def _options(sizes: _Sizes, form: str, rank_round: int) -> Sequence[Factors]:
    """Return the factors a layer can have, the smallest first; those of ``tucker`` take like shares of both sides."""
    i, o, k = sizes.inputs, sizes.outputs, sizes.positions
    form = _form(sizes, form)
    if form == "svd":
        return [Factors(form, (rank,)) for rank in _multiples(min(i * k, o), rank_round)]
    if form == "cp":
        # A depthwise layer of one channel would be an ordinary convolution.
        return [Factors(form, (rank,)) for rank in _multiples(min(i * o, i * k, o * k), max(rank_round, 2))]
    before = _multiples(i, rank_round)
    pairs = [(min(before, key=lambda rank: abs(rank / i - behind / o)), behind) for behind in _multiples(o, rank_round)]
    return [Factors(form, _attainable(*pair, k)) for pair in pairs]


def _attainable(before: int, behind: int, positions: int) -> tuple[int, int]:
    """Return the ranks of ``tucker`` less what the core, seen as a matrix, cannot have."""
    return min(before, behind * positions), min(behind, before * positions)


def _energetic(weight: torch.Tensor, sizes: _Sizes, form: str, energy: float, rank_round: int) -> Factors | None:
    """Return the smallest factors that hold a share of the energy; None where only more parameters would."""
    form = _form(sizes, form)
    if form == "tucker":
        before, behind = (_rank_of(singular_values(weight, mode), energy, rank_round) for mode in (1, 0))
        return Factors(form, _attainable(before, behind, sizes.positions))
    if form == "svd":
        return Factors(form, (_rank_of(singular_values(weight), energy, rank_round),))
    options = [factors for factors in _options(sizes, form, rank_round) if sizes.weights(factors) < sizes.weights()]
    low, high = 0, len(options)
    while low < high:
        middle = (low + high) // 2
        if _cp_energy(weight, options[middle].ranks[0]) >= energy:
            high = middle
        else:
            low = middle + 1
    return options[low] if low < len(options) else None


def _rank_of(values: torch.Tensor, energy: float, rank_round: int) -> int:
    shares = values.square().cumsum(0) / values.square().sum().clamp(min=torch.finfo(values.dtype).tiny)
    return next(
        (rank for rank in _multiples(len(values), rank_round) if float(shares[rank - 1]) >= energy), len(values)
    )


def _cp_energy(weight: torch.Tensor, rank: int) -> float:
    return 1.0 - float((weight - cp_factors(weight, rank).weight()).square().sum() / weight.square().sum())


def _chain(layer: Conv2D | Dense, part: nn.Module, sizes: _Sizes, factors: Factors) -> nn.Sequential:
    i, o, ranks, bias = sizes.inputs, sizes.outputs, factors.ranks, part.bias is not None
    if isinstance(layer, Dense):
        parts: list[tuple[str, nn.Module]] = [
            ("reduce", nn.Linear(i, ranks[0], bias=False)),
            ("expand", nn.Linear(ranks[0], o, bias=bias)),
        ]
        return nn.Sequential(OrderedDict(parts))
    kernel, stride = layer.kernel, layer.stride
    parts = [("expand", pointwise(part, ranks[-1], o, bias=bias))]
    if factors.form == "svd":
        reduce = convolution(layer, part, i, ranks[0], kernel=kernel, stride=stride)
    else:
        reduce, groups = pointwise(part, i, ranks[0]), ranks[0] if factors.form == "cp" else 1
        core = convolution(layer, part, ranks[0], ranks[-1], kernel=kernel, stride=stride, groups=groups)
        parts.insert(0, ("core", core))
    return nn.Sequential(OrderedDict([("reduce", reduce), *parts]))


def _fill(chain: nn.Sequential, weight: torch.Tensor, factors: Factors) -> None:
    tensors: tuple[torch.Tensor, ...]
    if factors.form == "svd":
        svd = svd_factors(weight, factors.ranks[0])
        tensors = svd.reduce, svd.expand
    elif factors.form == "tucker":
        tucker = tucker_factors(weight, (factors.ranks[0], factors.ranks[1]))
        tensors = tucker.reduce, tucker.core, tucker.expand
    else:
        cp = cp_factors(weight, factors.ranks[0])
        tensors = cp.reduce, cp.spatial, cp.expand
    for part, tensor in zip(chain, tensors, strict=True):
        parameter = part.get_parameter("weight")
        parameter.data.copy_(tensor.reshape(parameter.shape))
