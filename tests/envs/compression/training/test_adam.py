import pytest
import torch
from torch import nn

from envs.compression.training.adam import Adam


def loss_of(network: nn.Module) -> torch.Tensor:
    x = torch.randn(6, 5, 7, 3, generator=torch.Generator().manual_seed(1)).permute(0, 3, 1, 2)
    return network(x).square().mean()


def a_network() -> nn.Module:
    torch.manual_seed(0)
    # Gradients of a convolution's weights come in another memory order than the weights.
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(60, 2))


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_it_steps_as_torchs_does(weight_decay: float) -> None:
    ours, theirs = a_network(), a_network()
    adam = Adam(ours.parameters(), weight_decay=weight_decay)
    reference = torch.optim.AdamW(theirs.parameters(), lr=1.0, weight_decay=weight_decay)
    for learning_rate in (0.03, 0.02, 0.01, 0.003):
        reference.param_groups[0]["lr"] = learning_rate
        reference.zero_grad()
        loss_of(theirs).backward()
        reference.step()
        adam.step(loss_of(ours), learning_rate=learning_rate)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), atol=1e-6, rtol=1e-5)


def test_what_needs_no_gradient_or_has_none_stays() -> None:
    network = a_network()
    network[0].weight.requires_grad_(False)
    spare = nn.Parameter(torch.ones(3))
    fixed, moved = network[0].weight.clone(), network[3].weight.clone()
    Adam([*network.parameters(), spare]).step(loss_of(network), learning_rate=0.1)
    assert torch.equal(network[0].weight, fixed)
    assert torch.equal(spare, torch.ones(3))
    assert not torch.equal(network[3].weight, moved)


def test_values_changed_between_steps_count() -> None:
    network = a_network()
    adam = Adam(network.parameters())
    adam.step(loss_of(network), learning_rate=0.1)
    with torch.no_grad():
        network[3].weight.fill_(5.0)
    adam.step(loss_of(network), learning_rate=1e-4)
    torch.testing.assert_close(network[3].weight, torch.full((2, 60), 5.0), atol=1e-3, rtol=0)
