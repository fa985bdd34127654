"""A compression policy: what is to be done to one trained network, as plain data."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pydantic import Field

from envs.errors import EnvError
from hw_models.files import FileError, FileModel, parse_json

WEIGHT_BITS = (4, 8)
ACTIVATION_BITS = (8, 16)
STORAGE_BITS = (2, 3, 5, 6)
"""Widths no kernel computes with: the weights lie on a coarser grid and are computed with as ``weight_bits`` says."""

_FIELDS = ("keep_ratios", "weight_bits", "activation_bits", "stored_bits")


class PolicyError(EnvError):
    """A policy holds a value outside its range or names what the network does not have."""


@dataclass(frozen=True)
class CompressionPolicy:
    """How much of every channel group is kept and with how many bits every layer computes.

    A group or layer that is not named stays as it is: keep ratio 1, 8-bit weights, 8-bit activations.

    Attributes:
        keep_ratios: Share of the output channels to keep, by group name, in (0, 1].
        weight_bits: Bit width of the weights, 4 or 8, by layer name.
        activation_bits: Bit width of what a layer reads and writes, 8 or 16, by layer name.
        stored_bits: Bit width of a coarser grid the weights are put on, 2, 3, 5 or 6 and below ``weight_bits``, by
            layer name. It saves download, and flash where the runtime unpacks weights (``mobo-c``).

    Raises:
        PolicyError: A ratio or a bit width is out of range, or a layer shall compute 4-bit weights with 16-bit
            activations.
    """

    keep_ratios: Mapping[str, float] = field(default_factory=dict)
    weight_bits: Mapping[str, int] = field(default_factory=dict)
    activation_bits: Mapping[str, int] = field(default_factory=dict)
    stored_bits: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ratios = {name: float(ratio) for name, ratio in self.keep_ratios.items()}
        for name, ratio in ratios.items():
            if not 0 < ratio <= 1:
                raise PolicyError(f"the keep ratio of group {name!r} is {ratio}; it must be in (0, 1]")
        weights = {name: _checked_bits("weight", name, bits, WEIGHT_BITS) for name, bits in self.weight_bits.items()}
        activations = {
            name: _checked_bits("activation", name, bits, ACTIVATION_BITS)
            for name, bits in self.activation_bits.items()
        }
        for name, bits in activations.items():
            if bits == 16 and weights.get(name) == 4:
                raise PolicyError(
                    f"layer {name!r} asks for 4-bit weights with 16-bit activations, which no kernel of TFLM computes; "
                    "give it 8-bit weights or 8-bit activations"
                )
        stored = {
            name: _checked_bits("stored weight", name, bits, STORAGE_BITS) for name, bits in self.stored_bits.items()
        }
        for name, bits in stored.items():
            if bits >= weights.get(name, 8):
                raise PolicyError(
                    f"layer {name!r} stores {bits}-bit weights but computes with {weights[name]} bits; it must be "
                    "stored with fewer: leave stored_bits out"
                )
        # Copies behind read-only views: a policy is a dictionary key and must not change after it was costed.
        object.__setattr__(self, "keep_ratios", MappingProxyType(ratios))
        object.__setattr__(self, "weight_bits", MappingProxyType(weights))
        object.__setattr__(self, "activation_bits", MappingProxyType(activations))
        object.__setattr__(self, "stored_bits", MappingProxyType(stored))

    def __hash__(self) -> int:
        return hash(tuple(frozenset(getattr(self, name).items()) for name in _FIELDS))

    def __reduce__(self) -> tuple[type["CompressionPolicy"], tuple[dict[str, Any], ...]]:
        # Read-only views can be neither copied nor pickled.
        return CompressionPolicy, tuple(dict(getattr(self, name)) for name in _FIELDS)

    def keep_ratio(self, group: str) -> float:
        """Return the share of a group's channels to keep."""
        return self.keep_ratios.get(group, 1.0)

    def bits(self, layer: str) -> int:
        """Return the bit width of a layer's weights."""
        return self.weight_bits.get(layer, 8)

    def to_json(self) -> str:
        """Return the policy as a JSON object."""
        return json.dumps({name: dict(getattr(self, name)) for name in _FIELDS}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> "CompressionPolicy":
        """Read what :meth:`to_json` wrote.

        Raises:
            PolicyError: The text is no JSON object of these fields, or a value is out of range.
        """
        try:
            read = parse_json(text, _PolicyFile, source="the policy")
        except FileError as error:
            raise PolicyError(f"{error}; write it with CompressionPolicy.to_json") from error
        return cls(**{name: getattr(read, name) for name in _FIELDS})


class _PolicyFile(FileModel):
    """The keys of a saved policy; one that an older file lacks is empty."""

    keep_ratios: dict[str, float] = Field(default_factory=dict)
    weight_bits: dict[str, int] = Field(default_factory=dict)
    activation_bits: dict[str, int] = Field(default_factory=dict)
    stored_bits: dict[str, int] = Field(default_factory=dict)


def _checked_bits(kind: str, layer: str, bits: int, allowed: tuple[int, ...]) -> int:
    if bits not in allowed:
        choices = " or ".join(str(choice) for choice in allowed)
        raise PolicyError(f"layer {layer!r} asks for {bits}-bit {kind}s; allowed is {choices}")
    return int(bits)
