"""Workers on the machines of a Ray cluster, behind the same seam as local ones (:mod:`mobo.base.worker_pool`).

Ray starts them, carries bytes, and says when a worker or a node is gone; what is concluded from that is decided here.
A worker is an actor (:mod:`mobo.base.ray_actor`) that is never restarted: one that dies is replaced by another,
wherever there is room, and its task begun again. What goes over the wire is in Ray's own format between its own
processes; nothing is unpickled from a file.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from mobo.base.errors import MachineError
from mobo.base.ray_actor import Lacking, Parcel, Piece, Place, own_versions, worker_class
from mobo.base.ray_cluster import ClusterError, Resources, imported_ray, joined
from mobo.base.worker_pool import ATTEMPTS, Raised, WorkerDied, WorkerError, ignored, told

Task = TypeVar("Task")
Result = TypeVar("Result")

PIECES_ON_THE_WAY = 4
"""So many pieces a worker may be ahead of who takes them."""

_WAIT_S = 1.0
_SILENCE_S = 30.0
"""After so long without any worker it is said what the cluster lacks."""

_log = logging.getLogger(__name__)


@dataclass
class _Begun(Generic[Task]):
    """A task on its way, and what became of those who were at it before."""

    task: Task
    on_begin: Callable[[Task], None]
    deaths: tuple[str, ...] = ()
    lost_a_node: bool = False
    files: dict[str, list[bytes]] = field(default_factory=dict)


@dataclass
class _Worker(Generic[Task]):
    """One actor, and what is waited for: its greeting, that it is ready, or the next item of a task's answer."""

    actor: Any
    awaited: Any
    place: Place | None = None
    is_ready: bool = False
    is_at_work: bool = False
    begun: _Begun[Task] | None = None


class RayWorkers(Generic[Task, Result]):
    """Runs tasks with workers on a Ray cluster; use it with ``with``. One that dies is replaced, as in a WorkerPool.

    A task that every worker lost comes back as WorkerDied; where one of them was lost with its whole node, or where
    workers reported failures of their machines, it is a MachineError, which nothing is concluded from.

    Args:
        build: Called once in every worker; returns what runs a task there, and gives back its result or a
            :class:`Parcel`. Picklable; so are tasks and results. It may raise :class:`Lacking`.
        jobs: Largest number of tasks at a time, and of workers.
        address: Of the cluster's head, ``host:port``, or ``auto`` for that which this machine belongs to.
        resources: What a worker takes.
        supply: Returns what a worker that lacks something is given as argument of ``build``; called at most once.
        versions: What every worker's have to be.
        on_note: Called with a line about the cluster.

    Raises:
        ClusterError: There is no such cluster, or Ray is not installed.
    """

    def __init__(
        self,
        build: Callable[..., Callable[[Task], Result | Parcel[Result]]],
        *,
        jobs: int,
        address: str,
        resources: Resources | None = None,
        supply: Callable[[], object] | None = None,
        versions: Mapping[str, str] | None = None,
        on_note: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.jobs = jobs
        self._ray = imported_ray()
        self._resources = Resources() if resources is None else resources
        self._supply, self._supplied = supply, None
        self._versions = dict(own_versions() if versions is None else versions)
        self._note = on_note
        self._waiting: deque[_Begun[Task]] = deque()
        self._workers: list[_Worker[Task]] = []
        self._refused: dict[str, str] = {}
        self._kinds: set[str] = set()
        self._failed_starts = 0
        self._silent_since = time.monotonic()
        self._joined = joined(self._ray, address)
        self._actor_class = self._ray.remote(worker_class())
        self._build = self._ray.put(build)
        self.place: Place | None = None
        """Where the task that :meth:`next_finished` returned last was run."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def share(self, data: object) -> Any:
        """Put something where every worker can get it, with :func:`shared`, as long as what is returned is kept."""
        return self._ray.put(data)

    def start(self, task: Task, on_begin: Callable[[Task], None] = ignored) -> None:
        """Take in a task; ``on_begin`` is called when a worker is at it, for the first time only.

        Raises:
            WorkerError: There are ``jobs`` of them already.
        """
        if len(self._waiting) + sum(worker.begun is not None for worker in self._workers) >= self.jobs:
            raise WorkerError(f"all {self.jobs} workers are busy; take a finished task before starting another")
        self._waiting.append(_Begun(task, on_begin))
        self._give_out()

    def next_finished(self) -> tuple[Task, Result | Parcel[Result] | WorkerDied]:
        """Wait until a task is finished; return it with its result.

        Raises:
            WorkerError: Building or running raised an exception in the worker, or nothing is running.
            MachineError: Machines of the cluster let the task down in every attempt.
            ClusterError: No node may be used, or no worker can be started on any.
        """
        if not self._waiting and all(worker.begun is None for worker in self._workers):
            raise WorkerError("no task is running; start one first")
        while True:
            self._give_out()
            heard = self._heard_of()
            if heard is not None and (finished := self._answered(heard)) is not None:
                return finished

    def close(self) -> None:
        """End all workers, whatever they are doing, and leave the cluster where it was joined here."""
        workers, self._workers = self._workers, []
        self._waiting.clear()
        for worker in workers:
            self._ray.kill(worker.actor)
        if self._joined:
            self._ray.shutdown()

    def _give_out(self) -> None:
        """Give waiting tasks to workers that have none; start more workers where there are fewer than tasks."""
        for worker in self._workers:
            if self._waiting and worker.is_ready and worker.begun is None:
                worker.begun, worker.is_at_work = self._waiting.popleft(), False
                answer = worker.actor.run.options(
                    num_returns="streaming", _generator_backpressure_num_objects=PIECES_ON_THE_WAY
                )
                worker.awaited = answer.remote(worker.begun.task)
        wanted = len(self._waiting) + sum(worker.begun is not None for worker in self._workers)
        while len(self._workers) < min(self.jobs, wanted):
            self._workers.append(self._new_worker())

    def _new_worker(self) -> _Worker[Task]:
        elsewhere = {"label_selector": {"ray.io/node-id": f"!in({','.join(self._refused)})"}} if self._refused else {}
        options = {"max_restarts": 0, "scheduling_strategy": "SPREAD", **self._resources.options(), **elsewhere}
        actor = self._actor_class.options(**options).remote()
        return _Worker(actor, actor.hello.remote())

    def _heard_of(self) -> _Worker[Task] | None:
        """Wait a moment for any worker to say something."""
        awaited = [worker for worker in self._workers if worker.awaited is not None]
        ready, _ = self._ray.wait([worker.awaited for worker in awaited], timeout=_WAIT_S, fetch_local=False)
        if ready:
            return next(worker for worker in awaited if worker.awaited is ready[0] or worker.awaited == ready[0])
        if any(worker.place for worker in self._workers):
            self._silent_since = time.monotonic()
        elif time.monotonic() - self._silent_since > _SILENCE_S:
            self._silent_since = float("inf")
            self._note(self._what_is_missing())
        return None

    def _what_is_missing(self) -> str:
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        if any(self._resources.fit(node["Resources"]) for node in nodes):
            return f"no worker has begun for {_SILENCE_S:.0f} s: the cluster's {len(nodes)} nodes are busy; waiting"
        asked = ", ".join(f"{name} = {amount:g}" for name, amount in self._resources.options().items())
        return (
            f"no worker has begun for {_SILENCE_S:.0f} s: none of the cluster's {len(nodes)} nodes has what "
            f"compute.resources asks for ({asked}); waiting for one that has"
        )

    def _answered(self, worker: _Worker[Task]) -> tuple[Task, Result | Parcel[Result] | WorkerDied] | None:
        """Take what a worker said; return a task that is finished with it."""
        try:
            item = self._ray.get(next(worker.awaited) if worker.begun is not None else worker.awaited)
        except self._ray.exceptions.RayTaskError as error:
            # What was sent could not be read there: a module of the user's own, say, that is not installed.
            raise WorkerError(f"a worker on {_named(worker.place)} failed:\n{error}") from error
        except (self._ray.exceptions.RayError, StopIteration) as error:
            return self._after_death(worker, error)
        if worker.begun is not None:
            return self._taken(worker, worker.begun, item)
        if worker.place is None:
            self._greeted(worker, Place(**item))
        elif isinstance(item, Lacking):
            self._send_supply(worker, item)
        elif isinstance(item, Raised):
            raise WorkerError(f"a worker on {_named(worker.place)} failed:\n{item.trace}")
        elif isinstance(item, MachineError):
            self._not_started(worker, f"the worker on {_named(worker.place)}: {item}")
        else:
            worker.is_ready, worker.awaited, self._failed_starts = True, None, 0
        return None

    def _greeted(self, worker: _Worker[Task], place: Place) -> None:
        worker.place = place
        differing = {name: version for name, version in self._versions.items() if place.versions[name] != version}
        if not differing:
            self._tell_kind(place)
            worker.awaited = worker.actor.prepare.remote(self._build)
            return
        found = " and ".join(
            f"{name} {place.versions[name]} in place of {version}" for name, version in differing.items()
        )
        self._end(worker)
        if place.node not in self._refused:
            self._refused[place.node] = f"{place.name} has {found}"
            self._note(f"refused a node: {self._refused[place.node]}; install the same there as here")
        alive = [node for node in self._ray.nodes() if node["Alive"] and self._resources.fit(node["Resources"])]
        if all(node["NodeID"] in self._refused for node in alive):
            raise ClusterError(
                f"no node of the cluster may be used: {'; '.join(self._refused.values())}. Results of other versions "
                "are other results: install the same there as here, and give the command again with --resume"
            )

    def _tell_kind(self, place: Place) -> None:
        if place.kind not in self._kinds:
            self._kinds.add(place.kind)
            if len(self._kinds) > 1:
                self._note(
                    f"the workers are of {len(self._kinds)} kinds ({'; '.join(sorted(self._kinds))}): the last digits "
                    "of results depend on which of them ran a trial"
                )

    def _send_supply(self, worker: _Worker[Task], lacking: Lacking) -> None:
        if self._supply is None:
            raise WorkerError(f"a worker cannot be given what it lacks: {lacking}")
        if self._supplied is None:
            self._note(f"sending the data to workers that lack them, first to {_named(worker.place)}: {lacking}")
            self._supplied = self._ray.put(self._supply())
        worker.awaited = worker.actor.prepare.remote(self._build, self._supplied)

    def _taken(
        self, worker: _Worker[Task], begun: _Begun[Task], item: object
    ) -> tuple[Task, Result | Parcel[Result]] | None:
        if isinstance(item, Piece):
            begun.files.setdefault(item.file, []).append(item.data)
            return None
        if not worker.is_at_work:
            # The first thing a worker says of a task: it is at it.
            worker.is_at_work = True
            if not begun.deaths:
                begun.on_begin(begun.task)
            return None
        place = worker.place
        if isinstance(item, Raised):
            raise WorkerError(f"a worker on {_named(place)} failed:\n{item.trace}")
        if isinstance(item, MachineError):
            self._end(worker)
            self._again(begun, f"the worker on {_named(place)}: {item}", is_machine=True)
            return None
        worker.begun, worker.awaited, self.place = None, None, place
        if isinstance(item, Parcel):
            return begun.task, replace(item, files={name: b"".join(parts) for name, parts in begun.files.items()})
        result: Any = item
        return begun.task, result

    def _after_death(self, worker: _Worker[Task], error: Exception) -> tuple[Task, WorkerDied] | None:
        """Replace a worker that is gone; return its task where it was its last attempt."""
        lost_node = worker.place is not None and self._is_gone(worker.place.node)
        reason = _reason(self._ray, worker.place, error, lost_node=lost_node)
        begun, was_at_work = worker.begun, worker.is_at_work
        self._end(worker)
        if begun is None:
            self._not_started(worker, reason)
            return None
        if not was_at_work:
            # It died with nothing to do; that costs the task no attempt.
            self._waiting.appendleft(begun)
            return None
        return self._again(begun, reason, is_machine=lost_node)

    def _again(self, begun: _Begun[Task], death: str, *, is_machine: bool) -> tuple[Task, WorkerDied] | None:
        deaths = (*begun.deaths, death)
        is_machine = is_machine or begun.lost_a_node
        if len(deaths) == ATTEMPTS:
            if is_machine:
                raise MachineError(f"{told(deaths)}; what is finished is kept: give the command again with --resume")
            return begun.task, WorkerDied(told(deaths))
        _log.warning("%s; its task is begun again (attempt %d of %d)", death, len(deaths) + 1, ATTEMPTS)
        self._waiting.appendleft(_Begun(begun.task, begun.on_begin, deaths, is_machine))
        return None

    def _not_started(self, worker: _Worker[Task], reason: str) -> None:
        self._end(worker)
        self._failed_starts += 1
        if self._failed_starts == ATTEMPTS * self.jobs:
            raise ClusterError(
                f"{self._failed_starts} workers in a row could not be started on the cluster; the last: {reason}"
            )
        _log.warning("a worker could not be started: %s", reason)

    def _end(self, worker: _Worker[Task]) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
            self._ray.kill(worker.actor)

    def _is_gone(self, node: str) -> bool:
        return not any(entry["Alive"] for entry in self._ray.nodes() if entry["NodeID"] == node)


def _named(place: Place | None) -> str:
    return "an unknown node" if place is None else place.name


def _reason(ray: Any, place: Place | None, error: Exception, *, lost_node: bool) -> str:
    """Return what became of a worker, for people."""
    if place is None:
        return f"a worker could not begin ({' '.join(str(error).split())})"
    if lost_node:
        return f"the node {place.name} is gone, and the worker on it"
    memory = ", memory ran out there" if isinstance(error, ray.exceptions.OutOfMemoryError) else ""
    return f"the worker process on {place.name} ended{memory}"
