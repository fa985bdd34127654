"""A saved model as the report needs it: costs per layer, the memory timeline, and what the agent decided."""

from dataclasses import dataclass

from pydantic import ConfigDict, Field

from envs.compression.policy import CompressionPolicy
from envs.errors import EnvError
from hw_models.files import FileError, FileModel, read_json, read_text
from mobo.base.errors import MoboError
from mobo.runs.directory import RunDirectory
from mobo.tinyml.model_names import COST, POLICY

_MOST = 2**50


class SavedModelError(MoboError):
    """A model's files cannot be read."""


class _OfCost(FileModel):
    """A part of ``cost.json``, of which the report shows a part."""

    model_config = ConfigDict(extra="ignore")


class LayerRow(_OfCost):
    """One layer.

    Attributes:
        name: Its name.
        kind: Its kind.
        latency_ms: Its time.
        flash_bytes: What it adds to the model's flash.
        macs: Its multiply-accumulates.
    """

    name: str
    kind: str
    latency_ms: float = Field(ge=0, le=_MOST)
    flash_bytes: int = Field(ge=0, le=_MOST)
    macs: int = Field(ge=0, le=_MOST)


class Moment(_OfCost):
    """The arena while one layer runs.

    Attributes:
        layer: The layer.
        live_bytes: Bytes of the buffers alive.
        live: Their names.
    """

    layer: str
    live_bytes: int = Field(ge=0, le=_MOST)
    live: tuple[str, ...]


@dataclass(frozen=True)
class SavedModel:
    """What the report shows of one model.

    Attributes:
        number: Its trial.
        layers: In running order; the first may be the front end.
        timeline: The arena, layer by layer, what always stays apart.
        persistent_bytes: What always stays in the arena.
        arena_bytes: The whole arena.
        peak_layer: The layer at which most is alive.
        borrowed: Whether the latency rests on another core's measurements.
        policy: What the agent decided.
    """

    number: int
    layers: tuple[LayerRow, ...]
    timeline: tuple[Moment, ...]
    persistent_bytes: int
    arena_bytes: int
    peak_layer: str
    borrowed: bool
    policy: CompressionPolicy


def read_saved_model(run: RunDirectory, number: int) -> SavedModel:
    """Read the files of one trial's model.

    Raises:
        SavedModelError: A file is missing or has another form.
    """
    folder = run.model_directory(number)
    try:
        policy = CompressionPolicy.from_json(read_text(folder / POLICY))
        cost = read_json(folder / COST, _Cost)
    except (FileError, EnvError) as error:
        raise SavedModelError(f"a file in {folder} was changed, or written by another version: {error}") from error
    memory, before = cost.memory, cost.front_end
    rows = cost.rows if before is None else (before.row, *cost.rows)
    return SavedModel(
        number=number,
        layers=rows,
        timeline=memory.timeline,
        persistent_bytes=memory.persistent_bytes,
        arena_bytes=memory.arena_bytes,
        peak_layer=memory.peak_layer,
        borrowed=cost.borrowed,
        policy=policy,
    )


class _Memory(_OfCost):
    arena_bytes: int = Field(ge=0, le=_MOST)
    persistent_bytes: int = Field(ge=0, le=_MOST)
    peak_layer: str
    timeline: tuple[Moment, ...]


class _FrontEnd(_OfCost):
    kind: str
    latency_ms: float = Field(ge=0, le=_MOST)
    flash_bytes: int = Field(ge=0, le=_MOST)

    @property
    def row(self) -> LayerRow:
        """The front end as what runs before the first layer."""
        return LayerRow(
            name="front end", kind=self.kind, latency_ms=self.latency_ms, flash_bytes=self.flash_bytes, macs=0
        )


class _Cost(_OfCost):
    borrowed: bool
    rows: tuple[LayerRow, ...]
    front_end: _FrontEnd | None = None
    memory: _Memory
