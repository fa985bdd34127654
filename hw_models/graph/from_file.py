"""A network from whatever file describes it: ``.tflite``, a table of layers (``.csv``) or a saved graph (``.json``)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hw_models.errors import HardwareModelError
from hw_models.graph.from_csv import read_layer_table
from hw_models.graph.from_tflite import read_tflite
from hw_models.graph.layer_graph import LayerGraph

_LARGEST_JSON = 16 * 1024 * 1024


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
    """

    graph: LayerGraph
    file_bytes: int | None = None
    constant_bytes: int | None = None
    live_graph: LayerGraph | None = None


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


def _tflite(path: Path, model: str | None) -> NetworkFile:
    read = read_tflite(path)
    return NetworkFile(read.graph, read.file_bytes, read.constant_bytes, read.live_graph)


def _table(path: Path, model: str | None) -> NetworkFile:
    return NetworkFile(read_layer_table(path, model=model), live_graph=read_layer_table(path, model=model, live=True))


def _saved(path: Path, model: str | None) -> NetworkFile:
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise NetworkFileError(f"{path} is larger than {_LARGEST_JSON} bytes: no saved graph")
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise NetworkFileError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(data, dict):
        raise NetworkFileError(f"{path} holds no saved graph: it needs the keys input_shape, input_bits and layers")
    try:
        return NetworkFile(LayerGraph.from_dict(data))
    except (ValueError, TypeError) as error:
        raise NetworkFileError(f"{path} holds no saved graph: {error}") from error


_READERS: Mapping[str, Callable[[Path, str | None], NetworkFile]] = {
    ".tflite": _tflite,
    ".csv": _table,
    ".json": _saved,
}
