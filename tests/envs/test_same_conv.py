import numpy as np
import pytest
import torch

from envs.same_conv import SameConv2d, convolve, same_padding


@pytest.mark.parametrize("size", [1, 4, 5, 8, 9])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_every_window_of_a_same_convolution_starts_where_tensorflow_puts_it(size, kernel, stride):
    # A convolution of ones counts the pixels under the window; TensorFlow pads floor(total / 2) before the map.
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    expected = []
    for position in range(out):
        start = position * stride - total // 2
        expected.append(sum(0 <= pixel < size for pixel in range(start, start + kernel)))
    conv = SameConv2d(1, 1, (1, kernel), (1, stride), bias=False)
    torch.nn.init.ones_(conv.weight)
    counts = conv(torch.ones(1, 1, 1, size)).detach().flatten()
    np.testing.assert_array_equal(counts.numpy(), expected)


def test_same_padding_of_the_page_it_cites():
    # "Notes on padding": input 13, filter 6, stride 5 pads 1 before and 2 after.
    assert same_padding(13, 6, 5) == (1, 2)


def test_depthwise_and_bias_are_those_of_an_ordinary_convolution():
    torch.manual_seed(0)
    same = SameConv2d(4, 4, 3, groups=4)
    plain = torch.nn.Conv2d(4, 4, 3, padding=1, groups=4)
    plain.load_state_dict(same.state_dict())
    x = torch.randn(2, 4, 6, 5)
    assert torch.equal(same(x), plain(x))
    assert same.padding == "same"


@pytest.mark.parametrize("kernel", [(1, 1), (1, 3), (2, 2)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (2, 3)])
@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (4, 1), (4, 4)])
@pytest.mark.parametrize("is_nhwc", [False, True])
def test_a_convolution_and_its_gradients_are_torchs_in_every_memory_order(kernel, stride, channels, groups, is_nhwc):
    torch.manual_seed(0)
    x = torch.randn(2, 5, 7, channels).permute(0, 3, 1, 2)
    x = (x if is_nhwc else x.contiguous()).requires_grad_()
    weight = torch.randn(8, channels // groups, *kernel, requires_grad=True)
    bias = torch.randn(8, requires_grad=True)
    found = convolve(x, weight, bias, stride, groups=groups)
    # In double precision and torch's own order, where another kernel computes it.
    expected = torch.conv2d(x.double().contiguous(), weight.double(), bias.double(), stride, groups=groups)
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=1e-5)
    gradients = [torch.autograd.grad(output.square().sum(), [x, weight, bias]) for output in (found, expected)]
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)
