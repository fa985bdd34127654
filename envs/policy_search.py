"""One door to every way of finding a compression policy; all get the same walls, evaluations and error function."""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from envs.errors import EnvError
from envs.policy_problem import CompressionProblem, PolicyJudge, PolicySearchResult, SearchMethod
from hw_models.errors import unknown_name

# Method name -> where its search function lives. Resolved on use: the agent pulls in torch.
METHODS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "sac": ("envs.agents.search", "search_with_sac"),
        "td3": ("envs.agents.search", "search_with_td3"),
        "ppo": ("envs.agents.on_policy", "search_with_ppo"),
        "uniform": ("envs.rivals", "search_uniform"),
        "random": ("envs.rivals", "search_random"),
        "greedy": ("envs.greedy", "search_greedy"),
        "evolution": ("envs.evolution", "search_evolution"),
    }
)


def method_names() -> tuple[str, ...]:
    """Return the names of all search methods."""
    return tuple(METHODS)


def find_policy(method: str, problem: CompressionProblem, *, evaluations: int, seed: int) -> PolicySearchResult:
    """Search for the feasible policy with the lowest error on the reward split.

    Args:
        method: One of :func:`method_names`.
        problem: The network, its costs and targets, and the error function.
        evaluations: How many distinct policies may be evaluated, at least 1. A search may use fewer when it runs out of
            policies.
        seed: Fixes every random choice of the search.

    Raises:
        EnvError: Unknown method or no evaluations.
        BudgetError: No policy is inside the targets.
    """
    if method not in METHODS:
        raise EnvError(unknown_name("policy search", method, METHODS))
    judge = PolicyJudge(problem, evaluations)
    problem.check_attainable()
    module, name = METHODS[method]
    search: SearchMethod = getattr(import_module(module), name)
    search(problem, judge, seed)
    return judge.result()
