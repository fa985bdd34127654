"""Operators of a tflite file that have weights: convolutions, dense layers, recurrences."""

from collections.abc import Mapping

from hw_models.graph.from_tflite.call import Call, Reader, map_shape
from hw_models.graph.layer_graph import Conv2D, Dense, DepthwiseConv2D, Layer, Lstm, Svdf, TransposeConv2D
from hw_models.graph.tflite_tables import TfliteError


def _conv(call: Call) -> Layer:
    out_channels, height, width, in_channels = call.weights(4).shape
    if in_channels != map_shape(call.activations[0])[2]:
        raise TfliteError(f"CONV_2D {call.output.name!r} is a grouped convolution, which has no cost model")
    return Conv2D(
        **call.base,
        out_channels=out_channels,
        kernel=(height, width),
        **call.window(1),
        dilation=call.positive("dilation", (call.option(5, default=1), call.option(4, default=1))),
        weight_bits=call.constants[0].bits,
        activation=call.fused(3),
        bias=call.has_bias,
        bias_is_shared=call.has_stored_bias,
    )


def _depthwise(call: Call) -> Layer:
    _, height, width, out_channels = call.weights(4).shape
    in_channels = map_shape(call.activations[0])[2]
    if in_channels < 1 or out_channels % in_channels:
        raise TfliteError(f"{call.code} {call.output.name!r} gives {out_channels} channels from {in_channels}")
    return DepthwiseConv2D(
        **call.base,
        kernel=(height, width),
        **call.window(1),
        dilation=call.positive("dilation", (call.option(6, default=1), call.option(5, default=1))),
        multiplier=out_channels // in_channels,
        weight_bits=call.constants[0].bits,
        activation=call.fused(4),
        bias=call.has_bias,
        bias_is_shared=call.has_stored_bias,
    )


def _transpose_conv(call: Call) -> Layer:
    out_channels, height, width, in_channels = call.weights(4).shape
    if in_channels != map_shape(call.activations[0])[2]:
        raise TfliteError(f"TRANSPOSE_CONV {call.output.name!r} is a grouped convolution, which has no cost model")
    return TransposeConv2D(
        **call.base,
        out_channels=out_channels,
        kernel=(height, width),
        stride=call.window(1)["stride"],
        size=map_shape(call.output)[:2],
        weight_bits=call.constants[0].bits,
        activation=call.fused(3),
        bias=call.has_bias,
        bias_is_shared=call.has_stored_bias,
    )


def _lstm(call: Call) -> Layer:
    """Return an LSTM; its operands are the input, weights of input and state, peepholes, biases, projection."""
    gates, peepholes, projection = call.operands[1:9], call.operands[9:12], call.operands[16:18]
    recurrent = call.operands[6] if len(call.operands) > 6 else None
    if recurrent is None or any(tensor is None or len(tensor.shape) != 2 for tensor in gates):
        raise TfliteError(
            f"{call.code} {call.output.name!r} lacks weights of a gate; LSTMs of four gates can be costed"
        )
    if any(tensor is not None for tensor in (*peepholes, *projection)):
        raise TfliteError(f"{call.code} {call.output.name!r} has peepholes or a projection, which have no cost model")
    return Lstm(
        **call.one_input,
        units=recurrent.shape[0],
        weight_bits=recurrent.bits,
        bias_is_shared=False,
    )


def _svdf(call: Call) -> Layer:
    feature, time = call.weights(2), call.constants[1] if len(call.constants) > 1 else None
    rank, state = call.option(0), call.operands[4] if len(call.operands) > 4 else None
    if time is None or len(time.shape) != 2 or rank < 1 or feature.shape[0] % rank or time.shape[0] != feature.shape[0]:
        raise TfliteError(f"SVDF {call.output.name!r} has no weights that fit its rank {rank}")
    return Svdf(
        **call.base,
        units=feature.shape[0] // rank,
        rank=rank,
        memory=time.shape[1],
        state_bits=0 if state is None or state.bits == call.output.bits else state.bits,
        weight_bits=feature.bits,
        activation=call.fused(1),
        bias=len(call.constants) > 2,
    )


def _dense(call: Call) -> Layer:
    out_channels, in_features = call.weights(2).shape
    if in_features == call.activations[0].shape[-1] != call.activations[0].elements:
        # One vector per position: the products of a 1x1 convolution.
        return Conv2D(
            **call.base,
            out_channels=out_channels,
            kernel=(1, 1),
            weight_bits=call.constants[0].bits,
            activation=call.fused(0),
            bias=call.has_bias,
            bias_is_shared=call.has_stored_bias,
        )
    if in_features != call.activations[0].elements:
        raise TfliteError(
            f"FULLY_CONNECTED {call.output.name!r} reads {call.activations[0].shape} with {in_features} weights per "
            "output, which are no vectors of that size"
        )
    return Dense(
        **call.base,
        out_channels=out_channels,
        flatten=map_shape(call.activations[0])[:2] != (1, 1),
        per_channel=call.constants[0].scales > 1,
        weight_bits=call.constants[0].bits,
        activation=call.fused(0),
        bias=call.has_bias,
        bias_is_shared=call.has_stored_bias,
    )


WEIGHTED: Mapping[str, Reader] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "TRANSPOSE_CONV": _transpose_conv,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
    "SVDF": _svdf,
}
