import pytest
import torch

from envs.compression.float_network.folding import fold
from envs.compression.float_network.interpreter import run_float
from envs.errors import EnvError
from envs.same_conv import SameConv2d
from hw_models.graph.from_torch import TorchTrace, trace
from hw_models.graph.layer_graph import INPUT, AveragePool2D, LayerGraph
from tests.envs.networks import NETWORKS, build


@pytest.mark.parametrize("name", NETWORKS)
def test_the_folded_network_computes_what_the_module_computes(name):
    module, shape = build(name)
    traced = trace(module, shape)
    x = torch.randn(8, shape[2], shape[0], shape[1])
    output = run_float(traced.graph, fold(module, traced), x)[traced.graph.output]
    torch.testing.assert_close(output.flatten(1), module(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_tensor_has_the_shape_the_graph_says(name):
    module, shape = build(name)
    traced = trace(module, shape)
    tensors = run_float(traced.graph, fold(module, traced), torch.zeros(2, shape[2], shape[0], shape[1]))
    found = {name: (x.shape[2], x.shape[3], x.shape[1]) for name, x in tensors.items()}
    assert found == dict(traced.graph.shapes)


def test_a_batch_norm_is_folded_by_hand():
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1, eps=0.0)).eval()
    for parameter, value in (
        (module[0].weight, 3.0),
        (module[0].bias, 1.0),
        (module[1].weight, 2.0),
        (module[1].bias, 5.0),
    ):
        torch.nn.init.constant_(parameter, value)
    module[1].running_mean.fill_(7.0)
    module[1].running_var.fill_(16.0)
    folded = fold(module, trace(module, (1, 1, 1)))["0"]
    # (3 x + 1 - 7) / 4 * 2 + 5 = 1.5 x + 2
    assert (folded.weight.item(), folded.bias.item()) == (1.5, 2.0)


def test_a_same_average_pool_counts_only_the_positions_inside_the_map():
    graph = LayerGraph(
        (1, 3, 1), (AveragePool2D(name="p", inputs=(INPUT,), kernel=(1, 2), stride=(1, 2), padding="same"),)
    )
    output = run_float(graph, {}, torch.tensor([[[[1.0, 3.0, 5.0]]]]))["p"]
    assert output.flatten().tolist() == [2.0, 5.0]


def test_weights_that_are_not_finite_are_named():
    module, shape = build("plain")
    module.get_submodule("1.1").weight.data[0] = float("inf")
    with pytest.raises(EnvError, match=r"layer '1\.0' has weights that are not finite"):
        fold(module, trace(module, shape))


def test_a_flattened_map_as_the_output_is_refused():
    module = torch.nn.Sequential(SameConv2d(1, 2, 3), torch.nn.Flatten())
    with pytest.raises(EnvError, match="output '1' is a flattened feature map; end it with a dense layer"):
        fold(module, trace(module, (4, 4, 1)))


class FlattenThenAdd(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.a, self.b = SameConv2d(1, 2, 3), torch.nn.Linear(8, 8), torch.nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = self.conv(x).flatten(1)
        return self.b(flat + self.a(flat))


def test_adding_to_a_flattened_map_is_refused():
    module = FlattenThenAdd()
    with pytest.raises(EnvError, match="add layer 'add' reads a flattened feature map"):
        fold(module, trace(module, (2, 2, 1)))


def test_a_trace_without_batch_norms_needs_none():
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, bias=False))
    traced = trace(module, (3, 3, 1))
    assert fold(module, TorchTrace(traced.graph, {}))["0"].bias.tolist() == [0, 0]
