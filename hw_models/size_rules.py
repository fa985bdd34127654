"""The tables of a runtime file that are about memory and flash, and what all its tables share."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# Beyond these bounds no figure means anything, and what is computed from it would not be finite.
Coefficient = Annotated[float, Field(ge=0, le=1e12)]
Factor = Annotated[float, Field(gt=1e-6, le=1e6)]
LogStd = Annotated[float, Field(ge=0, le=10)]
Form = dict[str, Coefficient]


class RuntimeTable(BaseModel):
    """A table of a runtime file: frozen, with no keys but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MemoryModel(RuntimeTable):
    """What the arena holds beside tensors and scratch buffers.

    Attributes:
        alignment_bytes: Every buffer starts at and is padded to a multiple of this.
        base_bytes: The interpreter's own structures.
        operator_bytes: Structures kept per operator.
        tensor_bytes: Structures kept per tensor, weights and biases included.
        channel_bytes: Multiplier and shift kept per output channel of a per-channel quantised layer.
        source: Where the figures come from.
        structures: Table of ``arenas.toml`` with the interpreter's structures, used instead of the four figures before;
            empty where they are all that is known.
        in_place: Kinds of layers that write over an input nobody reads later.
        planner: ``"interpreter"``, or ``"static"`` for code generated around a plan of its own
            (:mod:`hw_models.memory.static_arena`), which needs none of the figures above.
        decodes: Whether weights with a stored width are decoded into the arena before their layer runs, for good until
            it has run (:mod:`hw_models.decoding`).
        log_std: Spread of ln(true / predicted arena).
    """

    alignment_bytes: int = Field(gt=0, le=2**16)
    base_bytes: Coefficient
    operator_bytes: Coefficient
    tensor_bytes: Coefficient
    channel_bytes: Coefficient
    source: str
    structures: str = ""
    in_place: tuple[str, ...] = ()
    planner: Literal["interpreter", "static"] = "interpreter"
    decodes: bool = False
    log_std: LogStd = 0.0


class FlashModel(RuntimeTable):
    """What a model file holds beside weights and biases.

    Attributes:
        engine_bytes: Engine and kernel code, the same for every model; code linked only if needed apart.
        engine_log_std: Spread of ln(true / engine_bytes) over builds.
        engine_source: Where that figure comes from.
        base_bytes: An empty model file.
        operator_bytes: One operator with its tensors' descriptions and names.
        channel_bytes: Scale and zero point per output channel of a per-channel quantised layer.
        per_kernel: Whether kernels say what a layer adds (their ``flash_bytes`` and ``code``), instead of the figures
            above: for code generated for one model.
        log_std: Spread of ln(true / predicted model file).
        source: Where base, operator and channel bytes come from.
    """

    engine_bytes: int = Field(ge=0, le=2**32)
    engine_source: str
    base_bytes: Coefficient
    operator_bytes: Coefficient
    channel_bytes: Coefficient
    source: str
    per_kernel: bool = False
    log_std: LogStd = 0.0
    engine_log_std: LogStd = 0.0

    @property
    def model_holds(self) -> str:
        """What ``flash_model_bytes`` counts under the engine, in words."""
        if self.per_kernel:
            return "the weights, biases and tables of the generated code"
        if not self.base_bytes:
            return "weights and biases, and what the engine prints as code for every operator and channel"
        return "the model file: weights, biases, quantisation and the description of the graph"
