"""Copies of an image that were saved, scaled or lit again are found; other images of the kind are not."""

from __future__ import annotations

import io

import numpy
import torch
from PIL import Image

from lossforge.data.duplicates import Parts
from lossforge.data.near_duplicates import near_duplicates
from lossforge.data.splits import Part

RNG = numpy.random.default_rng(0)


def scenes(count: int, side: int = 48) -> torch.Tensor:
    """Smooth random pictures ``(N, 3, side, side)``, as photographs are, uint8."""
    coarse = torch.from_numpy(RNG.random((count, 3, 6, 6), dtype=numpy.float32))
    fine = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    return (255 * fine).clamp(0, 255).byte()


def saved_again(image: torch.Tensor, quality: int, scale: float = 1.0) -> torch.Tensor:
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    small = picture.resize([round(side * scale) for side in picture.size]).resize(picture.size)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=quality)
    return torch.from_numpy(numpy.asarray(Image.open(file)).copy()).permute(2, 0, 1)


def part(x: torch.Tensor) -> Part:
    return Part(x, torch.zeros(len(x), dtype=torch.int64))


def test_copies_are_found_and_others_and_equal_ones_are_not() -> None:
    train, others = scenes(400), scenes(100)
    copies = [saved_again(one, 75) for one in train[:20]] + [saved_again(one, 90, 0.7) for one in train[20:40]]
    lit = (train[40:50].float() * 0.7 + 20).byte()
    found = near_duplicates(Parts(part(train), part(others), part(torch.cat([torch.stack(copies), lit, train[:5]]))))
    assert found is not None
    assert 48 <= found.test <= 50
    assert (found.tests, found.validation, found.validations) == (55, 0, 100)
    assert found.bad
    assert f"{found.test} of 55 test samples and 0 of 100 validation samples look like a training" in found.told


def test_blank_images_look_like_nothing_and_small_ones_are_not_compared() -> None:
    blank = torch.full((5, 1, 20, 20), 7, dtype=torch.uint8)
    grey = blank + torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1)
    found = near_duplicates(Parts(part(blank), part(grey[1:]), part(grey[2:])))
    assert found is not None
    assert (found.test, found.validation, found.bad) == (0, 0, False)
    small = part(scenes(4, 15))
    assert near_duplicates(Parts(small, small, small)) is None
    table = part(torch.zeros(5, 9, 1, 1))
    assert near_duplicates(Parts(table, table, table)) is None
