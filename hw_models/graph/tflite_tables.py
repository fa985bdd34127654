"""What a tflite file says, as plain data: tensors, operators, sizes of the constants; no meaning yet.

Field numbers and codes are those of TensorFlow Lite's schema (tensorflow/lite/schema/schema.fbs, version 3).
"""

from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from hw_models.errors import HardwareModelError
from hw_models.files import read_bytes
from hw_models.graph.flatbuffer import Table, Vector, root

_NAMES = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION
LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH
CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER
BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE
BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM
ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE
EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR
ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE
RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND
COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE
NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM BATCH_MATMUL
PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS HASHTABLE
HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE
BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE RELU_0_TO_1
UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2 UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR
RIGHT_SHIFT
"""

OPERATOR_NAMES: tuple[str, ...] = tuple(_NAMES.split())
"""Names of the built-in operators by their code."""

ELEMENT_BITS = {
    0: ("float32", 32), 1: ("float16", 16), 2: ("int32", 32), 3: ("uint8", 8), 4: ("int64", 64), 6: ("bool", 8),
    7: ("int16", 16), 9: ("int8", 8), 10: ("float64", 64), 12: ("uint64", 64), 15: ("uint32", 32), 16: ("uint16", 16),
    17: ("int4", 4),
}  # fmt: skip
"""Name and width of the element types by their code."""

IDENTIFIER = b"TFL3"
"""What the bytes 4 to 8 of a tflite file are."""

MOST_SCALES = 1 << 20
_LARGEST_FILE = 64 * 1024 * 1024
_MOST_ENTRIES = 4096
_MOST_DIMENSIONS = 8
_MOST_VALUES = 64


class TfliteError(HardwareModelError):
    """A file that is no tflite file, is damaged, or holds something that has no cost model."""


@dataclass(frozen=True)
class TfliteTensor:
    """One tensor.

    Attributes:
        name: As in the file.
        shape: Sizes; -1 nowhere (the file's static shape).
        dtype: Element type, e.g. ``"int8"``.
        bits: Bits of one element.
        constant_bytes: Bytes stored for it in the file, 0 for one computed at run time.
        buffer: Index of the stored bytes; tensors may share them.
        values: The stored values of a small integer constant (axes, paddings, shapes), else None.
        scales: How many scales it is quantised with: 0 float, 1 per tensor, more per channel.
        stored: The bytes stored for it in the file.
        quantisation: The file's table of its quantisation, None where it has none.
        zero_rows: How many parts along the first axis are all zero, of a four-dimensional int8 constant.
        is_variable: Whether it is kept from one inference to the next.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bits: int
    constant_bytes: int
    buffer: int
    values: tuple[int, ...] | None
    scales: int
    stored: Vector = field(repr=False, compare=False)
    quantisation: Table | None = field(repr=False, compare=False)
    zero_rows: int = 0
    is_variable: bool = False

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass(frozen=True)
class TfliteOperator:
    """One operator.

    Attributes:
        code: Its name in the schema, e.g. ``"CONV_2D"``.
        inputs: Indices of the tensors it reads; -1 for an optional one left out.
        outputs: Indices of the tensors it writes.
        options: Its table of options, None where the file has none.
    """

    code: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Table | None


@dataclass(frozen=True)
class TfliteFile:
    """The first subgraph of a file.

    Attributes:
        tensors: All tensors.
        operators: All operators, in running order.
        inputs: Indices of the network's inputs.
        outputs: Indices of the network's outputs.
        file_bytes: Size of the file.
        constant_bytes: Bytes of all constant tensors, each buffer counted once.
    """

    tensors: tuple[TfliteTensor, ...]
    operators: tuple[TfliteOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    file_bytes: int
    constant_bytes: int


def read_file(path: Path) -> TfliteFile:
    """Return what a tflite file says.

    Raises:
        TfliteError: The file cannot be read, is no tflite file or is damaged; the message says what was seen.
    """
    try:
        return parse(read_bytes(path, at_most_bytes=_LARGEST_FILE))
    except HardwareModelError as error:
        raise TfliteError(f"{path} cannot be read as a tflite file: {error}") from error


def parse(data: bytes) -> TfliteFile:
    """Return what the bytes of a tflite file say.

    Raises:
        TfliteError: The bytes are no tflite file of one network.
        FlatbufferError: They end early or point outside themselves.
    """
    if data[4:8] != IDENTIFIER:
        seen = "it is empty" if not data else f"bytes 4 to 8 are {data[4:8]!r}"
        raise TfliteError(f"{seen}; a tflite file has {IDENTIFIER!r} there")
    model = root(data)
    graphs = model.vector(2, 4, at_most=_MOST_ENTRIES).tables()
    if len(graphs) != 1:
        raise TfliteError(f"it has {len(graphs)} subgraphs; networks of exactly one can be costed")
    buffers = [
        table.vector(0, 1, at_most=len(data)) for table in model.vector(4, 4, at_most=4 * _MOST_ENTRIES).tables()
    ]
    tensors = graphs[0].vector(0, 4, at_most=_MOST_ENTRIES).tables()
    used = {index for table in tensors if (index := table.integer(2, "I")) < len(buffers)}
    codes = [_code(table) for table in model.vector(1, 4, at_most=_MOST_ENTRIES).tables()]
    file = TfliteFile(
        tensors=tuple(_tensor(table, buffers) for table in tensors),
        operators=tuple(_operator(table, codes) for table in graphs[0].vector(3, 4, at_most=_MOST_ENTRIES).tables()),
        inputs=_indices(graphs[0], 1),
        outputs=_indices(graphs[0], 2),
        file_bytes=len(data),
        constant_bytes=sum(buffers[index].length for index in used),
    )
    _check_indices(file)
    return file


def _indices(table: Table, field: int) -> tuple[int, ...]:
    return table.vector(field, 4, at_most=_MOST_VALUES).integers("i")


def _code(table: Table) -> str:
    # Codes above 127 do not fit the old one-byte field; the schema says to take the larger of both.
    code = max(table.integer(0, "b"), table.integer(3, "i"))
    if 0 <= code < len(OPERATOR_NAMES):
        name = OPERATOR_NAMES[code]
        return f"CUSTOM {table.text(1)!r}" if name == "CUSTOM" else name
    return f"operator code {code}"


def _tensor(table: Table, buffers: list[Vector]) -> TfliteTensor:
    shape = table.vector(0, 4, at_most=_MOST_DIMENSIONS).integers("i")
    name = table.text(3)
    if any(size < 0 for size in shape):
        raise TfliteError(f"tensor {name!r} has the shape {shape}; sizes must be known")
    code, index = table.integer(1, "b"), table.integer(2, "I")
    if code not in ELEMENT_BITS:
        raise TfliteError(f"tensor {name!r} has the element type with code {code}, which has no cost model")
    if index >= len(buffers):
        raise TfliteError(f"tensor {name!r} names buffer {index} of {len(buffers)}")
    dtype, bits = ELEMENT_BITS[code]
    stored = buffers[index]
    is_small = (
        dtype in ("int32", "int64") and 0 < stored.length <= 8 * _MOST_VALUES and stored.length % (bits // 8) == 0
    )
    values = (
        stored._replace(length=stored.length * 8 // bits).integers("i" if bits == 32 else "q") if is_small else None
    )
    quantisation = table.table(4)
    scales = 0 if quantisation is None else quantisation.vector(2, 4, at_most=MOST_SCALES).length
    return TfliteTensor(
        name, shape, dtype, bits, stored.length, index, values, scales, stored, quantisation,
        _zero_rows(shape, dtype, stored), is_variable=table.integer(5, "b") != 0,
    )  # fmt: skip


def _zero_rows(shape: tuple[int, ...], dtype: str, stored: Vector) -> int:
    if dtype != "int8" or len(shape) != 4 or stored.length != prod(shape) or not stored.length:
        return 0
    size = stored.length // shape[0]
    starts = range(stored.start, stored.start + stored.length, size)
    return sum(stored.data.count(0, start, start + size) == size for start in starts)


def _operator(table: Table, codes: list[str]) -> TfliteOperator:
    index = table.integer(0, "I")
    if index >= len(codes):
        raise TfliteError(f"an operator names operator code {index} of {len(codes)}")
    return TfliteOperator(codes[index], _indices(table, 1), _indices(table, 2), table.table(4))


def _check_indices(file: TfliteFile) -> None:
    if not file.operators:
        raise TfliteError("it has no operators")
    lists = [file.inputs, file.outputs, *(indices for op in file.operators for indices in (op.inputs, op.outputs))]
    for index in (index for indices in lists for index in indices):
        if not -1 <= index < len(file.tensors):
            raise TfliteError(f"it names tensor {index} of {len(file.tensors)}")
