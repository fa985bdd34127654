"""One door to every way of finding a compression policy; all get the same walls, evaluations and error function."""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from types import MappingProxyType

from envs.errors import EnvError
from envs.search.problem import CompressionProblem, PolicyJudge, PolicySearchResult, SearchMethod
from hw_models.errors import unknown_name

# Method name -> where its search function lives. Resolved on use: the agent pulls in torch.
METHODS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "sac": ("envs.search.agent.search", "search_with_sac"),
        "td3": ("envs.search.agent.search", "search_with_td3"),
        "ppo": ("envs.search.agent.on_policy", "search_with_ppo"),
        "uniform": ("envs.search.uniform_policies", "search_uniform"),
        "random": ("envs.search.random_policies", "search_random"),
        "greedy": ("envs.search.greedy", "search_greedy"),
        "evolution": ("envs.search.evolution", "search_evolution"),
    }
)


# Methods that learn something another search can start from.
WARM_METHODS = ("sac", "td3")


def method_names() -> tuple[str, ...]:
    """Return the names of all search methods."""
    return tuple(METHODS)


def find_policy(
    method: str, problem: CompressionProblem, *, evaluations: int, seed: int, warm_start: bytes | None = None
) -> PolicySearchResult:
    """Search for the feasible policy with the lowest error on the reward split.

    Args:
        method: One of :func:`method_names`.
        problem: The network, its costs and targets, and the error function.
        evaluations: How many distinct policies may be evaluated, at least 1. A search may use fewer when it runs out of
            policies.
        seed: Fixes every random choice of the search.
        warm_start: A checkpoint that an earlier result of the same method holds as ``agent``. The result then depends
            on what that search saw.

    Raises:
        EnvError: Unknown method, no evaluations, a checkpoint that is none, or one for a method that learns nothing.
        BudgetError: No policy is inside the targets.
    """
    if method not in METHODS:
        raise EnvError(unknown_name("policy search", method, METHODS))
    if warm_start is not None and method not in WARM_METHODS:
        raise EnvError(f"the method {method!r} cannot start from a checkpoint; use {' or '.join(WARM_METHODS)}")
    judge = PolicyJudge(problem, evaluations)
    problem.check_attainable()
    module, name = METHODS[method]
    search: SearchMethod = getattr(import_module(module), name)
    agent = search(problem, judge, seed) if warm_start is None else search(problem, judge, seed, warm_start=warm_start)
    return replace(judge.result(), agent=agent)
