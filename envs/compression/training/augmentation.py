"""Samples changed at random while a network is trained, in ways that leave their meaning: more data than there are.

Every kind works on standardised maps, N x C x H x W, whose mean is 0: images; maps of sound, with time along H and
coefficients along W; signals of 1 x length, with time along W. What moves out of a map is followed by its edge, what is
masked becomes the mean.

Source of the masks: Park et al., "SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition",
Interspeech 2019. Of rotation, scaling and noise of motion: Um et al., "Data Augmentation of Wearable Sensor Data for
Parkinson's Disease Monitoring using Convolutional Neural Networks", ICMI 2017.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import pi
from types import MappingProxyType

import torch

from envs.errors import EnvError
from hw_models.errors import unknown_name
from hw_models.graph.layer_graph import Shape

# What a strength of 1 means.
_SHIFT = 0.25
"""Of a side: how far an image, or the time of a sound or a signal, is moved at most."""
_SMALLEST_CROP = 0.5
"""Of both sides: what is cut out at least, before it is scaled to the old size."""
_MASK = 0.5
"""Of an axis: how much of it one mask covers at most."""
_NOISE = 0.5
"""Standard deviation of the noise, in those of the data."""
_SCALE = 0.5
"""By what share a signal is made larger or smaller at most."""
_ANGLE = pi / 2
"""How far three axes are turned at most, around a random one."""


@dataclass(frozen=True, eq=False)
class Augmentation:
    """What is done to the samples of every training step, each kind after the other.

    Attributes:
        kinds: Names among :data:`KINDS`.
        strength: From 0, nothing, to 1.
        mean: What standardisation subtracted, broadcastable to C x H x W; a rotation is one of the raw values.
        deviation: What it divided by.

    Raises:
        EnvError: An unknown kind, or a strength out of range.
    """

    kinds: tuple[str, ...]
    strength: float
    mean: torch.Tensor
    deviation: torch.Tensor

    def __post_init__(self) -> None:
        for name in self.kinds:
            if name not in KINDS:
                raise EnvError(unknown_name("augmentation", name, KINDS))
        if not 0 <= self.strength <= 1:
            raise EnvError(f"the strength of an augmentation is {self.strength:g}; it is from 0 to 1")

    def __call__(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return changed samples, in the shape, place and order in memory of ``x``; all chance is the generator's."""
        if not self.strength:
            return x
        changed = x
        for name in self.kinds:
            changed = KINDS[name](changed, self, generator)
        return torch.empty_like(x).copy_(changed)


def check_kinds(kinds: Sequence[str], input_shape: Shape) -> None:
    """Refuse kinds of augmentation that mean nothing for samples of a shape.

    Args:
        kinds: Names among :data:`KINDS`.
        input_shape: ``(height, width, channels)``.

    Raises:
        EnvError: One needs an image, or axes in threes.
    """
    height, width, channels = input_shape
    for name in kinds:
        if name in ("shift", "flip", "crop") and min(height, width) < 2:
            raise EnvError(
                f"augmentation {name!r} is for images, and the samples are signals of {height}x{width}x{channels}; "
                "for those there are time_shift, noise, mask, scale and rotate"
            )
        if name == "rotate" and (channels % 3 or height > 1):
            raise EnvError(
                f"augmentation 'rotate' turns three axes, as those of an accelerometer; the samples are "
                f"{height}x{width}x{channels}: drop it"
            )


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Return numbers from -1 to 1."""
    return 2 * torch.rand(shape, generator=generator) - 1


def _looked_up(x: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Return maps whose pixels are others of theirs: ``rows`` is N x H, ``columns`` N x W; beyond is the edge."""
    count, channels, height, width = x.shape
    rows, columns = rows.clamp(0, height - 1).to(x.device), columns.clamp(0, width - 1).to(x.device)
    first = torch.arange(count, device=x.device)[:, None, None] * (height * width)
    places = first + rows[:, :, None] * width + columns[:, None, :]
    # One list of places is looked up three times as fast as samples, rows and columns apart.
    pixels = x.permute(0, 2, 3, 1).reshape(-1, channels)
    return pixels.index_select(0, places.flatten()).view(count, height, width, channels).permute(0, 3, 1, 2)


def _positions(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where the rows and columns of every sample are: N x H and N x W."""
    return tuple(torch.arange(length).expand(len(x), length) for length in x.shape[2:])  # type: ignore[return-value]


def _moves(length: int, count: int, strength: float, generator: torch.Generator) -> torch.Tensor:
    return torch.round(_uniform((count, 1), generator) * strength * _SHIFT * length).long()


def _shift(x: torch.Tensor, how: Augmentation, generator: torch.Generator) -> torch.Tensor:
    moved = [
        places + _moves(length, len(x), how.strength, generator)
        for places, length in zip(_positions(x), x.shape[2:], strict=True)
    ]
    return _looked_up(x, *moved)


def _time_shift(x: torch.Tensor, how: Augmentation, generator: torch.Generator) -> torch.Tensor:
    rows, columns = _positions(x)
    if x.shape[2] > 1:
        return _looked_up(x, rows + _moves(x.shape[2], len(x), how.strength, generator), columns)
    return _looked_up(x, rows, columns + _moves(x.shape[3], len(x), how.strength, generator))


def _flip(x: torch.Tensor, how: Augmentation, generator: torch.Generator) -> torch.Tensor:
    flips = torch.rand(len(x), generator=generator) < how.strength / 2
    return torch.where(flips.to(x.device)[:, None, None, None], x.flip(3), x)


def _crop(x: torch.Tensor, how: Augmentation, generator: torch.Generator) -> torch.Tensor:
    share = 1 - how.strength * (1 - _SMALLEST_CROP) * torch.rand((len(x), 1), generator=generator)
    taken = [
        torch.floor(places * share + torch.rand((len(x), 1), generator=generator) * (1 - share) * (length - 1) + 0.5)
        for places, length in zip(_positions(x), x.shape[2:], strict=True)
    ]
    return _looked_up(x, taken[0].long(), taken[1].long())


def _mask(x: torch.Tensor, how: Augmentation, generator: torch.Generator) -> torch.Tensor:
    covered = torch.zeros((len(x), 1, *x.shape[2:]), dtype=torch.bool)
    for axis, places in enumerate(_positions(x), start=2):
        length = x.shape[axis]
        if length == 1:
            continue
        size = torch.rand((len(x), 1), generator=generator) * how.strength * _MASK * length
        start = torch.rand((len(x), 1), generator=generator) * (length - size)
        band = (places >= start) & (places + 1 <= start + size)
        covered |= band[:, None, :, None] if axis == 2 else band[:, None, None, :]
    return x.masked_fill(covered.to(x.device), 0.0)


def _noise(x: torch.Tensor, how: Augmentation, generator: torch.Generator) -> torch.Tensor:
    size = torch.rand((len(x), 1, 1, 1), generator=generator) * how.strength * _NOISE
    return x + (size * torch.randn(x.shape, generator=generator)).to(x.device)


def _scale(x: torch.Tensor, how: Augmentation, generator: torch.Generator) -> torch.Tensor:
    return x * (1 + how.strength * _SCALE * _uniform((len(x), 1, 1, 1), generator)).to(x.device)


def _rotate(x: torch.Tensor, how: Augmentation, generator: torch.Generator) -> torch.Tensor:
    axis = torch.nn.functional.normalize(torch.randn((len(x), 3), generator=generator), dim=1)
    angle = how.strength * _ANGLE * _uniform((len(x), 1, 1), generator)
    zero = torch.zeros(len(x))
    first, second, third = axis.unbind(1)
    cross = torch.stack([zero, -third, second, third, zero, -first, -second, first, zero], dim=1).view(-1, 3, 3)
    # Rodrigues' formula.
    turn = torch.eye(3) + torch.sin(angle) * cross + (1 - torch.cos(angle)) * (cross @ cross)
    mean, deviation = how.mean.to(x.device), how.deviation.to(x.device)
    raw = (x * deviation + mean).flatten(2)
    triples = raw.reshape(len(x), -1, 3, raw.shape[2])
    turned = (turn.to(x.device)[:, None] @ triples).reshape(x.shape)
    return (turned - mean) / deviation


Kind = Callable[[torch.Tensor, Augmentation, torch.Generator], torch.Tensor]

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "shift": _shift,
        "flip": _flip,
        "crop": _crop,
        "time_shift": _time_shift,
        "noise": _noise,
        "mask": _mask,
        "scale": _scale,
        "rotate": _rotate,
    }
)
"""What can be done, by name."""
