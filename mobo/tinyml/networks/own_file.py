"""The user's own network as the file that another tool wrote: architecture and weights in one."""

from collections.abc import Mapping
from math import prod
from pathlib import Path

from torch import nn

from hw_models.files import FileError, read_bytes
from hw_models.graph.layer_graph import Shape
from hw_models.graph.tflite_tables import IDENTIFIER
from mobo.base.errors import MoboError
from mobo.space.search_space import Parameter
from mobo.tinyml.networks.family import NetworkFamily
from mobo.tinyml.networks.files.from_onnx import network_from_onnx
from mobo.tinyml.networks.files.from_tflite import network_from_tflite

_LARGEST_BYTES = 64 * 2**20
_ZIP = b"PK\x03\x04"


class OwnFileFamily(NetworkFamily):
    """One trained network; nothing of its architecture is searched, and the random weights of a design do not matter.

    The content says what the file is, a name may be any.

    Args:
        path: A ``.tflite`` or ``.onnx`` file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """Return nothing: the file alone decides the architecture."""
        return ()

    def build(self, values: Mapping[str, float | int | str | bool], input_shape: Shape, output_count: int) -> nn.Module:
        """Return the network of the file, with its weights.

        Raises:
            MoboError: The file cannot be read, or its network cannot be compressed for inputs of this shape.
        """
        try:
            data = read_bytes(self._path, at_most_bytes=_LARGEST_BYTES)
        except FileError as error:
            raise MoboError(f"network.weights: {error}") from error
        if data.startswith(_ZIP):
            raise MoboError(
                f"network.weights: {self._path} is a state dict, which says nothing of the layers; add [network] "
                'module = "package.module:function"'
            )
        is_tflite = data[4:8] == IDENTIFIER
        read = network_from_tflite if is_tflite else network_from_onnx
        network = read(data, input_shape, source=f"network.weights: {self._path}")
        height, width, channels = input_shape
        if is_tflite and output_count == prod(input_shape) and channels > 1 and height * width > 1:
            raise MoboError(
                f"network.weights: {self._path} reconstructs maps of {channels} channels with the channels last; "
                "bring it as .onnx, or as a state dict"
            )
        return network
