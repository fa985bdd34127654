import io
import pickle

import pytest
import torch

from envs.episode.targets import Targets
from envs.errors import EnvError
from envs.search.agent.checkpoint import Checkpoint, CheckpointError
from envs.search.registry import WARM_METHODS, find_policy
from tests.envs.search.test_registry import problem


@pytest.fixture(scope="module")
def learned() -> bytes:
    agent = find_policy("sac", problem(), evaluations=6, seed=0).agent
    assert agent is not None
    return agent


@pytest.mark.parametrize("method", WARM_METHODS)
def test_a_search_starts_where_another_stopped_and_says_so(method: str) -> None:
    first = find_policy(method, problem(), evaluations=4, seed=0)
    assert first.agent is not None
    assert Checkpoint.from_bytes(first.agent).started_from is None
    second = find_policy(method, problem(seed=1), evaluations=4, seed=5, warm_start=first.agent)
    cold = find_policy(method, problem(seed=1), evaluations=4, seed=5)
    assert second.agent is not None
    assert cold.agent is not None
    assert len(Checkpoint.from_bytes(second.agent).started_from or "") == 64
    weights = [
        torch.cat([value.flatten() for value in Checkpoint.from_bytes(agent).parameters["policy"].values()])
        for agent in (first.agent, second.agent, cold.agent)
    ]
    # A few gradient steps away from where it started, and far from what other initial weights lead to.
    assert (weights[1] - weights[0]).norm() < (weights[1] - weights[2]).norm()


def test_what_is_read_is_what_was_written(learned: bytes) -> None:
    checkpoint = Checkpoint.from_bytes(learned)
    again = Checkpoint.from_bytes(checkpoint.to_bytes())
    assert (again.algorithm, again.features, again.hidden_units) == ("sac", checkpoint.features, (64, 64))
    for name, value in checkpoint.parameters["policy"].items():
        assert torch.equal(again.parameters["policy"][name], value)


def test_bytes_of_anything_else_are_one_clear_error(learned: bytes) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return pytest.fail, ("a checkpoint was executed",)

    for data in (b"", b"not a checkpoint", learned[: len(learned) // 2], pickle.dumps(Hostile(), protocol=2)):
        with pytest.raises(CheckpointError, match=r"checkpoint of \d+ bytes cannot be read .*drop warm_start"):
            find_policy("sac", problem(), evaluations=2, seed=0, warm_start=data)


def test_a_checkpoint_of_another_agent_is_refused(learned: bytes) -> None:
    with pytest.raises(CheckpointError, match="checkpoint has algorithm sac, this search needs td3"):
        find_policy("td3", problem(), evaluations=2, seed=0, warm_start=learned)
    task = problem()
    fewer = task.within(Targets({"flash_model_bytes": task.targets.limits["flash_model_bytes"]}))
    with pytest.raises(CheckpointError, match=r"checkpoint has features .*limit the same costs"):
        find_policy("sac", fewer, evaluations=2, seed=0, warm_start=learned)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": 3}, "does not hold algorithm"),
        ({"algorithm": ["sac"]}, "does not hold algorithm"),
        ({"parameters": {"policy": {}}}, "holds weights of other networks"),
        ({"parameters": {"nothing": torch.zeros(2)}}, "holds weights of other networks"),
    ],
)
def test_a_checkpoint_with_other_things_in_it_is_one_error(learned: bytes, changes: dict, message: str) -> None:
    values = torch.load(io.BytesIO(learned), weights_only=True)
    stream = io.BytesIO()
    torch.save(values | changes, stream)
    with pytest.raises(CheckpointError, match=message):
        find_policy("sac", problem(), evaluations=2, seed=0, warm_start=stream.getvalue())


def test_methods_that_learn_nothing_take_no_checkpoint(learned: bytes) -> None:
    with pytest.raises(EnvError, match="method 'random' cannot start from a checkpoint; use sac or td3"):
        find_policy("random", problem(), evaluations=2, seed=0, warm_start=learned)
    assert find_policy("random", problem(), evaluations=2, seed=0).agent is None
