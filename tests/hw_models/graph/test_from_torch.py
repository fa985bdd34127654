"""Tracing: names, folding, paddings; the second opinion on every shape is torch itself."""

import copy
import re
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hw_models.graph.from_torch import UntraceableError, trace
from hw_models.graph.layer_graph import INPUT, Activation, Conv2D, DepthwiseConv2D, LayerGraph


class SameConv2d(nn.Conv2d):
    """Pads like TensorFlow at any stride, as a subclass outside this package would."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, groups=groups)
        self.padding = "same"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = (
            max((-(-size // stride) - 1) * stride + kernel - size, 0)
            for size, stride, kernel in zip(x.shape[2:], self.stride, self.kernel_size, strict=True)
        )
        padded = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, 1, self.groups)


class Block(nn.Module):
    """Two convolutions and a shortcut, with everything that folds."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = SameConv2d(channels, out, 3, stride)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = SameConv2d(out, out, 3)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut = SameConv2d(channels, out, 1, stride) if stride > 1 or channels != out else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def small_resnet() -> nn.Module:
    return nn.Sequential(
        SameConv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(), Block(8, 8, 1), Block(8, 12, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(12, 10), nn.Softmax(1),
    )  # fmt: skip


def layers_of(graph: LayerGraph) -> list[tuple[str, str, tuple[str, ...], Activation]]:
    return [(x.name, x.kind, x.inputs, getattr(x, "activation", "none")) for x in graph.layers]


def test_small_resnet_names_kinds_and_folding() -> None:
    found = trace(small_resnet(), (9, 7, 3))
    assert layers_of(found.graph) == [
        ("0", "conv2d", (INPUT,), "relu6"),
        ("3.conv1", "conv2d", ("0",), "relu"),
        ("3.conv2", "conv2d", ("3.conv1",), "none"),
        ("add", "add", ("3.conv2", "0"), "relu"),
        ("4.conv1", "conv2d", ("add",), "relu"),
        ("4.conv2", "conv2d", ("4.conv1",), "none"),
        ("4.shortcut", "conv2d", ("add",), "none"),
        ("add_1", "add", ("4.conv2", "4.shortcut"), "relu"),
        ("5", "average_pool2d", ("add_1",), "none"),
        ("6", "reshape", ("5",), "none"),
        ("8", "dense", ("6",), "none"),
        ("9", "softmax", ("8",), "none"),
    ]
    assert dict(found.batch_norms) == {
        "0": "1", "3.conv1": "3.bn1", "3.conv2": "3.bn2", "4.conv1": "4.bn1", "4.conv2": "4.bn2",
    }  # fmt: skip


def test_shapes_equal_those_torch_computes() -> None:
    module, seen = small_resnet().eval(), {}
    graph = trace(module, (9, 7, 3)).graph
    for name, child in module.named_modules():
        child.register_forward_hook(lambda _, __, y, name=name: seen.update({name: tuple(y.shape)}))
    module(torch.zeros(1, 3, 9, 7))
    for layer in graph.layers:
        if layer.name in seen:  # the additions are functions, not modules
            height, width, channels = graph.shapes[layer.name]
            assert seen[layer.name] in {(1, channels, height, width), (1, channels)}, layer.name


@settings(max_examples=60)
@given(
    size=st.integers(4, 12),
    kernel=st.sampled_from([1, 2, 3, 5]),
    stride=st.integers(1, 3),
    padded=st.booleans(),
    depthwise=st.booleans(),
)
def test_a_convolution_traces_to_what_torch_computes_or_raises(
    size: int, kernel: int, stride: int, padded: bool, depthwise: bool
) -> None:
    if kernel > size:
        return
    padding = kernel // 2 if padded else 0
    conv = nn.Conv2d(4, 4, kernel, stride, padding, groups=4 if depthwise else 1)
    graph = trace(nn.Sequential(conv), (size, size, 4)).graph
    channels, height, width = conv(torch.zeros(1, 4, size, size)).shape[1:]
    assert graph.shapes["0"] == (height, width, channels)
    *pads, layer = graph.layers
    assert layer.kind == ("depthwise_conv2d" if depthwise else "conv2d")
    assert layer.weight_count(graph.input_shapes(layer)) == conv.weight.numel()
    # Where TFLite's SAME lies elsewhere, the zeros are a layer of their own, no more of them than are read.
    same = isinstance(layer, Conv2D | DepthwiseConv2D) and layer.padding == "same"
    assert bool(pads) == (padding > 0 and not same)
    if stride == 1 and kernel % 2 == 1:
        assert not pads
    for pad in pads:
        (padded, _, _), least = graph.shapes[pad.name], (height - 1) * stride + kernel
        assert padded == max(least, size + padding)


def test_same_padding_holds_for_any_stride() -> None:
    (layer,) = trace(nn.Sequential(SameConv2d(1, 4, 3, 2)), (7, 7, 1)).graph.layers
    assert isinstance(layer, Conv2D)
    assert (layer.padding, layer.stride) == ("same", (2, 2))


class Shared(nn.Module):
    """Reads the convolution before its activation."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.last = last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return y + self.last(y)


def test_an_activation_that_others_bypass_is_not_fused() -> None:
    assert layers_of(trace(Shared(nn.ReLU()), (3, 3, 2)).graph) == [
        ("conv", "conv2d", (INPUT,), "none"),
        ("last", "activation", ("conv",), "relu"),
        ("add", "add", ("conv", "last"), "none"),
    ]


def test_an_activation_of_the_input_stands_alone() -> None:
    assert layers_of(trace(nn.Sequential(nn.ReLU()), (3, 3, 2)).graph) == [("0", "activation", (INPUT,), "relu")]


def test_one_dimensional_batch_norm_folds_into_the_dense_layer() -> None:
    found = trace(nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5), nn.ReLU()), (2, 3, 2))
    assert layers_of(found.graph) == [("0", "reshape", (INPUT,), "none"), ("1", "dense", ("0",), "relu")]
    assert dict(found.batch_norms) == {"1": "2"}


class Functional(nn.Module):
    """Every supported function; the unused convolution costs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Conv2d(2, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.unused(x)
        y = F.relu6(torch.add(x, F.dropout(x)))
        return F.softmax(torch.flatten(y, 1), dim=1)


def test_functions() -> None:
    assert layers_of(trace(Functional(), (2, 2, 2)).graph) == [
        ("add", "add", (INPUT, INPUT), "relu6"),
        ("flatten", "reshape", ("add",), "none"),
        ("softmax", "softmax", ("flatten",), "none"),
    ]


class Method(nn.Module):
    """Flatten as a method, with its defaults given by keyword."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(start_dim=1).relu()


def test_methods() -> None:
    assert [kind for _, kind, _, _ in layers_of(trace(Method(), (2, 2, 2)).graph)] == ["reshape", "activation"]


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.conv(x))


class TwoInputs(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class MultipliesMaps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.Conv2d(2, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.attention(x)


class Subtracting(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x


class JoinsRows(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((x, x), 2)


class Slicing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, 1:]


class AddsConstant(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


class Looping(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(x.shape[2]):
            x = x + x
        return x


class Tuple(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x + x, x


def with_shared_weights() -> nn.Module:
    module = nn.Sequential(nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1))
    module[1].weight = module[0].weight
    return module


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Sigmoid()), r"module '0' \(Sigmoid\) is not supported: write nn\.Hardsigmoid"),
        (nn.Sequential(nn.Hardsigmoid()), "hard sigmoid behind 'input'; put it directly behind a convolution"),
        (
            nn.Sequential(nn.Bilinear(2, 2, 2)),
            r"module '0' \(Bilinear\) is not supported. Supported: Conv1d and Conv2d",
        ),
        (
            nn.Sequential(nn.Conv2d(2, 4, 1, groups=2)),
            "has 2 groups for 2 -> 4 channels; supported are groups=1 and",
        ),
        (nn.Sequential(nn.Conv2d(2, 2, 3, dilation=2)), "dilation"),
        (nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect")), "only 'zeros'"),
        (nn.Sequential(nn.Conv1d(2, 2, 3)), "reads a tensor of 4 dimensions; it needs 3: drop the height before it"),
        (nn.Sequential(nn.BatchNorm2d(2)), "batch norm '0' reads 'input'; it can be folded only directly behind"),
        (nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.BatchNorm2d(2)), "batch norm '2' reads '0'"),
        (nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.BatchNorm2d(2)), "batch norm '2' reads '0'"),
        (Shared(nn.BatchNorm2d(2)), "that nothing else reads"),
        (Shared(nn.ReLU(inplace=True)), "use inplace=False"),
        (nn.Sequential(nn.AdaptiveAvgPool2d(3)), "pools 8 x 8 to 3 x 3, in windows of different sizes; write 1"),
        (nn.Sequential(nn.AvgPool2d(3, padding=1, count_include_pad=False)), "leave count_include_pad out"),
        (nn.Sequential(nn.AvgPool2d(3, divisor_override=2)), "leave divisor_override out"),
        (nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True)), "has ceil_mode=True, which adds a window"),
        (nn.Sequential(nn.MaxPool2d(2, dilation=2)), "pooling needs dilation 1 and no indices"),
        (nn.Sequential(nn.MaxPool2d(3, 2, padding=1)), "would take its zeros for maxima; put a ReLU before it"),
        (nn.Sequential(nn.Flatten(0)), "flattens dimensions 0 to -1; supported is 1 to -1"),
        (nn.Sequential(nn.Softmax(-1)), "softmax over dimension -1; supported is 1"),
        (nn.Sequential(), "has no layers"),
        (Twice(), "module 'conv' is called twice"),
        (TwoInputs(), "takes a second input 'y'"),
        (Branching(), "cannot be traced"),
        (Looping(), "Looping cannot be traced: .* must not depend on the values or sizes of tensors"),
        (with_shared_weights(), "modules '0' and '1' share their weights"),
        (nn.Sequential(nn.Conv2d(3, 4, 1)), r"module '0' takes 3 channels, but reads the shape \(8, 8, 2\)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), r"module '1' takes 64 channels, but reads .* \(1, 1, 128\)"),
        (MultipliesMaps(), r"'mul' multiplies \(8, 8, 2\) and \(8, 8, 1\)"),
        (Subtracting(), r"operation 'sub' \(sub\) is not supported: let the weights"),
        (JoinsRows(), "'cat' joins tensors along dimension 2; supported is 1, the channels"),
        (Slicing(), "'getitem' takes a part of a tensor"),
        (AddsConstant(), "'add' needs a tensor as argument 1, not 1"),
        (Tuple(), "'output' needs a tensor"),
    ],
)
def test_what_cannot_be_traced_is_named(module: nn.Module, message: str) -> None:
    with pytest.raises(UntraceableError, match=message):
        trace(module, (8, 8, 2))


def test_a_dense_layer_on_a_feature_map_raises() -> None:
    with pytest.raises(UntraceableError, match="flatten first"):
        trace(nn.Sequential(nn.Linear(8, 4)), (8, 8, 2))


def test_the_module_is_left_alone() -> None:
    module = small_resnet().train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    trace(module, (8, 8, 3))
    assert module.training
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, hw_models; from hw_models import estimate, load_device; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Spellings(nn.Module):
    """One mean over the map, in every spelling; all are the same layers."""

    def __init__(self, spelling: str) -> None:
        super().__init__()
        self.spelling = spelling
        self.pool, self.flatten = nn.AdaptiveAvgPool2d((1, None)), nn.Flatten()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(x)
        n, c, h, w = x.shape
        return {
            "list": lambda: x.mean([2, 3]),
            "tuple": lambda: x.mean((-2, -1)),
            "function": lambda: torch.mean(x, dim=(2, 3)),
            "kept": lambda: x.mean((2, 3), keepdim=True).flatten(1),
            "adaptive": lambda: F.adaptive_avg_pool2d(x, 1).reshape(n, -1),
            "view": lambda: F.adaptive_avg_pool2d(x, (1, 1)).view(n, c),
            "whole": lambda: torch.flatten(F.avg_pool2d(x, (h, w)), 1),
            "squeezed": lambda: F.avg_pool2d(x, kernel_size=x.size()[2:]).squeeze(-1).squeeze(-1),
            "one row": lambda: x.flatten(2).mean(-1),
        }[self.spelling]()


@pytest.mark.parametrize(
    "spelling", ["list", "tuple", "function", "kept", "adaptive", "view", "whole", "squeezed", "one row"]
)
def test_a_mean_over_the_map_is_a_pooling_however_it_is_spelt(spelling: str) -> None:
    module = Spellings(spelling)
    graph = trace(module, (4, 6, 3)).graph
    assert graph.shapes[graph.output] == (1, 1, 3)
    assert module(torch.zeros(2, 3, 4, 6)).shape == (2, 3)
    pools = [layer for layer in graph.layers if layer.kind == "average_pool2d"]
    assert len(pools) == 1
    assert {layer.kind for layer in graph.layers} <= {"activation", "average_pool2d", "reshape"}


class Stateless(nn.Module):
    """What has no weights may be called as often as one likes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.relu = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1), nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.relu(self.first(x)))
        return self.pool(self.relu(self.second(x) + x))


def test_a_stateless_module_may_be_called_twice() -> None:
    assert layers_of(trace(Stateless(), (8, 8, 2)).graph) == [
        ("first", "conv2d", (INPUT,), "relu"),
        ("pool", "max_pool2d", ("first",), "none"),
        ("second", "conv2d", ("pool",), "none"),
        ("add", "add", ("second", "pool"), "relu"),
        ("pool_1", "max_pool2d", ("add",), "none"),
    ]


def test_every_problem_is_told_at_once_with_its_line() -> None:
    module = nn.Sequential(nn.Conv2d(2, 4, 3, dilation=2), nn.GELU(), nn.Conv2d(4, 4, 1, groups=2), Slicing())
    with pytest.raises(UntraceableError) as refused:
        trace(module, (8, 8, 2))
    lines = str(refused.value).splitlines()
    assert [line.split("'")[1] for line in lines] == ["0", "1", "2", "getitem"]
    assert re.match(r"test_from_torch\.py:\d+: 'getitem' takes a part", lines[-1])


def test_a_trace_can_be_copied() -> None:
    found = trace(small_resnet(), (9, 7, 3))
    again = copy.deepcopy(found)
    assert (again.graph, dict(again.batch_norms)) == (found.graph, dict(found.batch_norms))
