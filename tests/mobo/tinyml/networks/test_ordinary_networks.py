"""Networks as people write them for torchvision, small: which go the whole way, and what the others are told.

The whole way: traced, pruned, costed, quantised, as tflite bit for bit in TFLM, as C bit for bit on the host.
"""

import csv
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from envs.compression.float_network.folding import fold
from envs.compression.float_network.interpreter import run_float
from envs.compression.integer.fast_interpreter import FastInterpreter
from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.integer.kernels import quantise_values
from envs.compression.integer.network import QuantisedNetwork
from envs.compression.integer.quantisation import quantise
from envs.compression.policy import CompressionPolicy
from envs.compression.structure.groups import PruningGroup, compressed_graph, pruning_groups
from envs.compression.structure.pruning import prune
from envs.compression.training.quantisation_aware import QuantisationAwareNetwork
from hw_models.cost import COST_NAMES, estimate
from hw_models.device import load_device
from hw_models.graph.from_csv import read_layer_table
from hw_models.graph.from_torch import TorchTrace, UntraceableError, trace
from hw_models.graph.layer_graph import INPUT, Shape
from hw_models.kernels import kernel_calls
from hw_models.latency import instruction_count
from hw_models.memory.arena_plan import plan_memory
from hw_models.runtime import load_runtime
from mobo.export.c.memory import plan_arena
from mobo.export.firmware.host import run_on_host
from mobo.export.firmware.measurement import NETWORK_COLUMNS, layer_rows
from mobo.export.tools import INSTALL, ONNXRUNTIME, TFLM
from tests.mobo.export.c.projects import write_project
from tests.mobo.export.quantised_networks import expected_tensors, random_inputs

MAP: Shape = (16, 16, 3)


def conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """Torchvision's, with one ReLU for both places."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, norm: Callable[[int], nn.Module] = nn.BatchNorm2d):
        super().__init__()
        self.conv1, self.bn1 = conv3(inputs, outputs, stride), norm(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = conv3(outputs, outputs), norm(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 7, 2, padding=3, bias=False), norm(8)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = nn.Sequential(BasicBlock(8, 8, 1, norm), BasicBlock(8, 8, 1, norm))
        self.layer2 = BasicBlock(8, 16, 2, norm)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer2(self.layer1(x))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int, groups: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.relu(self.bn3(self.conv3(out)) + self.shortcut(x))


def bottlenecks(groups: int = 1) -> nn.Module:
    return nn.Sequential(
        conv3(3, 8, 2), nn.BatchNorm2d(8), nn.ReLU(), Bottleneck(8, 4, 1, groups), Bottleneck(16, 4, 2, groups),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip


class PreActivation(nn.Module):
    """He et al., 2016: the norm stands before the convolution, behind an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn1, self.conv1 = conv3(3, 8), nn.BatchNorm2d(8), conv3(8, 8)
        self.bn2, self.head = nn.BatchNorm2d(8), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.conv1(F.relu(self.bn1(x)))
        return self.head(F.relu(self.bn2(x)).mean((2, 3)))


def vgg() -> nn.Module:
    features: list[nn.Module] = []
    for inputs, outputs in ((3, 8), (8, 12)):
        features += [
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(True),
            nn.MaxPool2d(2, 2),
        ]
    return nn.Sequential(
        *features, nn.AdaptiveAvgPool2d((2, 2)), nn.Flatten(), nn.Linear(48, 16), nn.ReLU(True), nn.Dropout(),
        nn.Linear(16, 5),
    )  # fmt: skip


def alexnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 11, 4, padding=2), nn.ReLU(inplace=True), nn.Conv2d(8, 12, 5, padding=2), nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, padding=1), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Dropout(), nn.Linear(12, 5),
    )  # fmt: skip


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, act: type[nn.Module], gate: nn.Module | None) -> None:
        super().__init__()
        hidden = 2 * inputs
        self.use_res_connect = stride == 1 and inputs == outputs
        depthwise = nn.Conv2d(hidden, hidden, 3, stride, padding=1, groups=hidden, bias=False)
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, hidden, 1, bias=False), nn.BatchNorm2d(hidden), act(),
            depthwise, nn.BatchNorm2d(hidden), act(),
            *([] if gate is None else [SqueezeExcitation(hidden, gate)]),
            nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int, gate: nn.Module) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)
        self.activation, self.scale_activation = nn.ReLU(), gate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.activation(self.fc1(self.avgpool(x)))
        return self.scale_activation(self.fc2(scale)) * x


class MobileNet(nn.Module):
    def __init__(self, act: type[nn.Module], gate: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv3(3, 8, 2), nn.BatchNorm2d(8), act())
        self.blocks = nn.Sequential(
            InvertedResidual(8, 8, 1, act, gate), InvertedResidual(8, 12, 2, act, gate),
            InvertedResidual(12, 12, 1, act, gate),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(12, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.blocks(self.stem(x)).mean([2, 3]))


class Fire(nn.Module):
    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze, self.act = nn.Conv2d(inputs, squeeze, 1), nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.squeeze(x))
        return torch.cat([self.act(self.expand1x1(x)), self.act(self.expand3x3(x))], 1)


def squeezenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(True), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(8, 4, 8), Fire(16, 4, 8),
        nn.Dropout(), nn.Conv2d(16, 5, 1), nn.ReLU(True), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(),
    )  # fmt: skip


class DenseBlock(nn.Module):
    """Each layer reads all before it; the norm before the convolution, as published, or behind it."""

    def __init__(self, *, norm_first: bool) -> None:
        super().__init__()
        self.stem, self.norm_first = nn.Sequential(conv3(3, 8, 2), nn.BatchNorm2d(8), nn.ReLU()), norm_first
        self.convs = nn.ModuleList(conv3(8 + 4 * index, 4) for index in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(8 + 4 * index if norm_first else 4) for index in range(3))
        self.head = nn.Linear(20, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            new = conv(F.relu(norm(x))) if self.norm_first else F.relu(norm(conv(x)))
            x = torch.cat((x, new), dim=1)
        return self.head(F.adaptive_avg_pool2d(x, (1, 1)).flatten(1))


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv3(3, 8, 2), nn.BatchNorm2d(8), nn.ReLU())
        self.branch1x1 = nn.Conv2d(8, 4, 1)
        self.branch3x3 = nn.Sequential(nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1))
        self.branch_pool, self.fc = nn.Conv2d(8, 4, 1), nn.Linear(22, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        pooled = self.branch_pool(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1))
        outputs = [self.branch1x1(x), self.branch3x3(x), pooled, F.max_pool2d(x, 3, stride=1, padding=1)]
        x = F.relu(torch.cat(outputs, 1))
        return self.fc(F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1))


class ShuffleUnit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv3(3, 8, 2), nn.BatchNorm2d(8), nn.ReLU())
        self.branch = nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = self.stem(x).chunk(2, dim=1)
        x = torch.cat((first, self.branch(second)), dim=1)
        return self.fc(x.mean([2, 3]))


class ConvNeXt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.dwconv = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 7, padding=3, groups=8)
        self.norm, self.pwconv1, self.act = nn.GroupNorm(1, 8), nn.Conv2d(8, 16, 1), nn.GELU()
        self.pwconv2, self.head = nn.Conv2d(16, 8, 1), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.pwconv2(self.act(self.pwconv1(self.norm(self.dwconv(x)))))
        return self.head(x.mean([-2, -1]))


class MotionNet(nn.Module):
    """One-dimensional: windows of three axes come in as maps of one row."""

    def __init__(self, dilation: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(3, 8, 5, padding=2), nn.BatchNorm1d(8)
        self.conv2 = nn.Conv1d(8, 12, 3, stride=2, padding=dilation, dilation=dilation)
        self.bn2, self.pool, self.fc = nn.BatchNorm1d(12), nn.MaxPool1d(2), nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.squeeze(2)
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.fc(x.mean(dim=-1))


class DarkBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels // 2, 1, bias=False), nn.BatchNorm2d(channels // 2)
        self.conv2, self.bn2 = conv3(channels // 2, channels), nn.BatchNorm2d(channels)
        self.leaky = nn.LeakyReLU(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.leaky(self.bn2(self.conv2(self.leaky(self.bn1(self.conv1(x))))))


class DarkNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv3(3, 8, 2), nn.BatchNorm2d(8), nn.LeakyReLU(0.1))
        self.blocks, self.fc = nn.Sequential(DarkBlock(8), DarkBlock(8)), nn.Linear(8 * 16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.avg_pool2d(self.blocks(self.stem(x)), 2)
        return self.fc(x.view(x.size(0), -1))


class SeparableSE(nn.Module):
    """Squeeze and excite with linear layers, the sizes read from the tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv3(3, 8, 2), nn.BatchNorm2d(8), nn.ReLU())
        self.gate = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 8), nn.Hardsigmoid())
        self.conv, self.bn, self.fc = conv3(8, 8), nn.BatchNorm2d(8), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        inner = self.bn(self.conv(x))
        b, c, _, _ = inner.size()
        scale = self.gate(inner.mean((2, 3))).view(b, c, 1, 1)
        x = F.relu(x + inner * scale)
        return self.fc(F.avg_pool2d(x, x.shape[2:]).reshape(b, -1))


class ConvAutoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Conv2d(3, 8, 3, 2, padding=1), nn.ConvTranspose2d(8, 3, 2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.decode(F.relu(self.encode(x)))).flatten(1)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lstm, self.fc = nn.Conv1d(3, 8, 3), nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv(x.squeeze(2)))
        outputs = self.lstm(x.transpose(1, 2))
        return self.fc(outputs[0][:, -1])


@dataclass(frozen=True)
class Case:
    """A network and, where it is refused, what each line of the refusal must say."""

    build: Callable[[], nn.Module]
    shape: Shape = MAP
    refusals: tuple[str, ...] = ()


HERE = re.escape(Path(__file__).name)
CASES: Mapping[str, Case] = {
    "ResNet": Case(ResNet),
    "ResNet, bottlenecks": Case(bottlenecks),
    "VGG": Case(vgg),
    "AlexNet": Case(alexnet, (32, 32, 3)),
    "MobileNetV2": Case(lambda: MobileNet(nn.ReLU6)),
    "MobileNetV3": Case(lambda: MobileNet(nn.Hardswish, nn.Hardsigmoid())),
    "SqueezeNet": Case(squeezenet, (19, 19, 3)),
    "DenseNet, norm behind": Case(lambda: DenseBlock(norm_first=False)),
    "Inception": Case(Inception),
    "1D-CNN": Case(MotionNet, (1, 32, 3)),
    "DarkNet": Case(DarkNet),
    "squeeze and excite": Case(SeparableSE),
    "ResNet, norm first": Case(
        PreActivation,
        refusals=(rf"^{HERE}:\d+: batch norm 'bn1' reads 'stem'; .* nothing else reads: put it there",
                  rf"^{HERE}:\d+: batch norm 'bn2' reads 'add'; "),
    ),
    "DenseNet, norm first": Case(
        lambda: DenseBlock(norm_first=True), refusals=("'norms.0' reads '", "'norms.1' reads 'cat'", "'norms.2' reads")
    ),
    "ResNet, group norm": Case(
        lambda: ResNet(lambda channels: nn.GroupNorm(2, channels)),
        refusals=(r"'bn1' \(GroupNorm\) is not supported: it measures every sample anew.*; write BatchNorm",)
        + (r"\(GroupNorm\)",) * 7,
    ),
    "ResNeXt": Case(
        lambda: bottlenecks(2), refusals=("'3.conv2' has 2 groups for 4 -> 4 channels", "'4.conv2' has 2 groups")
    ),
    "EfficientNet": Case(
        lambda: MobileNet(nn.SiLU, nn.Sigmoid()),
        refusals=(r"\(SiLU\) is not supported: write nn\.Hardswish\(\)", *(r"\((SiLU|Sigmoid)\)",) * 7),
    ),
    "ShuffleNet": Case(
        ShuffleUnit, refusals=(rf"^{HERE}:\d+: operation 'chunk' .*: channels are kept together here; write two conv",)
    ),
    "ConvNeXt": Case(ConvNeXt, refusals=(r"'norm' \(GroupNorm\)", r"'act' \(GELU\) is not supported: write nn\.Hardswish")),
    "TCN": Case(
        lambda: MotionNet(2), (1, 32, 3), (rf"^{HERE}:\d+: module 'conv2' has dilation \(2,\); only 1 .*: write a larger",)
    ),
    "LSTM": Case(Recurrent, (1, 32, 3), (r"operation 'transpose' .*: tensors stay N x channels", r"'lstm' \(LSTM\).* write convolutions")),
    "autoencoder of transposed convolutions": Case(
        ConvAutoencoder,
        refusals=(r"'decode' \(ConvTranspose2d\) is not supported: nothing here makes maps larger",
                  r"operation 'sigmoid' \(sigmoid\) is not supported: write nn\.Hardsigmoid"),
    ),
}  # fmt: skip
PASSING = [name for name, case in CASES.items() if not case.refusals]
REFUSED = [name for name, case in CASES.items() if case.refusals]


@dataclass(frozen=True)
class Made:
    module: nn.Module
    traced: TorchTrace
    groups: tuple[PruningGroup, ...]
    x: torch.Tensor


def made(name: str) -> Made:
    """Return a network with statistics as training leaves them."""
    torch.manual_seed(3)
    case = CASES[name]
    module = case.build().train()
    height, width, channels = case.shape
    x = torch.randn(48, channels, height, width)
    with torch.no_grad():
        for _ in range(3):
            module(x)
    module.eval()
    traced = trace(module, case.shape)
    return Made(module, traced, pruning_groups(module, traced.graph), x)


def quantised(found: Made, bits: int = 8) -> QuantisedNetwork:
    widths = {layer.name: bits for layer in found.traced.graph.weight_layers}
    return quantise(found.module, found.traced, found.x, weight_bits=widths)


def pruned(found: Made, ratio: float) -> Made:
    policy = CompressionPolicy({group.name: ratio for group in found.groups if group.prunable})
    smaller = prune(found.module, found.traced, found.groups, policy, channel_round=2)
    graph = compressed_graph(found.traced.graph, found.groups, policy, channel_round=2)
    return replace(found, module=smaller, traced=replace(found.traced, graph=graph))


@pytest.mark.parametrize("name", PASSING)
def test_the_graph_computes_what_torch_does_also_when_it_is_pruned(name: str) -> None:
    whole = made(name)
    assert any(group.prunable for group in whole.groups)
    for found in (whole, pruned(whole, 0.5)):
        graph = found.traced.graph
        tensors = run_float(graph, fold(found.module, found.traced), found.x)
        with torch.no_grad():
            expected = found.module(found.x)
        torch.testing.assert_close(tensors[graph.output].flatten(1), expected, rtol=1e-3, atol=1e-4)
        assert trace(found.module, graph.input_shape).graph.shapes == graph.shapes


@pytest.mark.parametrize("name", PASSING)
def test_its_integers_come_near_and_have_costs(name: str) -> None:
    found = made(name)
    network, graph = quantised(found), found.traced.graph
    with torch.no_grad():
        expected = found.module(found.x)
    ours = IntegerInterpreter(network).logits(found.x)
    assert float((ours - expected).square().mean() / expected.var()) < 0.05
    assert torch.equal(ours, FastInterpreter(network).logits(found.x))
    # What the exporter writes into the code is what was predicted.
    assert plan_memory(graph, load_runtime("mobo-c")).arena_bytes == plan_arena(graph).bytes
    device = load_device("nucleo-l4r5zi")
    for runtime in ("tflm-cmsis-nn", "mobo-c"):
        cost = estimate(graph, device, load_runtime(runtime))
        assert all(cost.value(cost_name) > 0 for cost_name in COST_NAMES)
        moving = [row for row in cost.rows if row.kind not in ("reshape",)]
        assert all(row.latency_ms > 0 for row in moving)
        assert (runtime == "mobo-c") <= (cost.nearest_kinds == ())
    apart = {"pad", "concatenate", "elementwise"} & {layer.kind for layer in graph.layers}
    assert apart <= set(estimate(graph, device, load_runtime("tflm-cmsis-nn")).nearest_kinds)


@pytest.mark.parametrize("name", PASSING)
def test_the_table_that_a_measurement_leaves_has_the_same_kernels(name: str, tmp_path: Path) -> None:
    graph = made(name).traced.graph
    with (tmp_path / "networks.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, NETWORK_COLUMNS)
        writer.writeheader()
        writer.writerows(layer_rows(graph, "mine"))
    read = kernel_calls(read_layer_table(tmp_path / "networks.csv", model="mine"))
    assert [(call.kernel, call.width) for call in read] == [(call.kernel, call.width) for call in kernel_calls(graph)]
    assert instruction_count(
        read_layer_table(tmp_path / "networks.csv", model="mine"), "cortex-m4", load_runtime("mobo-c")
    ) == pytest.approx(instruction_count(graph, "cortex-m4", load_runtime("mobo-c")), rel=0.01)


@pytest.mark.parametrize("name", PASSING)
def test_quantisation_aware_training_starts_where_the_integers_are(name: str) -> None:
    found = made(name)
    network = quantised(found)
    aware = QuantisationAwareNetwork(network, fold(found.module, found.traced), learned=True).eval()
    again = aware.quantised()
    for tensor, quantisation in network.tensors.items():
        assert again.tensors[tensor].zero_point == quantisation.zero_point
        assert again.tensors[tensor].scale == pytest.approx(quantisation.scale, rel=1e-5)
    loss = aware.train()(found.x).square().mean()
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(part.weight.grad is not None for part in aware._weights.values())


@pytest.mark.parametrize("name", PASSING)
@pytest.mark.parametrize("bits", [8, 4])
def test_tflm_computes_the_same_integers(name: str, bits: int) -> None:
    pytest.importorskip("tflite_micro", reason=INSTALL[TFLM])
    from hw_models.graph.from_tflite import graph_of
    from hw_models.graph.tflite_tables import parse
    from mobo.export.tflite.runnable import read_runnable
    from mobo.export.tflite.writer import tflite_bytes
    from mobo.export.verify.tflite_checks import arena_rows
    from mobo.export.verify.tflm import run_tflm, tflm_tensors

    network = quantised(pruned(made(name), 0.75), bits)
    file, samples = read_runnable(tflite_bytes(network, name="model", metadata={})), random_inputs(network, 4)
    expected = expected_tensors(network, samples)
    for tensor, values in tflm_tensors(file, samples).items():
        np.testing.assert_array_equal(values.reshape(expected[tensor].shape), expected[tensor], err_msg=tensor)
    rows = arena_rows(graph_of(parse(file.data)), run_tflm(file, samples)[1])
    assert all(row.holds for row in rows), rows


@pytest.mark.parametrize("name", PASSING)
def test_litert_computes_the_same_integers(name: str) -> None:
    pytest.importorskip("ai_edge_litert")
    from mobo.export.tflite.runnable import read_runnable
    from mobo.export.tflite.writer import tflite_bytes
    from mobo.export.verify.litert import KNOWN_DIFFERENCES, run_litert
    from mobo.export.verify.tflite_checks import layer_differences

    network = quantised(made(name))
    file = read_runnable(tflite_bytes(network, name="model", metadata={}))
    for layer, found in layer_differences(network, run_litert(file, random_inputs(network, 4))).items():
        allowed = 1 if network.graph.layer(layer).kind in KNOWN_DIFFERENCES else 0
        assert found.max() <= allowed, layer


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled kernels, the same for most networks."""
    return tmp_path_factory.mktemp("objects")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize("name", PASSING)
def test_the_c_computes_the_same_integers(name: str, objects: Path, tmp_path: Path) -> None:
    network = quantised(pruned(made(name), 0.75), 4)
    samples = random_inputs(network, 4)
    samples[0], samples[1] = -128, 127
    outputs, _ = run_on_host(write_project(network, tmp_path), samples, objects=objects)
    expected = expected_tensors(network, samples)[network.graph.output].reshape(len(samples), -1)
    np.testing.assert_array_equal(outputs, expected)


@pytest.mark.parametrize("name", PASSING)
def test_onnx_computes_nearly_the_same(name: str) -> None:
    pytest.importorskip("onnxruntime", reason=INSTALL[ONNXRUNTIME])
    from mobo.export.onnx.writer import onnx_bytes
    from mobo.export.verify.onnx_checks import run_onnx

    found = made(name)
    network = quantised(found)
    data = onnx_bytes(network, name="model", metadata={})
    samples: Any = found.x[:8].numpy()
    name = network.graph.output
    outputs = run_onnx(data, samples, (name,))[name].reshape(8, -1)
    ours = IntegerInterpreter(network).run(quantise_values(found.x[:8], network.tensors[INPUT]))[name]
    # Every layer may be off by one step, and those behind it see that.
    assert np.abs(outputs.astype(int) - ours.flatten(1).numpy()).max() <= 8


@pytest.mark.parametrize("name", REFUSED)
def test_all_that_is_impossible_is_told_at_once(name: str) -> None:
    case = CASES[name]
    with pytest.raises(UntraceableError) as refused:
        trace(case.build(), case.shape)
    lines = str(refused.value).splitlines()
    assert len(lines) == len(case.refusals), lines
    for line, pattern in zip(lines, case.refusals, strict=True):
        assert re.search(pattern, line), line
