import pytest
import torch

from envs.errors import EnvError
from envs.search.evaluation_pool import EvaluationPool
from tests.envs.compression.test_evaluator import POLICIES, evaluator_of


@pytest.mark.slow
def test_a_pool_gives_the_errors_of_its_evaluator() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        evaluator, _ = evaluator_of()
        with EvaluationPool(evaluator, processes=2) as pool:
            assert pool.errors([*POLICIES, POLICIES[0]]) == [
                evaluator.error(policy) for policy in [*POLICIES, POLICIES[0]]
            ]
            assert pool.error(POLICIES[2]) == evaluator.error(POLICIES[2])
    finally:
        torch.set_num_threads(threads)


def test_a_pool_needs_a_process() -> None:
    with pytest.raises(EnvError, match="processes is 0; a pool needs at least 1"):
        EvaluationPool(evaluator_of()[0], processes=0)
