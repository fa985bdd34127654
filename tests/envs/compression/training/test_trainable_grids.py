"""Gradients of learned grids against the formulas of LSQ and LSQ+, and where scales start."""

import numpy as np
import pytest
import torch

from envs.compression.float_network.folding import FoldedLayer
from envs.compression.integer.network import TensorQuantisation
from envs.compression.training.trainable_grids import GridWeights, tensor_grid
from hw_models.graph.layer_graph import Conv2D, Dense, Softmax

CONV = Conv2D(name="conv", inputs=("input",), out_channels=4, kernel=(3, 3), weight_bits=4)
DENSE = Dense(name="dense", inputs=("input",), out_channels=4, weight_bits=4)
RELU = Conv2D(name="conv", inputs=("input",), out_channels=4, kernel=(3, 3), activation="relu")


def test_gradients_of_a_learned_grid_are_those_of_lsq_plus():
    grid = tensor_grid(TensorQuantisation(0.5, -120), learned=True, layer=CONV)
    # Steps -8 to 247 lie inside: 1.3 / 0.5 = 2.6 rounds to 3; 200 is clipped to 247 steps, -30 to -8.
    x = torch.tensor([1.3, 200.0, -30.0], requires_grad=True)
    y = grid(x, learns=True)
    torch.testing.assert_close(y, torch.tensor([1.5, 123.5, -4.0]))
    by_scale, by_zero, by_x = [], [], []
    for value in y:
        gradients = torch.autograd.grad(value, (grid.log_scale, grid.zero, x), retain_graph=True)
        by_scale.append(float(gradients[0]) / 0.5)
        by_zero.append(float(gradients[1]) / 255)
        by_x.append(gradients[2])
    # LSQ: round(x/s) - x/s inside, the end of the range in steps where clipped. LSQ+: minus the scale where clipped.
    np.testing.assert_allclose(by_scale, [3 - 2.6, 247, -8], rtol=1e-4)
    np.testing.assert_allclose(by_zero, [0, -0.5, -0.5], atol=1e-6)
    torch.testing.assert_close(torch.stack(by_x), torch.diag(torch.tensor([1.0, 0.0, 0.0])))


def test_an_activation_pins_the_zero_point_and_softmax_the_whole_grid():
    start = TensorQuantisation(0.1, -128)
    assert not tensor_grid(start, learned=True, layer=RELU).zero.requires_grad
    assert tensor_grid(start, learned=True, layer=CONV).zero.requires_grad
    assert tensor_grid(start, learned=True, layer=None).zero.requires_grad
    fixed = tensor_grid(TensorQuantisation(1 / 256, -128), learned=True, layer=Softmax(name="s", inputs=("input",)))
    assert list(fixed.parameters()) == []
    assert fixed(torch.tensor([0.3, 2.0]), learns=True).tolist() == [77 / 256, 255 / 256]


@pytest.mark.parametrize("learned", [False, True])
def test_a_grid_starts_as_given(learned):
    start = TensorQuantisation(float(np.float32(0.0371)), 17)
    found = tensor_grid(start, learned=learned, layer=CONV).quantisation()
    assert found.zero_point == 17
    assert found.scale == pytest.approx(start.scale, rel=1e-6)


def test_an_average_moves_by_a_fiftieth_and_only_when_it_learns():
    grid = tensor_grid(TensorQuantisation(1.0, -128), learned=False, layer=RELU)
    grid(torch.tensor([0.0, 510.0]), learns=False)
    assert grid.quantisation() == TensorQuantisation(1.0, -128)
    grid(torch.tensor([0.0, 510.0]), learns=True)
    # 255 + (510 - 255) / 50 = 260.1 over 255 steps.
    assert grid.quantisation().scale == pytest.approx(1.02, rel=1e-6)
    grid(torch.tensor([0.0, float("nan")]), learns=True)
    assert grid.quantisation().scale == pytest.approx(1.02, rel=1e-6)


def weights(layer, values, *, learned, stored_bits=None):
    folded = FoldedLayer(values, torch.zeros(len(values)))
    return GridWeights(layer, folded, learned=learned, stored_bits=stored_bits, trains_bias=True)


def test_learned_scales_start_with_less_error_than_the_largest_weight_would_give():
    values = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    errors = [
        (weights(CONV, values, learned=learned)().weight.detach() - values).square().sum(dim=(1, 2, 3))
        for learned in (True, False)
    ]
    assert bool((errors[0] <= errors[1] + 1e-6).all())
    assert float(errors[0].sum()) < 0.95 * float(errors[1].sum())


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize(("layer", "shape", "scales"), [(CONV, (4, 2, 3, 3), 4), (DENSE, (4, 7), 1)])
def test_weights_lie_on_as_many_scales_as_the_kernel_has(layer, shape, scales, learned):
    grid = weights(layer, torch.randn(shape, generator=torch.Generator().manual_seed(1)), learned=learned)
    assert grid.scales().shape == (scales,)
    steps = grid().weight.detach() / torch.from_numpy(grid.scales()).reshape(-1, *[1] * (len(shape) - 1))
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)
    assert int(steps.abs().max().round()) == 7


def test_weights_beyond_the_grid_get_no_gradient_and_their_scale_gets_it():
    grid = weights(CONV, torch.tensor([1.0, 0.5, 0.1, -0.2]).reshape(1, 1, 2, 2), learned=True)
    with torch.no_grad():
        grid.log_scale.fill_(float(np.log(0.1)))
    grid().weight[0, 0, 0, 0].backward()
    assert float(grid.weight.grad[0, 0, 0, 0]) == 0.0
    assert float(grid.log_scale.grad) == pytest.approx(0.7)
