"""What runs in a worker on a Ray cluster: it greets with its place and versions, builds, runs, and answers in pieces.

The actor travels by value and greets with whatever is installed there; only when its versions are those of the search
does it take the copy of this module that is installed there.
"""

import platform
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any, Generic, TypeVar

import mobo
from mobo.base.errors import MachineError, MoboError, machine_errors
from mobo.base.worker_pool import Raised

Result = TypeVar("Result")

PIECE_BYTES = 4 * 2**20
"""Files come back in pieces of this size: an object store may be small."""


class Lacking(MoboError):
    """A worker's machine lacks what the work needs; the message says what. It is sent there."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a worker is.

    Attributes:
        node: Ray's id of the node.
        address: Its address.
        kind: Model of its processor, and the build of torch there.
        versions: Of what has to be the same everywhere.
    """

    node: str
    address: str
    kind: str
    versions: Mapping[str, str]

    @property
    def name(self) -> str:
        """The node for people: several may have one address."""
        return f"{self.address} ({self.node[:8]})"


@dataclass(frozen=True)
class Parcel(Generic[Result]):
    """A result and files that belong to it, which come back in pieces.

    Attributes:
        result: The result.
        files: Content by name.
    """

    result: Result
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Piece:
    """A part of a file on its way."""

    file: str
    data: bytes


def own_versions() -> dict[str, str]:
    """Return the versions of this process that have to be the same in every worker."""
    return {"tinyml-mobo-rl": mobo.__version__, "python": platform.python_version(), "torch": _public("torch")}


def _public(package: str) -> str:
    """Return a package's version without the mark of its build: a node with a GPU has another than one without."""
    return metadata.version(package).partition("+")[0]


def worker_class() -> type:
    """Return the class of the actors; made here so that it travels by value and greets whatever is installed there."""

    class MoboWorker:
        """Greets, builds, runs."""

        def hello(self) -> dict[str, Any]:
            """Return the fields of a Place, with nothing but the standard library and Ray."""
            import os
            import platform
            from importlib import metadata
            from pathlib import Path

            import ray

            def version(package: str) -> str:
                try:
                    return metadata.version(package)
                except metadata.PackageNotFoundError:
                    return "not installed"

            try:
                import mobo

                own = mobo.__version__
            except ImportError:
                own = "not installed"
            information = Path("/proc/cpuinfo")
            lines = information.read_text().splitlines() if information.is_file() else []
            models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
            processor = models[0] if models else platform.processor() or platform.machine()
            torch = version("torch")
            # Before any numerical library is loaded; Ray counts cores here, and results may not depend on how many.
            os.environ["OMP_NUM_THREADS"] = "1"
            context = ray.get_runtime_context()
            return {
                "node": context.get_node_id(),
                "address": ray.util.get_node_ip_address(),
                "kind": f"{processor}, torch {torch}",
                "versions": {
                    "tinyml-mobo-rl": own,
                    "python": platform.python_version(),
                    "torch": torch.partition("+")[0],
                },
            }

        def prepare(self, build: Any, *supplied: Any) -> Any:
            from importlib import import_module

            # The copy of this module that is installed there.
            self.code = import_module("mobo.base.ray_actor")
            self.run_task, answer = self.code.built(build, *supplied)
            return answer

        def run(self, task: Any) -> Any:
            yield from self.code.answers(self.run_task, task)

    return MoboWorker


def built(build: Callable[..., Any], *supplied: Any) -> tuple[Any, Any]:
    """Build in a worker: return what runs tasks, and what to say of it: nothing, or what stood in the way."""
    try:
        with machine_errors():
            return build(*supplied), None
    except (Lacking, MachineError) as error:
        return None, error
    except Exception:  # noqa: BLE001 - whatever it is, the parent raises it
        return None, Raised(traceback.format_exc())


def answers(run: Callable[[Any], Any], task: Any) -> Iterator[Any]:
    """Run a task in a worker; yield that it began, the pieces of its files, and its result."""
    yield None
    try:
        answer = run(task)
    except MachineError as error:
        yield error
        return
    except Exception:  # noqa: BLE001 - whatever it is, the parent raises it
        yield Raised(traceback.format_exc())
        return
    if isinstance(answer, Parcel):
        for file, data in answer.files.items():
            for start in range(0, max(1, len(data)), PIECE_BYTES):
                yield Piece(file, data[start : start + PIECE_BYTES])
        answer = replace(answer, files={})
    yield answer
