"""A network from whatever file describes it: ``.tflite``, a table of layers (``.csv``) or a saved graph (``.json``)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hw_models.errors import HardwareModelError
from hw_models.files import parse_json_object, read_text
from hw_models.graph.from_csv import read_layer_table
from hw_models.graph.from_tflite import read_tflite
from hw_models.graph.layer_graph import GraphError, LayerGraph


class NetworkFileError(HardwareModelError):
    """A file that describes no network."""


@dataclass(frozen=True)
class NetworkFile:
    """A network and what its file says about sizes.

    Attributes:
        graph: The network.
        file_bytes: Size of a tflite file, which goes into flash as it is; None for other kinds.
        constant_bytes: Bytes of the constants in it; None for other kinds.
        live_graph: The network without filters whose weights are all zero, as some engines run it; None where the
            weights are unknown.
        left_out: Operators at the end of the file that are not in ``graph``, each with its output.
        is_decoded: Whether the file has weights that TFLM's DECODE unpacks.
    """

    graph: LayerGraph
    file_bytes: int | None = None
    constant_bytes: int | None = None
    live_graph: LayerGraph | None = None
    left_out: tuple[str, ...] = ()
    is_decoded: bool = False


def read_network(path: Path, *, model: str | None = None) -> NetworkFile:
    """Return the network a file describes.

    Args:
        path: The file; its ending says what it is.
        model: Which network of a table that holds several.

    Raises:
        HardwareModelError: The file cannot be read, or holds something that has no cost model.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise NetworkFileError(f"{path} ends in {path.suffix!r}; networks are read from {', '.join(sorted(_READERS))}")
    if not path.is_file():
        raise NetworkFileError(f"{path} is no file")
    if model is not None and path.suffix.lower() != ".csv":
        raise NetworkFileError(f"{path} holds one network; only a table of layers (.csv) can hold several")
    return reader(path, model)


def read_graph(path: Path) -> LayerGraph:
    """Return a saved graph, a JSON file of what :meth:`LayerGraph.to_dict` returns.

    Raises:
        FileError: It cannot be read, or is no JSON object.
        NetworkFileError: It is no graph.
    """
    try:
        return LayerGraph.from_dict(parse_json_object(read_text(path), source=str(path)))
    except GraphError as error:
        raise NetworkFileError(f"{path} holds no saved graph: {error}") from error


def _tflite(path: Path, model: str | None) -> NetworkFile:
    read = read_tflite(path)
    return NetworkFile(
        read.graph, read.file_bytes, read.constant_bytes, read.live_graph, read.left_out, read.is_decoded
    )


def _table(path: Path, model: str | None) -> NetworkFile:
    return NetworkFile(read_layer_table(path, model=model), live_graph=read_layer_table(path, model=model, live=True))


def _saved(path: Path, model: str | None) -> NetworkFile:
    return NetworkFile(read_graph(path))


_READERS: Mapping[str, Callable[[Path, str | None], NetworkFile]] = {
    ".tflite": _tflite,
    ".csv": _table,
    ".json": _saved,
}
