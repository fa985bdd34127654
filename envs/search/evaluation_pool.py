"""Measuring several policies at a time, each in a process of its own."""

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.reduction import ForkingPickler
from types import MappingProxyType, TracebackType

from envs.compression.evaluator import NetworkKey, PolicyEvaluator
from envs.compression.policy import CompressionPolicy
from envs.errors import EnvError


class EvaluationPool:
    """Copies of one evaluator in worker processes, one thread each; to be used in a ``with`` statement.

    The errors are those of the evaluator itself when it runs in one thread: an error does not depend on what was
    measured before.

    Args:
        evaluator: What measures; copied as it is now.
        processes: How many, at least 1.

    Raises:
        EnvError: ``processes`` is below 1.
    """

    def __init__(self, evaluator: PolicyEvaluator, *, processes: int) -> None:
        if processes < 1:
            raise EnvError(f"processes is {processes}; a pool needs at least 1")
        self._evaluator = evaluator
        self._errors: dict[NetworkKey, float] = {}
        # Read-only views, in graphs and policies, cannot be pickled by themselves.
        ForkingPickler.register(MappingProxyType, _reduced)
        self._executor = ProcessPoolExecutor(
            processes, multiprocessing.get_context("spawn"), initializer=_receive, initargs=(evaluator,)
        )

    def __enter__(self) -> "EvaluationPool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._executor.shutdown(cancel_futures=True)

    def errors(self, policies: Sequence[CompressionPolicy]) -> list[float]:
        """Return the error of every policy on the reward samples, remembered per compressed network.

        Raises:
            PolicyError: A policy does not fit the network.
        """
        keys = [self._evaluator.network_key(policy) for policy in policies]
        unknown = {key: policy for key, policy in zip(keys, policies, strict=True) if key not in self._errors}
        self._errors.update(zip(unknown, self._executor.map(_measure, unknown.values()), strict=True))
        return [self._errors[key] for key in keys]

    def error(self, policy: CompressionPolicy) -> float:
        """Return the error of one policy, see :meth:`errors`."""
        return self.errors([policy])[0]


_received: list[PolicyEvaluator] = []


def _receive(evaluator: PolicyEvaluator) -> None:
    import torch  # in the worker only

    torch.set_num_threads(1)
    _received.append(evaluator)


def _measure(policy: CompressionPolicy) -> float:
    return _received[0].error(policy)


def _reduced(
    view: Mapping[str, object],
) -> tuple[Callable[[dict[str, object]], Mapping[str, object]], tuple[dict[str, object]]]:
    return _read_only, (dict(view),)


def _read_only(values: dict[str, object]) -> Mapping[str, object]:
    return MappingProxyType(values)
