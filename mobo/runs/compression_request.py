"""What shall be made of a trained trial, and the config of the run that this gives: one trial, its own compression."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

from envs.search.registry import WARM_METHODS, method_names
from hw_models.device import Device, load_device
from hw_models.errors import unknown_name
from mobo.base.errors import MoboError
from mobo.runs.pick import Limit, check_limits
from mobo.runs.record import RunRecord
from mobo.space import columns
from mobo.space.objectives import Constraint
from mobo.tinyml.config import CompressionSettings, DeviceSettings, StudyConfig, parse_config
from mobo.tinyml.hyperparameters import METHOD_PARAMETERS
from mobo.tinyml.study_runtime import study_runtime

DEFAULT_METHOD = "sac"


class CompressionError(MoboError):
    """A trial cannot be compressed as asked."""


@dataclass(frozen=True, kw_only=True)
class CompressionRequest:
    """How a trained trial shall be compressed; what is left out is as the run has it.

    Attributes:
        device: The board.
        device_file: TOML file with a board of the user's own.
        runtime: The inference engine; for another board than the run's its default.
        runtime_file: TOML file of a runtime of the user's own.
        clock_mhz: The clock; for another board than the run's its highest.
        limits: Limits on costs, in place of the run's on the same ones.
        method: Who chooses the policy; the agent if in the run the design itself did.
        evaluations: How many policies may be measured.
        weight_bits: Widths to choose from; the run's, as far as the runtime computes with them.
        min_keep: Smallest share of the channels of a group to keep.
        seed: Of everything random; the trial's.
    """

    device: str
    device_file: Path | None = None
    runtime: str | None = None
    runtime_file: Path | None = None
    clock_mhz: float | None = None
    limits: tuple[Limit, ...] = ()
    method: str | None = None
    evaluations: int | None = None
    weight_bits: tuple[int, ...] = ()
    min_keep: float | None = None
    seed: int | None = None


def compression_config(record: RunRecord, number: int, request: CompressionRequest) -> StudyConfig:
    """Return the config of the run that holds the compressed trial alone.

    On the run's own board its constraints hold; on another one those on costs were not made for it and are dropped.

    Args:
        record: The run.
        number: The trial.
        request: What is asked for.

    Raises:
        CompressionError: No method of that name chooses policies.
        PickError: A limit is not a positive number.
        ConfigError: A value is not allowed.
        HardwareModelError: The board or the runtime does not exist.
    """
    if request.limits:
        check_limits(request.limits)
    config = record.config
    device = load_device(request.device, extra_file=request.device_file or config.device.file)
    is_own = request.device == config.device.name and request.device_file is None
    data: dict[str, Any] = tomllib.loads(config.to_toml())
    # One model is no choice.
    data.pop("goal", None)
    data.pop("hours", None)
    data.pop("start", None)
    data |= {
        "name": f"{config.name}-{number}-{device.name}",
        "trials": 1,
        "device": _device(config.device, request, is_own=is_own),
        "constraints": [
            constraint.model_dump(mode="json", exclude_none=True)
            for constraint in _constraints(config.constraints, request.limits, is_own=is_own)
        ],
        "compression": _as_the_method_allows(data["compression"] | _compression(config.compression, request)),
        # The targets are the limits themselves, and no design carries its own compression any more.
        "space": {name: entry for name, entry in data["space"].items() if name not in METHOD_PARAMETERS},
    }
    made = parse_config(tomlkit.dumps(data), source="mobo compress")
    return made if request.weight_bits else _with_usable_bits(made, device)


def _device(own: DeviceSettings, request: CompressionRequest, *, is_own: bool) -> dict[str, object]:
    keeps_engine = is_own and request.runtime is None and request.runtime_file is None
    settings = {
        "name": request.device,
        "runtime": own.runtime if keeps_engine else request.runtime,
        "clock_mhz": own.clock_mhz if is_own and request.clock_mhz is None else request.clock_mhz,
        "file": request.device_file or own.file,
        "runtime_file": own.runtime_file if keeps_engine else request.runtime_file,
    }
    return {
        key: str(value) if isinstance(value, Path) else value for key, value in settings.items() if value is not None
    }


def _constraints(own: tuple[Constraint, ...], asked: tuple[Limit, ...], *, is_own: bool) -> list[Constraint]:
    replaced = {limit.cost for limit in asked}
    standing = [
        constraint
        for constraint in own
        if constraint.name not in replaced and (is_own or constraint.name not in columns.COSTS)
    ]
    return [*standing, *(Constraint(name=limit.cost, upper=limit.upper) for limit in asked)]


def _compression(own: CompressionSettings, request: CompressionRequest) -> Mapping[str, object]:
    """Return the settings that differ from the run's."""
    default = own.method if own.method in method_names() else DEFAULT_METHOD
    method = default if request.method is None else request.method
    if method not in method_names():
        raise CompressionError(unknown_name("method", method, method_names()))
    return {
        "method": method,
        # A schedule is for fixed policies, a ranking over the whole network for one keep ratio.
        "schedule": "one-shot",
        "scope": own.scope if method == "uniform" else "local",
        "evaluations": own.evaluations if request.evaluations is None else request.evaluations,
        "min_keep": own.min_keep if request.min_keep is None else request.min_keep,
        "weight_bits": list(request.weight_bits or own.weight_bits),
        # Methods that choose policies choose no widths of activations.
        "activation_bits": [8],
    }


def _as_the_method_allows(compression: Mapping[str, object]) -> dict[str, object]:
    """Leave out the checkpoint of an agent where another method searches."""
    learns = compression["method"] in WARM_METHODS
    return {name: value for name, value in compression.items() if learns or name != "warm_start"}


def _with_usable_bits(config: StudyConfig, device: Device) -> StudyConfig:
    """Leave out the widths that the runtime cannot compute with; if that is all of them, it is for it to refuse."""
    runtime, compression = study_runtime(config.device, device), config.compression
    usable = () if runtime is None else tuple(bits for bits in compression.weight_bits if bits in runtime.weight_bits)
    if not usable:
        return config
    return config.model_copy(update={"compression": compression.model_copy(update={"weight_bits": usable})})
