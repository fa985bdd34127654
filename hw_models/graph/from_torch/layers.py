"""How layers and activations are read: windows with the padding that torch gives them, and what is folded together."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import fx, nn

from hw_models.graph.from_torch.reader import Handler, Reader, RefusedError, Tensor, called
from hw_models.graph.layer_graph import (
    Activation,
    ActivationLayer,
    Add,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Elementwise,
    Layer,
    MaxPool2D,
    Pad,
    Padding,
    Pool2D,
    Quantize,
    Reshape,
    Shape,
    Size,
    WeightLayer,
)
from hw_models.graph.windows import pad_before, window_output


def _pair(value: Any) -> Size:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[-1]))


def _window_pair(value: Any, dimensions: int, along: int) -> Size:
    """Return a size for both axes of a map; of one axis the other has ``along``."""
    if dimensions == 4:
        return _pair(value)
    return (along, int(value) if isinstance(value, int) else int(value[0]))


def _is_same(shape: Shape, kernel: Size, stride: Size, padding: Size) -> bool:
    """Return whether torch's padding puts every window where TFLite's SAME does."""
    for size, taps, step, pad in zip(shape, kernel, stride, padding, strict=False):
        output = window_output(size, taps, step, "same")
        if output != (size + 2 * pad - taps) // step + 1 or pad_before(size, taps, step, output, "same") != pad:
            return False
    return True


def _pad(reader: Reader, name: str, source: str, kernel: Size, stride: Size, padding: Size) -> str:
    """Insert the rows and columns of zeros that windows read outside a map, and return the tensor that has them."""
    after = []
    for size, taps, step, pad in zip(reader.shapes[source], kernel, stride, padding, strict=False):
        output = (size + 2 * pad - taps) // step + 1
        # What no window reads is not stored.
        after.append(max((output - 1) * step + taps - size - pad, 0))
    reader.insert(Pad(name=f"{name}.pad", inputs=(source,), before=padding, after=(after[0], after[1])))
    return f"{name}.pad"


def _placed(
    reader: Reader, name: str, source: str, kernel: Size, stride: Size, padding: Any, *, pads_same: bool = True
) -> tuple[str, Padding]:
    """Return the tensor that a window slides over and TFLite's name for its padding; what has none is inserted."""
    if isinstance(padding, str):
        return source, "same" if padding == "same" else "valid"
    if padding == (0, 0):
        return source, "valid"
    if pads_same and _is_same(reader.shapes[source], kernel, stride, padding):
        return source, "same"
    return _pad(reader, name, source, kernel, stride, padding), "valid"


def _check_inputs(reader: Reader, node: fx.Node, source: str, channels: int) -> None:
    shape = reader.shapes[source]
    if shape[2] != channels:
        raise RefusedError(
            f"{called(node)} takes {channels} channels, but reads the shape {shape} (height, width, channels)"
        )


def conv(reader: Reader, node: fx.Node) -> None:
    """Read a convolution of one or two dimensions."""
    module, name, found = reader.module(node), reader.name(node), reader.source(node)
    if name != node.target:
        raise RefusedError(f"module {node.target!r} is called twice; give every call its own module")
    dimensions = 3 if isinstance(module, nn.Conv1d) else 4
    if found.dimensions != dimensions:
        raise RefusedError(
            f"{called(node)} reads a tensor of {found.dimensions} dimensions; it needs {dimensions}: "
            + ("drop the height before it, x.squeeze(2)" if dimensions == 3 else "x.unsqueeze(2) gives it a height")
        )
    kernel, stride = _window_pair(module.kernel_size, dimensions, 1), _window_pair(module.stride, dimensions, 1)
    padding = module.padding if isinstance(module.padding, str) else _window_pair(module.padding, dimensions, 0)
    dilation = _window_pair(module.dilation, dimensions, 1)
    if dilation != (1, 1):
        reader.refuse(
            node, f"{called(node)} has dilation {module.dilation}; only 1 is supported: write a larger kernel"
        )
        kernel = (dilation[0] * (kernel[0] - 1) + 1, dilation[1] * (kernel[1] - 1) + 1)
    if module.padding_mode != "zeros":
        reader.refuse(node, f"{called(node)} pads with {module.padding_mode!r}; only 'zeros' is supported")
    _check_inputs(reader, node, found.name, module.in_channels)
    source, same_or_valid = _placed(reader, name, found.name, kernel, stride, padding)
    window: dict[str, Any] = {"kernel": kernel, "stride": stride, "padding": same_or_valid}
    if module.groups == module.in_channels == module.out_channels and module.groups > 1:
        layer: Layer = DepthwiseConv2D(name=name, inputs=(source,), **window)
    else:
        layer = Conv2D(name=name, inputs=(source,), out_channels=module.out_channels, **window)
        if module.groups != 1:
            reader.refuse(
                node,
                f"{called(node)} has {module.groups} groups for {module.in_channels} -> {module.out_channels} "
                "channels; supported are groups=1 and depthwise (groups == in_channels == out_channels)",
            )
    reader.append(node, layer, dimensions)


def _global_sizes(reader: Reader, node: fx.Node, size: Any, source: Tensor) -> Size:
    """Return the output size of an adaptive pooling; None stands for the map's own."""
    height, width, _ = reader.shapes[source.name]
    sizes = (size if isinstance(size, tuple | list) else (size,) * (source.dimensions - 2))[: source.dimensions - 2]
    if source.dimensions == 3:
        sizes = (1, *sizes)
    wanted = [own if asked is None else int(asked) for asked, own in zip(sizes, (height, width), strict=True)]
    if height % wanted[0] or width % wanted[1]:
        raise RefusedError(
            f"{called(node)} pools {height} x {width} to {wanted[0]} x {wanted[1]}, in windows of different sizes; "
            "write 1, or sizes that divide the map"
        )
    return wanted[0], wanted[1]


def adaptive_pool(kind: type[Pool2D]) -> Handler:
    """Return the handler of a pooling to a given size."""

    def handle(reader: Reader, node: fx.Node) -> None:
        found = reader.source(node)
        size = reader.module(node).output_size if node.op == "call_module" else reader.argument(node, 1, "output_size")
        height, width, _ = reader.shapes[found.name]
        down, right = _global_sizes(reader, node, size, found)
        kernel = (height // down, width // right)
        if kernel == (1, 1) and (down, right) != (1, 1):
            reader.bind(node, found.name, found.dimensions)
            return
        pool = kind(name=reader.name(node), inputs=(found.name,), kernel=kernel, stride=kernel)
        reader.append(node, pool, found.dimensions)

    return handle


_POOL_ARGUMENTS = ("kernel_size", "stride", "padding")


def pool(kind: type[Pool2D], rank: int) -> Handler:
    """Return the handler of a pooling over one or two axes."""

    def handle(reader: Reader, node: fx.Node) -> None:
        found = reader.source(node)
        if found.dimensions != rank:
            raise RefusedError(f"{called(node)} reads a tensor of {found.dimensions} dimensions; it needs {rank}")
        if node.op == "call_module":
            said = {name: getattr(reader.module(node), name, None) for name in (*_POOL_ARGUMENTS, *_POOL_OPTIONS)}
        else:
            said = {name: reader.argument(node, index + 1, name) for index, name in enumerate(_POOL_ARGUMENTS)}
            said |= {name: reader.plain(node.kwargs.get(name)) for name in _POOL_OPTIONS}
        kernel = _window_pair(said["kernel_size"], rank, 1)
        stride = _window_pair(said["stride"] or said["kernel_size"], rank, 1)
        padding = _window_pair(said["padding"] or 0, rank, 0)
        name, shape = reader.name(node), reader.shapes[found.name]
        _check_pool(reader, node, said, shape, (kernel, stride, padding))
        is_max = kind is MaxPool2D
        source, same_or_valid = found.name, "valid"
        if padding != (0, 0):
            same = is_max and _is_same(shape, kernel, stride, padding)
            if is_max and not same and not _is_never_negative(reader, found.name):
                reader.refuse(
                    node,
                    f"{called(node)} pads {padding} and reads values below 0: TFLite would take its zeros for maxima; "
                    "put a ReLU before it, or padding=0",
                )
            source, same_or_valid = _placed(reader, name, source, kernel, stride, padding, pads_same=is_max)
        window: dict[str, Any] = {"kernel": kernel, "stride": stride, "padding": same_or_valid}
        reader.append(node, kind(name=name, inputs=(source,), **window), rank)

    return handle


_POOL_OPTIONS = ("ceil_mode", "dilation", "return_indices", "divisor_override", "count_include_pad")


def _check_pool(
    reader: Reader, node: fx.Node, said: Mapping[str, Any], shape: Shape, window: tuple[Size, Size, Size]
) -> None:
    kernel, stride, padding = window
    if said["ceil_mode"] and any(
        (size + 2 * pad - taps) % step for size, taps, step, pad in zip(shape, kernel, stride, padding, strict=False)
    ):
        reader.refuse(node, f"{called(node)} has ceil_mode=True, which adds a window at the end; leave it out")
    if said["dilation"] not in (None, 1, (1,), (1, 1)) or said["return_indices"]:
        reader.refuse(node, f"{called(node)}: pooling needs dilation 1 and no indices")
    if said["divisor_override"] is not None:
        reader.refuse(node, f"{called(node)} has a divisor of its own; leave divisor_override out")
    if said["count_include_pad"] is False and padding != (0, 0):
        reader.refuse(node, f"{called(node)} leaves the padding out of its means; leave count_include_pad out")


def _is_never_negative(reader: Reader, name: str) -> bool:
    layer = reader.layers.get(name)
    if isinstance(layer, Pool2D | Reshape | Pad | Concatenate | Quantize):
        return all(_is_never_negative(reader, source) for source in layer.inputs)
    return getattr(layer, "activation", "none") in ("relu", "relu6", "hard_sigmoid")


def linear(reader: Reader, node: fx.Node) -> None:
    """Read a dense layer."""
    module, name, found = reader.module(node), reader.name(node), reader.source(node)
    if name != node.target:
        raise RefusedError(f"module {node.target!r} is called twice; give every call its own module")
    if found.dimensions != 2:
        raise RefusedError(
            f"dense layer {name!r} reads shape {reader.shapes[found.name]}; it needs a vector (1, 1, n): flatten first"
        )
    # Our quantiser gives every output a scale of its own, as TFLite reads it.
    dense = Dense(name=name, inputs=(found.name,), out_channels=module.out_features, per_channel=True)
    _check_inputs(reader, node, found.name, module.in_features)
    reader.append(node, dense, 2)


def batch_norm(reader: Reader, node: fx.Node) -> None:
    """Fold a batch norm into the layer before it."""
    module, found = reader.module(node), reader.source(node)
    source, name = found.name, str(node.target)
    layer, is_shared = reader.layers.get(source), source in reader.shared
    # Bound in any case, so that what comes behind is looked at, too.
    reader.bind(node, source, found.dimensions)
    foldable = isinstance(layer, WeightLayer) and layer.activation == "none" and source not in reader.batch_norms
    if not foldable or is_shared:
        raise RefusedError(
            f"batch norm {name!r} reads {source!r}; it can be folded only directly behind a convolution or dense layer "
            "that nothing else reads: put it there"
        )
    if name in reader.batch_norms.values():
        raise RefusedError(f"module {name!r} is called twice; give every call its own module")
    if module.running_mean is None:
        raise RefusedError(f"batch norm {name!r} keeps no statistics; leave out track_running_stats=False")
    reader.batch_norms[source] = name


def _activate(reader: Reader, node: fx.Node, activation: Activation, *, inplace: bool) -> None:
    found = reader.source(node)
    source, layer = found.name, reader.layers.get(found.name)
    alone = source not in reader.shared
    if inplace and not alone:
        raise RefusedError(f"{node.name!r} changes {source!r} in place while others read it: use inplace=False")
    if isinstance(layer, WeightLayer | Add | Elementwise) and layer.activation == "none" and alone:
        reader.layers[source] = replace(layer, activation=activation)
        reader.bind(node, source, found.dimensions)
    else:
        new = ActivationLayer(name=reader.name(node), inputs=(source,), activation=activation)  # type: ignore[arg-type]
        reader.append(node, new, found.dimensions)


def relu(activation: Activation) -> Handler:
    """Return the handler of an activation that is fused where it can be."""

    def handle(reader: Reader, node: fx.Node) -> None:
        if node.op == "call_module":
            inplace = bool(getattr(reader.module(node), "inplace", False))
        else:
            inplace = bool(node.kwargs.get("inplace", str(node.target).endswith("_")))
        _activate(reader, node, activation, inplace=inplace)

    return handle


def hard_sigmoid(reader: Reader, node: fx.Node) -> None:
    """Fuse a hard sigmoid."""
    found = reader.source(node)
    layer = reader.layers.get(found.name)
    if not isinstance(layer, WeightLayer) or layer.activation != "none" or found.name in reader.shared:
        reader.bind(node, found.name, found.dimensions)
        raise RefusedError(
            f"{called(node)} is a hard sigmoid behind {found.name!r}; put it directly behind a convolution or Linear "
            "that nothing else reads: it is folded into their weights"
        )
    _activate(reader, node, "hard_sigmoid", inplace=False)


def _alone(reader: Reader, node: fx.Node, **fields: Any) -> None:
    """Append an activation that has a kernel of its own."""
    found = reader.source(node)
    is_inplace = getattr(reader.modules.get(str(node.target)), "inplace", node.kwargs.get("inplace", False))
    if is_inplace and found.name in reader.shared:
        raise RefusedError(f"{node.name!r} changes {found.name!r} in place while others read it: use inplace=False")
    reader.append(node, ActivationLayer(name=reader.name(node), inputs=(found.name,), **fields), found.dimensions)


def leaky_relu(reader: Reader, node: fx.Node) -> None:
    """Read a leaky ReLU."""
    if node.op == "call_module":
        slope = float(reader.module(node).negative_slope)
    else:
        slope = float(reader.argument(node, 1, "negative_slope", 0.01))
    if not 0 < slope < 1:
        raise RefusedError(f"{called(node)} has the negative slope {slope:g}; it must lie between 0 and 1")
    _alone(reader, node, activation="leaky_relu", negative_slope=slope)


def hard_swish(reader: Reader, node: fx.Node) -> None:
    """Read a hard swish."""
    _alone(reader, node, activation="hard_swish")
