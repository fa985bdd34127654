"""What a format is given of one finished trial, and what it gives back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from envs.compression.integer.network import QuantisedNetwork
from envs.compression.policy import CompressionPolicy
from hw_models.device import Core
from hw_models.files import FileModel
from mobo.export.front_end import FrontEnd, Raw

Integers = npt.NDArray[np.signedinteger[Any]]
"""Values of a tensor: int8 or, where the layer that makes it computes with 16-bit activations, int16."""

PurposeName = Literal["classes", "reconstruction"]
"""What a model's outputs are for: a score per class, or the input again, which fails where it is anomalous."""


class Board(FileModel):
    """The board that a firmware is for.

    Attributes:
        name: As in ``devices.toml``, or one of QEMU's machines.
        core: Its core.
        sram_kib: Its SRAM, KiB.
        zephyr: Its name in Zephyr; empty where that has none.
        platformio: Its platform and name in PlatformIO; empty where that has none with Arduino's framework.
    """

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=80)
    core: Core
    sram_kib: float = Field(gt=0, le=2**22)
    zephyr: str = Field(default="", pattern=r"^[a-z0-9_]*(/[a-z0-9_]+)*$", max_length=80)
    platformio: str = Field(default="", pattern=r"^([a-z0-9_]+/[a-z0-9_]+)?$", max_length=80)


@dataclass(frozen=True, kw_only=True, eq=False)
class ExportRequest:
    """Everything a format may use of one finished trial.

    Attributes:
        network: The integer network: graph, weights, scales. What is exported is this and nothing else.
        policy: What was done to the trained network.
        costs: What the network is predicted to cost on the run's board under the run's runtime, by name.
        name: A name for the model, ``"<run>-<trial>"``.
        run: Name of the run's folder.
        trial: Number of the trial.
        purpose: What the outputs are for.
        class_names: One per class, in label order.
        mean, deviation: How raw inputs become real ones: ``(raw - mean) / deviation``, broadcast over ``(H, W, C)``.
        test_inputs: int8, N x H x W x C: a few dozen samples as a test vector.
        test_labels: int64, N: their classes.
        test_outputs: int8 or int16, N x outputs: what the integer interpreter computes for them.
        board: The board a firmware is for; None where none is written.
        front_end: What stands between the sensor and the input; None where no C is written for that.
        raw_inputs: int16, N x samples: a few raw inputs as a test vector of the front end.
    """

    network: QuantisedNetwork
    policy: CompressionPolicy
    costs: Mapping[str, float | None]
    name: str
    run: str
    trial: int
    purpose: PurposeName
    class_names: tuple[str, ...]
    mean: npt.NDArray[np.float32]
    deviation: npt.NDArray[np.float32]
    test_inputs: npt.NDArray[np.int8]
    test_labels: npt.NDArray[np.int64]
    test_outputs: Integers
    board: Board | None = None
    front_end: FrontEnd | None = None
    raw_inputs: Raw | None = None


Files = Mapping[str, bytes]
"""Content by path, relative to the format's own folder, with forward slashes."""

Exporter = Callable[[ExportRequest], Files]
