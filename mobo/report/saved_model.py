"""A saved model as the report needs it: costs per layer, the memory timeline, and what the agent decided."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.compression.policy import CompressionPolicy
from mobo.base.errors import MoboError
from mobo.runs.directory import RunDirectory
from mobo.tinyml.model_names import COST, POLICY


class SavedModelError(MoboError):
    """A model's files cannot be read."""


@dataclass(frozen=True)
class LayerRow:
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
    latency_ms: float
    flash_bytes: int
    macs: int


@dataclass(frozen=True)
class Moment:
    """The arena while one layer runs.

    Attributes:
        layer: The layer.
        live_bytes: Bytes of the buffers alive.
        live: Their names.
    """

    layer: str
    live_bytes: int
    live: tuple[str, ...]


@dataclass(frozen=True)
class SavedModel:
    """What the report shows of one model.

    Attributes:
        number: Its trial.
        layers: In running order.
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
        PolicyError: The policy holds a value outside its range.
    """
    folder = run.model_directory(number)
    policy = CompressionPolicy.from_json(_read(folder / POLICY))
    path = folder / COST
    try:
        return _model(number, json.loads(_read(path)), policy)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise SavedModelError(
            f"{path} cannot be read: {error!r}; it was changed, or written by another version"
        ) from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SavedModelError(f"a file of the model cannot be read: {error}") from error


def _model(number: int, cost: Mapping[str, Any], policy: CompressionPolicy) -> SavedModel:
    memory = cost["memory"]
    return SavedModel(
        number=number,
        layers=tuple(
            LayerRow(row["name"], row["kind"], row["latency_ms"], row["flash_bytes"], row["macs"])
            for row in cost["rows"]
        ),
        timeline=tuple(
            Moment(moment["layer"], moment["live_bytes"], tuple(moment["live"])) for moment in memory["timeline"]
        ),
        persistent_bytes=memory["persistent_bytes"],
        arena_bytes=memory["arena_bytes"],
        peak_layer=memory["peak_layer"],
        borrowed=cost["borrowed"],
        policy=policy,
    )
