"""Masks as people save them: read as numbers, the way up of their image, or refused with a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from tests.helpers.folders import loaded, picture, save

from lossforge.data.datasets import forget_loaded
from lossforge.errors import DataError

EVEN = numpy.array([[0, 0, 1, 1], [0, 1, 1, 1]])
ODD = 1 - EVEN


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Ten images of 2×4 pixels, numbered by red, without masks."""
    for number in range(10):
        picture(tmp_path / "images" / f"{number}.png", (number, 0, 0), (4, 2))
    (tmp_path / "masks").mkdir()
    return tmp_path


def mask_all(root: Path, make: Any, ending: str = "png") -> None:
    """A mask for each image: of zeros and ones where ``make`` gets them."""
    for number in range(10):
        make(ODD if number % 2 else EVEN).save(root / "masks" / f"{number}.{ending}")


def expect(root: Path, names: tuple[str, ...] = ("0", "1"), **keys: Any) -> None:
    data = loaded(root, "masks", **keys)
    assert data.names == names
    for part in (data.train, data.validation, data.test):
        for x, y in zip(part.x, part.y, strict=True):
            assert y.tolist() == (ODD if int(x[0, 0, 0]) % 2 else EVEN).tolist()


def palette(mask: Any) -> Image.Image:
    image = Image.fromarray(mask.astype(numpy.uint8)).convert("P")
    image.putpalette([0, 0, 0, 128, 0, 0])
    return image


@pytest.mark.parametrize(
    ("make", "ending", "names"),
    [
        (lambda mask: Image.fromarray((mask * 255).astype(numpy.uint8)), "png", ("0", "255")),
        (lambda mask: Image.fromarray(mask.astype(bool)), "tif", ("0", "1")),
        (lambda mask: Image.fromarray((mask * 65535).astype(numpy.uint16)), "png", ("0", "65535")),
        (lambda mask: Image.fromarray((mask * 1000).astype(numpy.uint16)), "tif", ("0", "1000")),
        (lambda mask: Image.fromarray((mask * 70000).astype(numpy.int32)), "tif", ("0", "70000")),
        (lambda mask: Image.fromarray(mask.astype(numpy.float32)), "tif", ("0", "1")),
        (lambda mask: Image.fromarray((mask * 255).astype(numpy.uint8)).convert("RGB"), "png", ("0", "255")),
        (lambda mask: Image.fromarray((mask * 255).astype(numpy.uint8)).convert("RGBA"), "png", ("0", "255")),
        (lambda mask: Image.fromarray((mask * 255).astype(numpy.uint8)).convert("LA"), "png", ("0", "255")),
        (palette, "png", ("0", "1")),
        (palette, "gif", ("0", "1")),
    ],
)
def test_numbers_are_read_as_they_are(pairs: Path, make: Any, ending: str, names: tuple[str, ...]) -> None:
    mask_all(pairs, make, ending)
    expect(pairs, names)


def test_masks_of_words_are_resized_without_mixing(pairs: Path) -> None:
    mask_all(pairs, lambda mask: Image.fromarray((mask * 40000).astype(numpy.uint16)))
    data = loaded(pairs, "masks", resize=[4, 8])
    assert data.train.y.shape[1:] == (4, 8)
    assert torch.equal(data.train.y[:, ::2, ::2], data.train.y[:, 1::2, 1::2])
    assert data.names == ("0", "40000")


def grey(mask: Any) -> Image.Image:
    return Image.fromarray(mask.astype(numpy.uint8))


@pytest.mark.parametrize(
    ("last", "fault"),
    [
        (Image.fromarray(numpy.array([[[255, 0, 0]] * 4] * 2, numpy.uint8)), r"is an image of colours \(RGB\)"),
        (Image.fromarray(numpy.array([[[9, 9, 9, 0]] * 4] * 2, numpy.uint8)), r"is an image of colours \(RGBA\)"),
        (Image.fromarray(EVEN.astype(bool)), "has 1 bit a pixel, and 0.png 8 bits"),
        (palette(EVEN), "has a palette, and 0.png 8 bits"),
        (grey(numpy.zeros((4, 8))), "is 4×8, its image 2×4; they must be alike: resize the mask"),
    ],
)
def test_a_mask_that_could_mean_something_else_is_refused(pairs: Path, last: Image.Image, fault: str) -> None:
    mask_all(pairs, grey)
    last.save(pairs / "masks" / "9.png")
    for keys in ({}, {"resize": 8}):
        with pytest.raises(DataError, match=rf"9\.png: {fault}") as caught:
            loaded(pairs, "masks", **keys)
        assert "number" in str(caught.value) or "resize" in str(caught.value)


def test_fractions_and_another_palette_are_refused(pairs: Path) -> None:
    mask_all(pairs, lambda mask: Image.fromarray(mask.astype(numpy.float32) / 2), "tif")
    with pytest.raises(DataError, match=r"0\.tif: holds numbers that are not whole; save masks as grey PNG"):
        loaded(pairs, "masks")
    for file in (pairs / "masks").iterdir():
        file.unlink()
    mask_all(pairs, palette)
    other = palette(EVEN)
    other.putpalette([128, 0, 0, 0, 0, 0])
    other.save(pairs / "masks" / "9.png")
    with pytest.raises(DataError, match=r"9\.png: number 0 of its palette is the colour \(128, 0, 0\), and"):
        loaded(pairs, "masks")


def test_masks_that_a_jpeg_has_blurred_are_refused(tmp_path: Path) -> None:
    for number in range(10):
        shape = numpy.zeros((16, 16), numpy.uint8)
        save(tmp_path / f"{number}.png", shape)
        shape[3:9, 2 : 5 + number] = 255
        save(tmp_path / f"{number}_mask.jpg", shape, quality=60)
    with pytest.raises(DataError, match=r"is a JPEG, and compression blurs classes: .*task.mask_threshold = 128"):
        loaded(tmp_path, "masks")


@pytest.mark.parametrize("orientation", range(2, 9))
def test_an_image_and_its_mask_are_turned_alike(tmp_path: Path, orientation: int) -> None:
    mask = numpy.zeros((3, 5), numpy.uint8)
    mask[0, 1:4] = mask[1, 4] = 200
    for number in range(10):
        save(tmp_path / "images" / f"{number}.png", mask + number, orientation)
        save(tmp_path / "masks" / f"{number}.{'png' if number % 2 else 'tif'}", mask, orientation)
    data = loaded(tmp_path, "masks", greyscale=True)
    assert torch.equal(data.train.x[:, 0] >= 200, data.train.y == 1)
    assert data.shape[1:] == ((5, 3) if orientation >= 5 else (3, 5))


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_sizes_say_whether_a_mask_was_made_before_its_image_is_turned(tmp_path: Path, orientation: int) -> None:
    mask = numpy.zeros((3, 5), numpy.uint8)
    mask[0, 1:4] = mask[1, 4] = 200
    shown = {5: mask.T, 6: numpy.rot90(mask, -1), 7: mask[::-1, ::-1].T, 8: numpy.rot90(mask)}[orientation]
    for number in range(10):
        save(tmp_path / "images" / f"{number}.png", mask + number, orientation)
        save(tmp_path / "masks" / f"{number}.png", mask if number % 2 else shown)
    data = loaded(tmp_path, "masks", greyscale=True)
    assert torch.equal(data.train.x[:, 0] >= 200, data.train.y == 1)


def test_a_turn_that_sizes_leave_open_is_asked_about(tmp_path: Path) -> None:
    for number in range(10):
        save(tmp_path / "images" / f"{number}.png", EVEN.astype(numpy.uint8), 3)
        save(tmp_path / "masks" / f"{number}.png", EVEN.astype(numpy.uint8))
    with pytest.raises(DataError, match=r"its image 0.png is to be turned \(EXIF orientation 3\), and the mask"):
        loaded(tmp_path, "masks")


def test_broken_masks_and_images_are_told_at_once_and_left_out_as_pairs(pairs: Path) -> None:
    mask_all(pairs, grey)
    (pairs / "masks" / "3.png").write_bytes(b"")
    (pairs / "images" / "5.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"2 of 20 files .*images/5.png \(not an image\), masks/3.png \(empty\); mend"):
        loaded(pairs, "masks")
    expect(pairs, skip_broken=True)
    data = loaded(pairs, "masks", skip_broken=True)
    assert len(data.train) + len(data.validation) + len(data.test) == 8
    assert "2 of 20 files are broken and left out" in data.notes[0]


def test_every_part_of_its_own_is_read(tmp_path: Path) -> None:
    for part, count, first in (("Train", 6, 0), ("val", 3, 50), ("Test", 4, 90)):
        for number in range(count):
            save(tmp_path / part / f"{number}.tif", numpy.full((2, 4), first + number, numpy.uint8))
            save(tmp_path / part / f"{number}_mask.tif", (EVEN * 255).astype(numpy.uint8))
    data = loaded(tmp_path, "masks")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [6, 3, 4]
    save(tmp_path / "val" / "0_mask.tif", (EVEN * 100).astype(numpy.uint8))
    forget_loaded()
    with pytest.raises(DataError, match="validation masks hold 100"):
        loaded(tmp_path, "masks")
