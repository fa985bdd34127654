"""The grids of tensors and weights in quantisation-aware training: rounding with straight-through gradients."""

from math import isfinite

import numpy as np
import torch
from torch import nn

from envs.compression.float_network.folding import FoldedLayer
from envs.compression.integer.activation_ranges import quantisation_of_range
from envs.compression.integer.network import INT8_MAX, INT8_MIN, TensorQuantisation
from envs.compression.integer.quantisation import fixed_quantisation
from envs.compression.integer.weight_grid import has_one_scale, weight_limit
from hw_models.graph.layer_graph import ActivationLayer, Add, Elementwise, Layer, WeightLayer

_STEPS = INT8_MAX - INT8_MIN
# Of the ranges of batches: the last fifty or so count.
_DECAY = 0.98
# Shares of the largest weight among which learned scales begin.
_SHARES = tuple(0.02 * count for count in range(50, 14, -1))
# A scale for weights that are all zero, far from where float32 loses digits.
_SMALLEST = 2.0**-100


class TensorGrid(nn.Module):
    """The grid of a tensor."""

    def forward(self, x: torch.Tensor, *, learns: bool) -> torch.Tensor:
        """Return values on the grid, which may move by them if it ``learns``."""
        raise NotImplementedError

    def quantisation(self) -> TensorQuantisation:
        """Return the grid as the integer network has it."""
        raise NotImplementedError


def tensor_grid(start: TensorQuantisation, *, learned: bool, layer: Layer | None) -> TensorGrid:
    """Return a grid that starts as given.

    Args:
        start: Scale and zero point.
        learned: Whether the scale is trained; else the range is a moving average.
        layer: The layer that produces the tensor; None for the network's input.
    """
    if layer is not None and fixed_quantisation(layer) is not None:
        return _FixedGrid(start)
    if not learned:
        return _AverageGrid(start)
    has_floor = isinstance(layer, WeightLayer | Add | Elementwise | ActivationLayer) and layer.activation not in (
        "none", "leaky_relu", "hard_swish",
    )  # fmt: skip
    return _LearnedGrid(start, trains_zero=not has_floor)


class _FixedGrid(TensorGrid):
    def __init__(self, tensor: TensorQuantisation) -> None:
        super().__init__()
        self._tensor = tensor

    def forward(self, x: torch.Tensor, *, learns: bool) -> torch.Tensor:
        return _on_grid(x, self._tensor.scale, self._tensor.zero_point)

    def quantisation(self) -> TensorQuantisation:
        return self._tensor


class _LearnedGrid(TensorGrid):
    """Scale and zero point as parameters: the logarithm of the one, the other as a share of all steps."""

    def __init__(self, start: TensorQuantisation, *, trains_zero: bool) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(start.scale).log())
        self.zero = nn.Parameter(torch.tensor((start.zero_point - INT8_MIN) / _STEPS), requires_grad=trains_zero)

    def forward(self, x: torch.Tensor, *, learns: bool) -> torch.Tensor:
        return _on_grid(x, self.log_scale.exp(), self._zero_point())

    def quantisation(self) -> TensorQuantisation:
        return TensorQuantisation(self.log_scale.exp().item(), int(self._zero_point().item()))

    def _zero_point(self) -> torch.Tensor:
        return _straight_through(self.zero * _STEPS + INT8_MIN).clamp(INT8_MIN, INT8_MAX)


class _AverageGrid(TensorGrid):
    """Ends of the range as moving averages of the smallest and the largest value of batches."""

    def __init__(self, start: TensorQuantisation) -> None:
        super().__init__()
        self._low, self._high = ((end - start.zero_point) * start.scale for end in (INT8_MIN, INT8_MAX))

    def forward(self, x: torch.Tensor, *, learns: bool) -> torch.Tensor:
        low, high = (float(end) for end in x.detach().aminmax())
        # Values that are not finite reach the loss, where they are told of.
        if learns and isfinite(low) and isfinite(high):
            self._low = _DECAY * self._low + (1 - _DECAY) * low
            self._high = _DECAY * self._high + (1 - _DECAY) * high
        tensor = self.quantisation()
        return _on_grid(x, tensor.scale, tensor.zero_point)

    def quantisation(self) -> TensorQuantisation:
        return quantisation_of_range(self._low, self._high)


class GridWeights(nn.Module):
    """Weights and bias of one layer; the weights lie on their grid, the bias is rounded in the integers only.

    Weights that are exactly zero were made so (:mod:`envs.compression.structure.sparsity`), and stay zero.

    Args:
        layer: The layer.
        folded: Its weights and bias to start from.
        learned: Whether scales are trained; else they follow from the largest weights.
        stored_bits: Width of a coarser grid.
        trains_bias: Whether the bias is trained.
    """

    def __init__(
        self, layer: WeightLayer, folded: FoldedLayer, *, learned: bool, stored_bits: int | None, trains_bias: bool
    ) -> None:
        super().__init__()
        self._limit = weight_limit(layer.weight_bits, stored_bits)
        has_one = has_one_scale(folded.weight.ndim, layer.weight_bits)
        self._dimensions = tuple(range(0 if has_one else 1, folded.weight.ndim))
        self.weight = nn.Parameter(folded.weight.clone())
        self._nonzero: torch.Tensor
        self.register_buffer("_nonzero", folded.weight != 0)
        self.bias = nn.Parameter(folded.bias.clone(), requires_grad=trains_bias)
        self.log_scale = nn.Parameter(self._least_squares_scale().log()) if learned else None

    def forward(self) -> FoldedLayer:
        """Return the layer with its weights on the grid."""
        scale = self._scale()
        steps = _straight_through(self.weight / scale * self._nonzero).clamp(-self._limit, self._limit)
        return FoldedLayer(steps * scale, self.bias)

    def latent(self) -> FoldedLayer:
        """Return the layer with its weights as they are trained."""
        return FoldedLayer(self.weight.detach(), self.bias.detach())

    def scales(self) -> np.ndarray:
        """Return the scales as the integer network has them: one per channel or one for all."""
        return self._scale().detach().flatten().numpy()

    def _scale(self) -> torch.Tensor:
        return self._peaks() / self._limit if self.log_scale is None else self.log_scale.exp()

    def _peaks(self) -> torch.Tensor:
        """Return the largest magnitude of the weights that share a scale, shaped to broadcast."""
        return self.weight.detach().abs().amax(self._dimensions, keepdim=True).clamp(min=_SMALLEST)

    def _least_squares_scale(self) -> torch.Tensor:
        """Return the scale at which the rounding of the weights does least, of those up to the largest weight's."""
        weight, largest = self.weight.detach(), self._peaks() / self._limit
        candidates = torch.stack([share * largest for share in _SHARES])
        rounded = (weight / candidates).round().clamp(-self._limit, self._limit) * candidates
        dimensions = tuple(dimension + 1 for dimension in self._dimensions)
        best = (rounded - weight).square().sum(dimensions, keepdim=True).argmin(dim=0, keepdim=True)
        return candidates.gather(0, best)[0]


def _straight_through(x: torch.Tensor) -> torch.Tensor:
    """Return whole numbers (halves to the even one) with the gradient of what they were."""
    return x + (torch.round(x) - x).detach()


def _on_grid(x: torch.Tensor, scale: torch.Tensor | float, zero_point: torch.Tensor | float) -> torch.Tensor:
    integers = (_straight_through(x / scale) + zero_point).clamp(INT8_MIN, INT8_MAX)
    return (integers - zero_point) * scale
