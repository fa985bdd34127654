"""Factors whose product is nearly a layer's weights, balanced so that the small rows are those that matter least.

In every chain of factors the row of a factor that produces an inner channel has the norm of a root of the channel's
strength (its singular value). Keeping the rows with the largest norms is then truncation to a smaller rank.

Sources: Eckart & Young, "The approximation of one matrix by another of lower rank", 1936 (SVD); De Lathauwer, De Moor,
Vandewalle, "On the best rank-1 and rank-(R1,...,RN) approximation of higher-order tensors", 2000 (Tucker by orthogonal
iteration); Kim et al., "Compression of Deep Convolutional Neural Networks for Fast and Low Power Mobile Applications",
ICLR 2016 (Tucker-2 of convolutions); Lebedev et al., "Speeding-up Convolutional Neural Networks Using Fine-tuned
CP-Decomposition", ICLR 2015.
"""

from dataclasses import dataclass

import torch

_TUCKER_ITERATIONS = 5
_CP_SWEEPS = 60
_CP_GAIN = 1e-4


@dataclass(frozen=True, eq=False)
class SVDFactors:
    """``reduce`` (R x I x kh x kw or R x I), then ``expand`` (O x R)."""

    reduce: torch.Tensor
    expand: torch.Tensor

    def weight(self) -> torch.Tensor:
        """Return the weights the factors stand for, O x I x kh x kw or O x I."""
        weight: torch.Tensor = torch.tensordot(self.expand, self.reduce, dims=1)
        return weight


@dataclass(frozen=True, eq=False)
class TuckerFactors:
    """``reduce`` (Ri x I), then ``core`` (Ro x Ri x kh x kw), then ``expand`` (O x Ro)."""

    reduce: torch.Tensor
    core: torch.Tensor
    expand: torch.Tensor

    def weight(self) -> torch.Tensor:
        """Return the weights the factors stand for, O x I x kh x kw."""
        return torch.einsum("or,rqhw,qi->oihw", self.expand, self.core, self.reduce)


@dataclass(frozen=True, eq=False)
class CPFactors:
    """``reduce`` (R x I), then ``spatial`` (depthwise, R x kh x kw), then ``expand`` (O x R)."""

    reduce: torch.Tensor
    spatial: torch.Tensor
    expand: torch.Tensor

    def weight(self) -> torch.Tensor:
        """Return the weights the factors stand for, O x I x kh x kw."""
        return torch.einsum("or,rhw,ri->oihw", self.expand, self.spatial, self.reduce)


def singular_values(weight: torch.Tensor, mode: int = 0) -> torch.Tensor:
    """Return the singular values of a tensor unfolded along one axis, largest first."""
    values: torch.Tensor = torch.linalg.svdvals(_unfolded(weight, mode))
    return values


def svd_factors(weight: torch.Tensor, rank: int) -> SVDFactors:
    """Return the best factors of a rank, the singular values shared evenly.

    Args:
        weight: O x I x kh x kw or O x I.
        rank: Inner channels; more than the smaller side of the matrix adds nothing and gives fewer.
    """
    left, values, right = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    roots = values[:rank].sqrt()
    reduce = (roots[:, None] * right[:rank]).reshape(len(roots), *weight.shape[1:])
    return SVDFactors(reduce, left[:, :rank] * roots)


def tucker_factors(weight: torch.Tensor, ranks: tuple[int, int]) -> TuckerFactors:
    """Return factors that reduce the input channels, convolve, and expand to the output channels.

    Truncated higher-order SVD, bettered by orthogonal iteration.

    Args:
        weight: O x I x kh x kw.
        ranks: Inner channels before and behind the core; the second is at most the first times kh * kw.
    """
    inputs, outputs = _leading(weight, 1, ranks[0]), _leading(weight, 0, ranks[1])
    for _ in range(_TUCKER_ITERATIONS):
        outputs = _leading(torch.einsum("oihw,iq->oqhw", weight, inputs), 0, ranks[1])
        inputs = _leading(torch.einsum("oihw,or->rihw", weight, outputs), 1, ranks[0])
    core = torch.einsum("oihw,or,iq->rqhw", weight, outputs, inputs)
    before, behind = (_unfolded(core, mode).norm(dim=1) for mode in (1, 0))
    # The bases are orthonormal, so the norm of a slice is the error that dropping it makes.
    reduce, core = inputs.T * before.sqrt()[:, None], core / _divisor(before.sqrt())[:, None, None]
    rows = core.flatten(1).norm(dim=1)
    scales = behind.sqrt() / _divisor(rows)
    return TuckerFactors(reduce, core * scales[:, None, None, None], outputs / _divisor(scales))


def cp_factors(weight: torch.Tensor, rank: int) -> CPFactors:
    """Return factors that reduce the input channels, convolve each alone, and expand to the output channels.

    Alternating least squares, started from the strongest singular vectors of the tensor's slices: nothing is random.

    Args:
        weight: O x I x kh x kw.
        rank: Inner channels; min(O, I) * min(max(O, I), kh * kw) are always enough, more give no more.
    """
    tensor = weight.flatten(2)
    factors = _slice_components(tensor, rank)
    error = _cp_error(tensor, factors)
    for _ in range(_CP_SWEEPS):
        swept = _cp_sweep(tensor, factors)
        now = _cp_error(tensor, swept)
        if not now < error * (1 - _CP_GAIN):
            break
        factors, error = swept, now
    outputs, inputs, positions = _equal_norms(factors)
    return CPFactors(inputs.T, positions.T.reshape(-1, *weight.shape[2:]), outputs)


def _unfolded(weight: torch.Tensor, mode: int) -> torch.Tensor:
    return weight.movedim(mode, 0).flatten(1)


def _leading(weight: torch.Tensor, mode: int, rank: int) -> torch.Tensor:
    """Return the leading left singular vectors of an unfolded tensor as columns."""
    left: torch.Tensor = torch.linalg.svd(_unfolded(weight, mode), full_matrices=False)[0]
    return left[:, :rank]


def _divisor(values: torch.Tensor) -> torch.Tensor:
    """Return the values with 1 for zero: what is zero stays so whatever it is divided by."""
    return torch.where(values > 0, values, torch.ones_like(values))


_Columns = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def _slice_components(tensor: torch.Tensor, rank: int) -> _Columns:
    """Return the strongest components of O x I x K, each inside one slice along the shorter of the first two axes."""
    if len(tensor) < tensor.shape[1]:
        inputs, outputs, positions = _slice_components(tensor.transpose(0, 1), rank)
        return outputs, inputs, positions
    left, values, right = torch.linalg.svd(tensor.transpose(0, 1), full_matrices=False)  # one matrix per input
    order = torch.argsort(values.flatten(), descending=True, stable=True)[:rank]
    slices, ordinals = order // values.shape[1], order % values.shape[1]
    outputs = left[slices, :, ordinals].T * values[slices, ordinals]
    inputs = torch.eye(tensor.shape[1], dtype=tensor.dtype)[:, slices]
    return outputs, inputs, right[slices, ordinals].T


def _cp_sweep(tensor: torch.Tensor, factors: _Columns) -> _Columns:
    outputs, inputs, positions = factors
    outputs = torch.einsum("oik,ir,kr->or", tensor, inputs, positions) @ _inverse(inputs, positions)
    inputs = torch.einsum("oik,or,kr->ir", tensor, outputs, positions) @ _inverse(outputs, positions)
    positions = torch.einsum("oik,or,ir->kr", tensor, outputs, inputs) @ _inverse(outputs, inputs)
    return outputs, inputs, positions


def _inverse(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    inverse: torch.Tensor = torch.linalg.pinv((first.T @ first) * (second.T @ second), hermitian=True)
    return inverse


def _cp_error(tensor: torch.Tensor, factors: _Columns) -> float:
    return float((tensor - torch.einsum("or,ir,kr->oik", *factors)).norm())


def _equal_norms(factors: _Columns) -> _Columns:
    norms = [factor.norm(dim=0) for factor in factors]
    shared = (norms[0] * norms[1] * norms[2]) ** (1 / 3)
    outputs, inputs, positions = (
        factor * (shared / _divisor(norm)) for factor, norm in zip(factors, norms, strict=True)
    )
    return outputs, inputs, positions
