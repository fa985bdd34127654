"""Stable-Baselines3's own SAC on the compression environment, for one small trained network.

python -m experiments.examples.sac_on_the_environment [--episodes 40]

``envs.find_policy("sac", ...)`` is the agent of a study: the same algorithm, helped by demonstrations and a model of
whole policies. Here nothing but the library's agent acts.
"""

from typing import Annotated

import torch
import typer
from sklearn.datasets import load_digits
from stable_baselines3 import SAC
from torch import nn

from envs import ChoiceSpace, LayerCompressionEnv, SameConv2d, Targets
from envs.compression import (
    CompressionPolicy,
    CompressionRecipe,
    LabelledSamples,
    PolicyEvaluator,
    RecoverySettings,
    pruning_groups,
)
from hw_models import Cost, LayerGraph, estimate, load_device, load_runtime, trace

BOARD, RUNTIME = "nucleo-l4r5zi", "tflm-cmsis-nn"
SHAPE = (8, 8, 1)  # height, width, channels
CHANNEL_ROUND = 4
RECOVERY_STEPS = 20


def main(episodes: Annotated[int, typer.Option(min=2, help="Policies the agent tries.")] = 40) -> None:
    """Train the agent, then print the best policy it met."""
    torch.set_num_threads(1)
    env = environment(trained_network(), share_of_flash=0.7)
    best = best_policy(env, episodes=episodes)
    print(f"error on the reward samples {best['error']:.3f}, {best['cost']}")
    print(best["policy"])


def digits() -> tuple[LabelledSamples, LabelledSamples]:
    """Return the samples that train and those that the agent is rewarded on."""
    x, y = load_digits(return_X_y=True)
    inputs = torch.tensor(x, dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1
    labels = torch.tensor(y, dtype=torch.int64)
    return LabelledSamples(inputs[:1000], labels[:1000]), LabelledSamples(inputs[1000:1400], labels[1000:1400])


def trained_network(steps: int = 150) -> nn.Module:
    """Return a small network, trained for a few seconds."""
    torch.manual_seed(0)
    network = nn.Sequential(
        SameConv2d(1, 16, 3, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        SameConv2d(16, 32, 3, stride=2, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AvgPool2d(4),
        nn.Flatten(),
        nn.Linear(32, 10),
    )
    train, _ = digits()
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(steps):
        batch = torch.randint(len(train), (64,))
        loss = nn.functional.cross_entropy(network(train.x[batch]), train.y[batch])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return network.eval()


def environment(network: nn.Module, *, share_of_flash: float) -> LayerCompressionEnv:
    """Return the environment in which a policy may cost a share of the flash of the uncompressed network."""
    device, runtime = load_device(BOARD), load_runtime(RUNTIME)
    traced = trace(network, SHAPE)
    groups = pruning_groups(network, traced.graph)
    train, reward = digits()
    evaluator = PolicyEvaluator(
        network,
        traced,
        groups,
        CompressionRecipe(recovery=RecoverySettings(steps=RECOVERY_STEPS), channel_round=CHANNEL_ROUND),
        train=train,
        reward=reward,
        seed=0,
    )

    def cost_of(graph: LayerGraph) -> Cost:
        return estimate(graph, device, runtime)

    return LayerCompressionEnv(
        space=ChoiceSpace(graph=traced.graph, groups=groups, channel_round=CHANNEL_ROUND),
        cost_of=cost_of,
        targets=Targets({"flash_model_bytes": share_of_flash * cost_of(traced.graph).value("flash_model_bytes")}),
        evaluate=evaluator.error,
        baseline_error=evaluator.error(CompressionPolicy()),
    )


def best_policy(env: LayerCompressionEnv, *, episodes: int) -> dict[str, object]:
    """Return what the environment said at the end of the best episode of the agent's training."""
    ends: list[dict[str, object]] = []

    def keep_end(values: dict[str, object], _: object) -> bool:
        ends.extend(info for info in values["infos"] if info.get("feasible"))  # type: ignore[attr-defined]
        return True

    steps = episodes * len(env.choice_space.layers)
    agent = SAC("MlpPolicy", env, learning_starts=steps // 4, batch_size=32, policy_kwargs={"net_arch": [32]}, seed=0)
    agent.learn(total_timesteps=steps, callback=lambda local, _: keep_end(local, _))
    return min(ends, key=lambda info: float(info["error"]))  # type: ignore[arg-type]


if __name__ == "__main__":
    typer.run(main)
