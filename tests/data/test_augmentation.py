from __future__ import annotations

from typing import Any

import numpy
import pytest
import torch

from lossforge.data import augmentation
from lossforge.data.augmentation import Preparation
from lossforge.data.prepare import scale_of
from lossforge.data.scale import Scale
from lossforge.data.splits import Part
from lossforge.errors import DataError
from lossforge.spaces.schema import AugmentationSection

SHAPE = (3, 8, 12)
EVERYTHING = {
    "crop": 2,
    "flip": True,
    "rotation": 20,
    "zoom": 0.2,
    "shift": 0.1,
    "brightness": 0.3,
    "contrast": 0.3,
    "saturation": 0.3,
    "cutout": 3,
}


def prepare(scale: Scale | None = None, shape: tuple[int, int, int] = SHAPE, **keys: Any) -> Preparation:
    return Preparation(AugmentationSection(**keys), scale, shape)


def augmented(x: torch.Tensor, seed: int = 0, **keys: Any) -> torch.Tensor:
    one = prepare(**keys)
    return one(x, one.generators([seed]))


def images(count: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randint(1, 256, (count, *(shape or SHAPE)), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("lead", [(6,), (2, 3)])
@pytest.mark.parametrize("keys", [{}, *({name: value} for name, value in EVERYTHING.items()), EVERYTHING])
def test_the_input_keeps_its_shape_and_is_finite(lead: tuple[int, ...], keys: dict[str, Any]) -> None:
    x = images(6).view(*lead, *SHAPE)
    one = prepare(**keys)
    y = one(x, one.generators(range(lead[0] if len(lead) == 2 else 1)))
    assert (y.shape, y.dtype) == (x.shape, torch.float32)
    assert 0 <= float(y.min()) <= float(y.max()) <= 1
    assert torch.equal(y, x / 255) == (not keys)


def test_floats_that_need_nothing_are_passed_on() -> None:
    x = torch.rand(4, *SHAPE)
    assert prepare()(x) is x


def test_nothing_is_drawn_where_nothing_is_augmented(monkeypatch: pytest.MonkeyPatch) -> None:
    assert prepare().generators([1, 2]) == []
    on = prepare(**EVERYTHING)
    (generator,) = on.generators([1])
    before, global_before = generator.get_state(), torch.get_rng_state()
    on(images(5))
    assert torch.equal(generator.get_state(), before)
    on(images(5), [generator])
    assert not torch.equal(generator.get_state(), before)
    assert torch.equal(torch.get_rng_state(), global_before)


def test_each_replica_has_its_own_numbers_and_no_others() -> None:
    x = images(5)
    together = prepare(**EVERYTHING)
    pair = together(torch.stack([x, x]), together.generators([3, 4]))
    for place, seed in enumerate((3, 4)):
        assert torch.equal(pair[place], augmented(x, seed, **EVERYTHING))
    assert not torch.equal(pair[0], pair[1])


def test_every_sample_is_varied_on_its_own_and_anew() -> None:
    x = images(1).expand(20, *SHAPE)
    one = prepare(crop=3)
    generators = one.generators([0])
    first, second = one(x, generators), one(x, generators)
    assert len({sample.numpy().tobytes() for sample in first}) > 10
    assert not torch.equal(first, second)


def test_a_crop_is_a_whole_window_of_the_padded_image() -> None:
    x = images(60)
    padded = torch.nn.functional.pad(x / 255, (2, 2, 2, 2))
    seen = set()
    for source, sample in zip(padded, augmented(x, crop=2), strict=True):
        places = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if torch.equal(source[:, top : top + 8, left : left + 12], sample)
        ]
        assert len(places) == 1
        seen.update(places)
    assert len(seen) > 20


def test_a_flip_mirrors_half_of_them() -> None:
    x = images(400)
    y = augmented(x, flip=True)
    kept = (y == x / 255).flatten(1).all(1)
    assert torch.equal(y[~kept], x[~kept].flip(-1) / 255)
    assert 150 < int(kept.sum()) < 250


def test_a_rotation_is_scipys(monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.ndimage import rotate

    # A smooth, oblong image: both interpolate between pixels, and the corners are left out.
    rows, columns = numpy.mgrid[0:24, 0:36]
    smooth = numpy.sin(rows / 5) + numpy.cos(columns / 6) * rows / 24
    x = torch.from_numpy(smooth).float()[None, None].expand(8, 1, 24, 36)
    one = prepare(shape=(1, 24, 36), rotation=30)
    draws = torch.rand(8, augmentation._DRAWS, generator=one.generators([5])[0])
    angles = (2 * draws[:, 3] - 1) * 30
    y = one(x, one.generators([5]))
    assert float(angles.max()) > 5
    assert float(angles.min()) < -5
    for angle, sample in zip(angles.tolist(), y[:, 0], strict=True):
        expected = rotate(smooth, angle, reshape=False, order=1)
        middle = (slice(8, 16), slice(10, 26))
        assert numpy.abs(sample.numpy()[middle] - expected[middle]).max() < 0.03


def ramps(count: int) -> torch.Tensor:
    """Images whose two channels are the place of each pixel's middle, from the image's, as a share of its size."""
    rows, columns = (torch.arange(24) + 0.5) / 24 - 0.5, (torch.arange(36) + 0.5) / 36 - 0.5
    return torch.stack([rows[:, None].expand(24, 36), columns.expand(24, 36)]).expand(count, 2, 24, 36)


def lines(y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Slope and middle ``(N, 2)`` of what moved ramps became, rows and columns, away from the edges."""
    slopes = torch.stack(
        [(y[:, 0, 14, 18] - y[:, 0, 9, 18]) * 24 / 5, (y[:, 1, 12, 23] - y[:, 1, 12, 12]) * 36 / 11], 1
    )
    middles = torch.stack([y[:, 0, 11:13, 17:19].mean((1, 2)), y[:, 1, 11:13, 17:19].mean((1, 2))], 1)
    return slopes, middles


def test_a_zoom_scales_each_side_by_a_factor_of_its_own() -> None:
    one = prepare(shape=(2, 24, 36), zoom=0.2)
    slopes, middles = lines(one(ramps(300), one.generators([3])))
    assert float(middles.abs().max()) < 1e-4
    assert 0.799 <= float(slopes.min()) < 0.81
    assert 1.19 < float(slopes.max()) <= 1.201
    assert abs(float(torch.corrcoef(slopes.T)[0, 1])) < 0.2


def test_a_shift_moves_by_a_share_of_each_side() -> None:
    one = prepare(shape=(2, 24, 36), shift=0.1)
    slopes, middles = lines(one(ramps(300), one.generators([3])))
    assert torch.allclose(slopes, torch.ones(1), atol=1e-3)
    assert middles.amin(0).tolist() == pytest.approx([-0.1, -0.1], abs=0.003)
    assert middles.amax(0).tolist() == pytest.approx([0.1, 0.1], abs=0.003)
    assert abs(float(torch.corrcoef(middles.T)[0, 1])) < 0.2


def test_what_a_shift_brings_in_is_the_edge_again() -> None:
    one = prepare(shape=(2, 24, 36), shift=0.5)
    x = ramps(100)
    y = one(x, one.generators([3]))
    assert float(y.min()) == pytest.approx(float(x.min()))
    assert float(y.max()) == pytest.approx(float(x.max()))


def test_without_zoom_and_shift_the_others_draw_as_they_always_did() -> None:
    x = images(6)
    one = prepare(flip=True, crop=2)
    torch.manual_seed(0)
    drawn = one.generators([1])
    one(x, drawn)
    again = one.generators([1])[0]
    torch.rand(6, 10, generator=again)
    assert torch.equal(drawn[0].get_state(), again.get_state())


def test_brightness_is_a_factor() -> None:
    x = torch.rand(200, *SHAPE)
    ratio = augmented(x, brightness=0.4) / x
    factor = ratio.flatten(1)
    assert torch.allclose(factor.amin(1), factor.amax(1), rtol=1e-3)
    assert 0.6 <= float(factor.min()) < 0.65
    assert 1.35 < float(factor.max()) <= 1.401


def test_contrast_keeps_the_mean_and_saturation_the_grey() -> None:
    x = torch.rand(50, *SHAPE)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)

    def grey(images: torch.Tensor) -> torch.Tensor:
        return (images * weights).sum(1)

    contrasted, saturated = augmented(x, contrast=0.5), augmented(x, saturation=0.5)
    assert torch.allclose(grey(contrasted).mean((1, 2)), grey(x).mean((1, 2)), atol=1e-5)
    assert torch.allclose(grey(saturated), grey(x), atol=1e-5)
    assert not torch.allclose(contrasted, x, atol=0.01)
    assert not torch.allclose(saturated, x, atol=0.01)


def test_a_cutout_blanks_one_square() -> None:
    x = torch.ones(300, *SHAPE)
    blank = augmented(x, cutout=4)[:, 0] == 0
    sizes = blank.flatten(1).sum(1)
    assert int(sizes.max()) == 16
    assert int(sizes.min()) >= 4  # at a corner, a quarter of it
    for sample in blank:
        rows, columns = sample.any(1), sample.any(0)
        assert torch.equal(sample, rows[:, None] & columns)
    assert bool(blank.any(0).all())


def test_what_is_cut_out_is_the_mean() -> None:
    scale = Scale(torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.5, 2.0]))
    y = augmented(torch.ones(20, *SHAPE), scale=scale, cutout=4)
    assert {round(value, 4) for value in y[:, 2].unique().tolist()} == {0.0, 0.35}


def test_the_scale_is_the_parts_mean_and_deviation() -> None:
    for x in (images(500), torch.randn(500, *SHAPE) * 3 + 5):
        scale = scale_of(Part(x, torch.zeros(500, dtype=torch.int64)))
        flat = (x / 255 if x.dtype == torch.uint8 else x).transpose(0, 1).flatten(1).double()
        assert torch.allclose(scale.mean.double(), flat.mean(1), rtol=1e-5)
        assert torch.allclose(scale.std.double(), flat.std(1, correction=0), rtol=1e-5)
        y = prepare(scale=scale)(x).transpose(0, 1).flatten(1)
        assert torch.allclose(y.mean(1), torch.zeros(3), atol=1e-3)
        assert torch.allclose(y.std(1), torch.ones(3), atol=1e-3)


@pytest.mark.parametrize("value", [torch.tensor(9, dtype=torch.uint8), torch.tensor(0.1)])
def test_a_constant_channel_is_not_divided_by_nothing(value: torch.Tensor) -> None:
    part = Part(value.expand(30, *SHAPE), torch.zeros(30, dtype=torch.int64))
    scale = scale_of(part)
    assert scale.std.tolist() == [1, 1, 1]
    assert prepare(scale=scale)(part.x).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"cutout": 9}, r"cutout: is 9, larger than the images \(8×12\)"),
        ({"crop": 8}, "crop: is 8, too much padding"),
        ({"saturation": 0.1}, "saturation: needs images of 3 channels, and these have 1"),
    ],
)
def test_what_does_not_fit_the_images_is_refused(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        prepare(shape=(1, 8, 12), **keys)


def shapes(count: int, height: int = 8, width: int = 12, *, smooth: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose one channel is their mask, of classes 1 to 5: where the mask goes wrong, the two part."""
    if smooth:
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        masks = (1 + 2 * (rows > height // 2) + (columns > width // 3)).expand(count, height, width).clone()
    else:
        masks = torch.randint(1, 6, (count, height, width), generator=torch.Generator().manual_seed(3))
    return masks[:, None].float(), masks


@pytest.mark.parametrize("keys", [{"crop": 3}, {"flip": True}, {"crop": 7, "flip": True}])
@pytest.mark.parametrize("lead", [(12,), (3, 4)])
def test_a_mask_is_cut_and_mirrored_with_its_image(lead: tuple[int, ...], keys: dict[str, Any]) -> None:
    x, masks = shapes(12)
    one = prepare(shape=(1, 8, 12), **keys)
    y, moved = one.with_masks(x.view(*lead, 1, 8, 12), masks.view(*lead, 8, 12), one.generators(range(12 // lead[-1])))
    assert (y.shape, moved.shape, moved.dtype) == ((*lead, 1, 8, 12), (*lead, 8, 12), torch.int64)
    # Nothing but classes that were there: what lies beyond an edge is mirrored, never class 0.
    assert torch.equal(y.squeeze(-3), moved.float())
    assert int(moved.min()) == 1
    assert not torch.equal(moved.view_as(masks), masks)


def test_what_a_crop_of_a_mask_brings_in_is_the_mirror_image() -> None:
    x, masks = shapes(40)
    one = prepare(shape=(1, 8, 12), crop=2)
    _, moved = one.with_masks(x, masks, one.generators([1]))
    padded = numpy.pad(masks.numpy(), ((0, 0), (2, 2), (2, 2)), mode="symmetric")
    for source, mask in zip(padded, moved.numpy(), strict=True):
        windows = [source[top : top + 8, left : left + 12] for top in range(5) for left in range(5)]
        assert sum(numpy.array_equal(window, mask) for window in windows) == 1


@pytest.mark.parametrize("keys", [{"rotation": 40}, {"zoom": 0.4}, {"shift": 0.3}, {"rotation": 20, "zoom": 0.2}])
def test_a_mask_turns_with_its_image(keys: dict[str, Any]) -> None:
    x, masks = shapes(20, 24, 36, smooth=True)
    one = prepare(shape=(1, 24, 36), **keys)
    y, moved = one.with_masks(x, masks, one.generators([5]))
    assert set(moved.unique().tolist()) <= {1, 2, 3, 4}
    # Between classes the image is blurred; away from there both must say the same, corners included.
    sharp = (y[:, 0] - y[:, 0].round()).abs() < 1e-4
    assert float(sharp.float().mean()) > 0.8
    assert torch.equal(y[:, 0].round()[sharp], moved[sharp].float())
    assert float((moved != masks).float().mean()) > 0.02


def test_colour_and_cutout_leave_a_mask_alone() -> None:
    masks = torch.randint(0, 4, (20, 8, 12))
    one = prepare(brightness=0.4, contrast=0.4, saturation=0.4, cutout=4)
    x = images(20)
    y, moved = one.with_masks(x, masks, one.generators([0]))
    assert torch.equal(moved, masks)
    assert not torch.allclose(y, x / 255, atol=0.05)


def test_without_generators_masks_stay_where_they_are() -> None:
    x, masks = shapes(4)
    y, kept = prepare(shape=(1, 8, 12), crop=2).with_masks(x, masks)
    assert y is x
    assert kept is masks
