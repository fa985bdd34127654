"""Augmentation: what each kind does and leaves alone, that chance is the seed's, and that training sees it."""

import pytest
import torch
from torch import nn

from envs.compression.float_network.samples import LabelledSamples
from envs.compression.training.augmentation import KINDS, Augmentation, check_kinds
from envs.compression.training.recovery import recover
from envs.compression.training.recovery_settings import RecoverySettings
from envs.errors import EnvError

IMAGE, SOUND, SIGNAL = (8, 8, 2), (20, 10, 1), (1, 64, 3)


def augmentation(*kinds: str, strength: float = 1.0, shift: float = 0.0) -> Augmentation:
    return Augmentation(kinds, strength, torch.full((1, 1, 1), shift), torch.tensor(2.0).view(1, 1, 1))


def maps(shape: tuple[int, int, int], count: int = 200) -> torch.Tensor:
    height, width, channels = shape
    return torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(0))


def changed(x: torch.Tensor, *kinds: str, seed: int = 1, strength: float = 1.0, shift: float = 0.0) -> torch.Tensor:
    return augmentation(*kinds, strength=strength, shift=shift)(x, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("name", "shape"),
    [(name, shape) for name in KINDS for shape in (IMAGE, SIGNAL) if (name, shape) != ("rotate", IMAGE)],
)
def test_chance_is_the_seeds_and_strength_0_changes_nothing(name: str, shape: tuple[int, int, int]) -> None:
    x = maps(shape).contiguous(memory_format=torch.channels_last)
    before = x.clone()
    once, again, other = (changed(x, name, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert (once.shape, once.stride()) == (x.shape, x.stride())
    assert torch.isfinite(once).all()
    assert torch.equal(changed(x, name, strength=0.0), x)
    assert torch.equal(x, before)


def test_a_shift_moves_all_pixels_alike_and_repeats_the_edge() -> None:
    x = torch.arange(64.0).view(1, 1, 8, 8).expand(50, 1, 8, 8)
    for image in changed(x, "shift"):
        rows, columns = image[0, :, 0] // 8, image[0, 0] % 8
        down, right = int(rows[4]) - 4, int(columns[4]) - 4
        assert max(abs(down), abs(right)) <= 2
        assert rows.tolist() == [min(max(row + down, 0), 7) for row in range(8)]
        assert columns.tolist() == [min(max(column + right, 0), 7) for column in range(8)]


def test_half_of_all_images_are_flipped_and_the_others_are_not() -> None:
    x = maps(IMAGE, 400)
    found = changed(x, "flip")
    flipped = torch.tensor([torch.equal(one, other.flip(2)) for one, other in zip(found, x, strict=True)])
    same = torch.tensor([torch.equal(one, other) for one, other in zip(found, x, strict=True)])
    assert torch.equal(flipped, ~same)
    assert 150 < int(flipped.sum()) < 250


def test_a_crop_is_a_part_of_at_least_half_a_side_in_its_order() -> None:
    x = torch.arange(64.0).view(1, 1, 8, 8).expand(200, 1, 8, 8)
    sides = []
    for image in changed(x, "crop"):
        columns = image[0, 0] % 8
        assert (columns.diff() >= 0).all()
        sides.append(int(columns[-1] - columns[0]) + 1)
    assert 4 <= min(sides) < max(sides) == 8


def test_time_is_moved_and_coefficients_are_not() -> None:
    x = maps(SOUND)
    for found, was in zip(changed(x, "time_shift"), x, strict=True):
        moved = next(step for step in range(-5, 6) if torch.equal(found[0, 8:12], was[0, 8 + step : 12 + step]))
        assert abs(moved) <= 5
    assert not torch.equal(changed(maps(SIGNAL), "time_shift"), maps(SIGNAL))


def test_masks_are_one_band_a_side_of_at_most_half_of_it() -> None:
    for found in changed(torch.ones(200, 1, 20, 10), "mask"):
        times, coefficients = (found[0] == 0).all(dim=1), (found[0] == 0).all(dim=0)
        assert int(times.sum()) <= 10
        assert int(coefficients.sum()) <= 5
        assert torch.equal(found[0] == 0, times[:, None] | coefficients[None, :])
        for band in (times, coefficients):
            assert int(band.int().diff().abs().sum()) <= 2


def test_a_signal_is_scaled_as_a_whole() -> None:
    x = maps(SIGNAL)
    factors = (changed(x, "scale") / x).flatten(1)
    assert torch.allclose(factors, factors[:, :1].expand_as(factors), atol=1e-4)
    assert 0.5 <= float(factors.min()) < 0.7 < 1.3 < float(factors.max()) <= 1.5


def test_a_rotation_keeps_lengths_and_angles_of_the_raw_values() -> None:
    x = maps(SIGNAL, 30)
    raw, found = (values * 2 + 5 for values in (x, changed(x, "rotate", shift=5.0)))
    torch.testing.assert_close(found.norm(dim=1), raw.norm(dim=1), rtol=1e-4, atol=1e-4)
    products = [(values[:, :, 0, :-1] * values[:, :, 0, 1:]).sum(dim=1) for values in (found, raw)]
    torch.testing.assert_close(*products, rtol=1e-3, atol=1e-3)
    assert (found - raw).abs().mean() > 0.5


@pytest.mark.parametrize(
    ("kinds", "shape", "message"),
    [
        (("noise", "flip"), SIGNAL, "'flip' is for images, and the samples are signals of 1x64x3; for those there are"),
        (("rotate",), IMAGE, "'rotate' turns three axes"),
        (("rotate",), (1, 64, 4), "'rotate' turns three axes"),
    ],
)
def test_kinds_that_mean_nothing_are_refused(kinds: tuple[str, ...], shape: tuple[int, int, int], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        check_kinds(kinds, shape)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(EnvError, match="unknown augmentation 'turn'"):
        augmentation("turn")
    with pytest.raises(EnvError, match=r"strength of an augmentation is 1\.5; it is from 0 to 1"):
        augmentation("flip", strength=1.5)


def test_a_recovery_sees_changed_samples() -> None:
    x, y = maps((4, 4, 1), 64), torch.arange(64) % 2
    seen: list[torch.Tensor] = []
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    samples = LabelledSamples(x, y, augment=lambda values, generator: values + 100)
    recover(module, samples.subset(range(32)), RecoverySettings(steps=2), seed=0)
    assert len(seen) == 2
    assert all(float(values.min()) > 50 for values in seen)
