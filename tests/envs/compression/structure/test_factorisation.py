"""Factors against what algebra says of them."""

from collections.abc import Callable

import pytest
import torch

from envs.compression.structure.factorisation import cp_factors, singular_values, svd_factors, tucker_factors


def weight(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


Product = Callable[[torch.Tensor, int], torch.Tensor]
PRODUCTS: dict[str, Product] = {
    "svd": lambda tensor, rank: svd_factors(tensor, rank).weight(),
    "tucker": lambda tensor, rank: tucker_factors(tensor, (rank, rank)).weight(),
    "cp": lambda tensor, rank: cp_factors(tensor, 4 * rank).weight(),
}


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
@pytest.mark.parametrize("shape", [(8, 6, 3, 3), (5, 9, 1, 4), (7, 7, 2, 3)])
def test_the_error_falls_with_the_rank_and_ends_at_zero(product: Product, shape: tuple[int, ...]) -> None:
    tensor = weight(*shape)
    errors = [float((tensor - product(tensor, rank)).norm()) for rank in (1, 2, 4, 6, 9 * 9)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < tensor.norm()
    assert errors[2] < 0.95 * errors[0]
    assert errors[-1] < 1e-9 * tensor.norm()


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_svd_leaves_exactly_the_energy_of_the_singular_values_it_drops(rank: int) -> None:
    tensor = weight(6, 5, 3, 3)
    dropped = singular_values(tensor)[rank:]
    error = tensor - svd_factors(tensor, rank).weight()
    assert float(error.square().sum()) == pytest.approx(float(dropped.square().sum()))


def test_tucker_iterations_never_fall_behind_the_truncated_higher_order_svd() -> None:
    tensor = weight(12, 10, 3, 3)
    bases = [torch.linalg.svd(tensor.movedim(mode, 0).flatten(1))[0][:, :4] for mode in (0, 1)]
    projected = torch.einsum("oihw,or,pr,iq,jq->pjhw", tensor, bases[0], bases[0], bases[1], bases[1])
    plain = float((tensor - projected).norm())
    assert float((tensor - tucker_factors(tensor, (4, 4)).weight()).norm()) < plain


def test_tucker_and_cp_find_the_factors_of_a_tensor_that_has_some() -> None:
    a, b, c = weight(8, 3), weight(7, 3, seed=1), weight(9, 3, seed=2)
    tensor = torch.einsum("or,ir,kr->oik", a, b, c).reshape(8, 7, 3, 3)
    assert float((tensor - tucker_factors(tensor, (3, 3)).weight()).norm()) < 1e-9
    assert float((tensor - cp_factors(tensor, 3).weight()).norm()) < 0.02 * float(tensor.norm())


def test_every_inner_channel_is_produced_by_a_row_with_the_root_of_its_strength_as_norm() -> None:
    tensor = weight(9, 8, 3, 3)
    svd = svd_factors(tensor, 5)
    roots = singular_values(tensor)[:5].sqrt()
    torch.testing.assert_close(svd.reduce.flatten(1).norm(dim=1), roots)
    torch.testing.assert_close(svd.expand.norm(dim=0), roots)
    tucker = tucker_factors(tensor, (4, 5))
    for position, rows in ((0, tucker.reduce), (1, tucker.core)):
        strengths = rows.flatten(1).norm(dim=1).square()
        for channel, strength in enumerate(strengths):
            parts = [tucker.reduce, tucker.core, tucker.expand]
            parts[position] = rows.clone()
            parts[position][channel] = 0
            without = type(tucker)(*parts).weight()
            # The bases are orthonormal: what a channel carries is what its loss costs.
            assert float((tucker.weight() - without).norm()) == pytest.approx(float(strength))
    cp = cp_factors(tensor, 6)
    norms = [cp.reduce.norm(dim=1), cp.spatial.flatten(1).norm(dim=1), cp.expand.norm(dim=0)]
    torch.testing.assert_close(norms[0], norms[1])
    torch.testing.assert_close(norms[0], norms[2])


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
def test_dead_weights_stay_dead(product: Product) -> None:
    tensor = weight(6, 6, 3, 3)
    tensor[2:] = 0
    found = product(tensor, 4)
    assert bool(torch.isfinite(found).all())
    assert float(found[2:].norm()) < 1e-9
    assert float(product(torch.zeros(4, 4, 3, 3, dtype=torch.float64), 2).norm()) == 0
