"""The tensor arena of one inference: which buffer lives when, and what stays beside the planned ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import ceil

from hw_models.decoding import decoding
from hw_models.errors import HardwareModelError
from hw_models.graph.layer_graph import Conv2D, Dense, DepthwiseConv2D, Layer, LayerGraph, Reshape, Shape, WeightLayer
from hw_models.kernels import KernelCall, kernel_calls
from hw_models.memory.arena_structures import Structures, load_structures, reference_scratch_bytes
from hw_models.memory.placement import Buffer, place_greedily
from hw_models.memory.static_arena import slack_bytes, static_buffers
from hw_models.runtime import Runtime
from hw_models.size_rules import MemoryModel

NO_EDGES = "RAM is unknown: the table says which layers there are, but not which reads what; add a column `inputs`"

_ALIGNMENT_BYTES = 16  # of TFLM


class UnknownMemoryError(HardwareModelError):
    """The arena of a network whose edges nobody gave."""


@dataclass(frozen=True)
class Moment:
    """What is alive while one layer runs.

    Attributes:
        layer: Name of the layer.
        live_bytes: Sum of the live buffers.
        live: Their names, in the order of the plan.
    """

    layer: str
    live_bytes: int
    live: tuple[str, ...]


@dataclass(frozen=True)
class MemoryPlan:
    """The arena.

    Attributes:
        layers: Names of the layers in running order.
        buffers: Tensors in graph order, then scratch buffers.
        persistent_bytes: What stays for the whole life of the interpreter: its structures, those of operators and
            tensors, per-channel multipliers.
    """

    layers: tuple[str, ...]
    buffers: tuple[Buffer, ...]
    persistent_bytes: int

    @cached_property
    def planned_bytes(self) -> int:
        """The planned part: the highest end of a buffer."""
        return max(buffer.end_bytes for buffer in self.buffers)

    @property
    def arena_bytes(self) -> int:
        """The whole arena: ``ram_bytes`` of a cost."""
        return self.planned_bytes + self.persistent_bytes

    def timeline(self) -> tuple[Moment, ...]:
        """Return what is alive at every layer, persistent data apart."""
        moments = []
        for index, layer in enumerate(self.layers):
            live = [buffer for buffer in self.buffers if buffer.first <= index <= buffer.last]
            size = sum(buffer.size_bytes for buffer in live)
            moments.append(Moment(layer, size, tuple(buffer.name for buffer in live)))
        return tuple(moments)

    @cached_property
    def peak_layer(self) -> str:
        """The layer at which most bytes are alive, the first of equals."""
        # What each layer adds and frees, without the names of `timeline`: a search asks this of every policy.
        changes = [0] * (len(self.layers) + 1)
        for buffer in self.buffers:
            changes[buffer.first] += buffer.size_bytes
            changes[buffer.last + 1] -= buffer.size_bytes
        live_bytes = list(accumulate(changes[:-1]))
        return self.layers[live_bytes.index(max(live_bytes))]


def plan_memory(graph: LayerGraph, runtime: Runtime, *, core: str | None = None) -> MemoryPlan:
    """Return the arena of one inference.

    Args:
        graph: The network.
        runtime: The engine, whose kernels' scratch buffers and structures count.
        core: The core, because scratch buffers differ; None for the runtime's reference core.

    Raises:
        RuntimeModelError: The core, a layer or a bit width is not covered.
    """
    core = runtime.reference_core if core is None else core
    scratch = [
        layer_scratch_bytes(layer, graph.input_shapes(layer), call, core, runtime)
        for layer, call in zip(graph.layers, kernel_calls(graph), strict=True)
    ]
    persistent = [
        layer_persistent_bytes(layer, graph.input_shapes(layer), graph.shapes[layer.name], runtime.memory)
        for layer in graph.layers
    ]
    return assemble_plan(graph, scratch, persistent, runtime.memory)


def assemble_plan(
    graph: LayerGraph, scratch_bytes: Sequence[int], persistent_bytes: Sequence[int], memory: MemoryModel
) -> MemoryPlan:
    """Return the arena for scratch and persistent bytes that are known per layer already.

    Raises:
        UnknownMemoryError: Nobody knows which layer reads what.
    """
    if not graph.edges_known:
        raise UnknownMemoryError(NO_EDGES)
    if memory.planner == "static":
        names = tuple(layer.name for layer in graph.layers)
        return MemoryPlan(names, place_greedily(static_buffers(graph, scratch_bytes)), slack_bytes(graph))
    scratch = [(size,) if size > 0 else () for size in scratch_bytes]
    decoded = _decoded(graph) if memory.decodes else {}
    if not memory.structures:
        kept = ceil(memory.base_bytes + memory.tensor_bytes * len(graph.input_names)) + sum(persistent_bytes)
    else:
        kept = load_structures(memory.structures).tail_bytes(graph, persistent_bytes, sum(map(len, scratch)))
    return _plan(graph, scratch, kept, memory.alignment_bytes, memory.in_place, decoded)


def plan_interpreter(graph: LayerGraph, structures: Structures, *, decodes: bool = False) -> MemoryPlan:
    """Return the arena of a TFLM interpreter with reference kernels, structure by structure, whatever the processor.

    Args:
        graph: The network.
        structures: The interpreter's build.
        decodes: Whether the file has weights with a stored width for DECODE.
    """
    decoded = _decoded(graph) if decodes else {}
    scratch = [reference_scratch_bytes(layer, graph.input_shapes(layer)) for layer in graph.layers]
    kept = [
        structures.layer_bytes(layer, graph.shapes[layer.name]) + structures.decoding_bytes * (layer.name in decoded)
        for layer in graph.layers
    ]
    tail_bytes = structures.tail_bytes(graph, kept, sum(map(len, scratch)))
    return _plan(graph, scratch, tail_bytes, _ALIGNMENT_BYTES, (), decoded)


def _decoded(graph: LayerGraph) -> dict[str, int]:
    """Return the bytes of decoded weights by the name of their layer."""
    found = {layer.name: decoding(layer, graph.input_shapes(layer), graph.shapes[layer.name]) for layer in graph.layers}
    return {name: work.weights for name, work in found.items() if work is not None}


def _plan(
    graph: LayerGraph,
    scratch: Sequence[Sequence[int]],
    persistent_bytes: int,
    alignment_bytes: int,
    in_place: Sequence[str],
    decoded: Mapping[str, int],
) -> MemoryPlan:
    buffers = tensor_buffers(graph, alignment_bytes, in_place) + _scratch_buffers(graph, scratch, alignment_bytes)
    for index, layer in enumerate(graph.layers):
        if layer.name in decoded:
            # In the file a layer's weights come before its output, which tells who goes first where sizes are equal.
            place = next(place for place, buffer in enumerate(buffers) if buffer.name == layer.name)
            size = _aligned(decoded[layer.name], alignment_bytes)
            buffers.insert(place, Buffer(f"{layer.name} weights", size, index, index))
    names = tuple(layer.name for layer in graph.layers)
    return MemoryPlan(names, place_greedily(buffers), persistent_bytes)


def layer_scratch_bytes(layer: Layer, inputs: Sequence[Shape], call: KernelCall, core: str, runtime: Runtime) -> int:
    """Return the scratch memory of a layer's kernel, before alignment.

    Args:
        layer: The layer.
        inputs: The shapes it reads.
        call: The kernel that runs it there.
        core: The core.
        runtime: The engine.

    Raises:
        RuntimeModelError: The core, the kernel or a bit width is not covered.
    """
    if runtime.memory.structures and load_structures(runtime.memory.structures).reference_kernels:
        return sum(reference_scratch_bytes(layer, inputs))
    return sum(layer.working_bytes) or runtime.scratch_bytes(core, call)


def layer_persistent_bytes(layer: Layer, inputs: Sequence[Shape], output: Shape, memory: MemoryModel) -> int:
    """Return what one layer keeps in the arena for the whole life of the interpreter."""
    if memory.structures:
        structures = load_structures(memory.structures)
        is_decoded = memory.decodes and decoding(layer, inputs, output) is not None
        return structures.layer_bytes(layer, output) + structures.decoding_bytes * is_decoded
    # A layer describes its output; weights and bias, or the new shape of a reshape, are tensors of their own.
    tensors = 3 if isinstance(layer, WeightLayer) else 2 if isinstance(layer, Reshape) else 1
    size = memory.operator_bytes + tensors * memory.tensor_bytes
    size += sum(_aligned(state, memory.alignment_bytes) for state in layer.state_bytes)
    return ceil(size) + _aligned(ceil(memory.channel_bytes * quantised_channels(layer, output)), memory.alignment_bytes)


def quantised_channels(layer: Layer, output: Shape) -> int:
    """Return how many channels carry a scale of their own: those of convolutions and of dense layers made so."""
    has_scales = layer.has_channel_scales if isinstance(layer, Dense) else isinstance(layer, Conv2D | DepthwiseConv2D)
    return output[2] if has_scales else 0


def _aligned(size_bytes: int, alignment_bytes: int) -> int:
    return -(-size_bytes // alignment_bytes) * alignment_bytes


def lifetimes(graph: LayerGraph) -> dict[str, tuple[int, int]]:
    """Return the first and last layer index of every tensor; inputs live from the start, outputs to the end."""
    first = dict.fromkeys(graph.input_names, 0)
    last = dict(first)
    for index, layer in enumerate(graph.layers):
        first[layer.name] = last[layer.name] = index
        for name in layer.inputs:
            last[name] = index
    for name in graph.outputs:
        last[name] = len(graph.layers) - 1
    return {name: (first[name], last[name]) for name in graph.shapes}


def overwrites(layer: Layer, in_place: Sequence[str]) -> bool:
    """Return whether a layer may write over an input: its kind is listed, or it is one of the listed convolutions.

    ``conv_1x1`` are those that read one position at a time, ``conv_strided`` those that read faster than they write.
    """
    if isinstance(layer, Conv2D):
        return (layer.kernel == (1, 1) and "conv_1x1" in in_place) or (
            layer.stride != (1, 1) and "conv_strided" in in_place
        )
    return layer.kind in in_place


def tensor_buffers(graph: LayerGraph, alignment_bytes: int, in_place: Sequence[str]) -> list[Buffer]:
    """Return every tensor with the layers between which it lives.

    A layer that works in place writes over its first input that nobody reads later; their buffer has the larger size.
    """
    lives = lifetimes(graph)
    buffers = {
        name: Buffer(name, _aligned(graph.tensor_bytes(name), alignment_bytes), *lives[name]) for name in graph.shapes
    }
    if in_place:
        for index, layer in enumerate(graph.layers):
            for name in layer.inputs if overwrites(layer, in_place) else ():
                if lives[name][1] == index and name in buffers:
                    over, own = buffers.pop(name), buffers[layer.name]
                    size = max(over.size_bytes, own.size_bytes)
                    buffers[layer.name] = Buffer(f"{over.name} = {layer.name}", size, over.first, own.last)
                    break
    return list(buffers.values())


def _scratch_buffers(graph: LayerGraph, scratch: Sequence[Sequence[int]], alignment_bytes: int) -> list[Buffer]:
    return [
        Buffer(f"{layer.name} scratch", _aligned(size, alignment_bytes), index, index)
        for index, (layer, sizes) in enumerate(zip(graph.layers, scratch, strict=True))
        for size in sizes
    ]
