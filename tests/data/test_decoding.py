"""Images of every depth and mode as numbers: nothing clipped, everything the right way up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image
from tests.helpers.folders import save

from lossforge.data.decoding import Depth, deep_pixels, open_image, pixels, read_header, read_placing
from lossforge.data.samples import Form
from lossforge.errors import DataError

WORDS = numpy.array([[0, 1000], [30000, 65535]], numpy.uint16)
GREY = Form(greyscale=True)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm", "b.tif"])
def test_sixteen_bits_are_scaled(tmp_path: Path, name: str) -> None:
    words = WORDS.astype(">u2") if name == "b.tif" else WORDS
    Image.fromarray(words).save(tmp_path / name)
    image, depth = open_image(tmp_path / name)
    assert (depth, read_header(tmp_path / name).depth) == (Depth.WORDS, Depth.WORDS)
    grey = deep_pixels(image, depth, GREY)
    assert grey.dtype == numpy.float32
    assert numpy.allclose(grey, WORDS[None] / 65535, atol=1e-7)
    colour = deep_pixels(image, depth, Form())
    assert colour.shape == (3, 2, 2)
    assert (colour == grey).all()
    assert numpy.allclose(deep_pixels(image, depth, Form((1, 1), greyscale=True)), WORDS.mean() / 65535, atol=1e-6)


@pytest.mark.parametrize("values", [[[-3.25, 0.5], [1e6, 1e-6]], [[-1024, 3071], [70000, 0]]])
def test_numbers_without_a_range_are_kept(tmp_path: Path, values: Any) -> None:
    array = numpy.asarray(values, numpy.float32 if isinstance(values[0][0], float) else numpy.int32)
    Image.fromarray(array).save(tmp_path / "a.tiff")
    image, depth = open_image(tmp_path / "a.tiff")
    assert depth == Depth.NUMBERS
    assert (deep_pixels(image, depth, GREY) == array.astype(numpy.float32)).all()


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf])
def test_what_is_no_number_is_refused(tmp_path: Path, value: float) -> None:
    Image.fromarray(numpy.array([[0, value]], numpy.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="holds NaN or infinity"):
        deep_pixels(*open_image(tmp_path / "a.tif"), GREY)


def test_colours_of_sixteen_bits_keep_their_upper_eight(tmp_path: Path) -> None:
    # Pillow writes none: a PNG of one pixel, (0x1234, 0x8000, 0xffff), by hand.
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header, row = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0), b"\0" + bytes.fromhex("12348000ffff")
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    assert read_header(tmp_path / "a.png").coarse
    assert pixels(open_image(tmp_path / "a.png")[0], Form()).ravel().tolist() == [0x12, 0x80, 0xFF]


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_of_bytes_shows_its_colours(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(numpy.array([[[255] * 3, [0] * 3, [255] * 3]], numpy.uint8)).convert(mode)
    name = "a.jpg" if mode in ("CMYK", "YCbCr") else "a.png"
    image.save(tmp_path / name, **({"quality": 100} if name == "a.jpg" else {}))
    opened, depth = open_image(tmp_path / name)
    assert depth == Depth.BYTES
    for form in (Form(), GREY):
        shown = pixels(opened, form)
        assert shown.dtype == numpy.uint8
        assert numpy.abs(shown.astype(int) - [255, 0, 255]).max() <= 2


@pytest.mark.filterwarnings("error")
def test_what_is_see_through_keeps_its_colour(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=bytes([255, 128]))
    assert pixels(open_image(tmp_path / "a.png")[0], Form())[:, 0].T.tolist() == [[10, 20, 30], [200, 100, 0]]
    Image.fromarray(numpy.array([[[1, 2, 3, 0]]], numpy.uint8)).save(tmp_path / "b.png")
    assert pixels(open_image(tmp_path / "b.png")[0], Form()).ravel().tolist() == [1, 2, 3]


def _read_whole(path: Path) -> None:
    read_header(path)
    open_image(path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("name", "options"),
    [("a.png", {}), ("a.tif", {}), ("a.tif", {"compression": "tiff_lzw"}), ("a.webp", {"lossless": True})],
)
def test_images_are_turned_as_their_exif_says(
    tmp_path: Path, name: str, options: dict[str, Any], orientation: int
) -> None:
    stored = (numpy.arange(6, dtype=numpy.uint8) * 40).reshape(2, 3)
    save(tmp_path / name, stored, orientation, **options)
    # As the standard has it: where the stored rows and columns begin on the screen.
    shown = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.T,
        6: numpy.rot90(stored, -1),
        7: stored[::-1, ::-1].T,
        8: numpy.rot90(stored),
    }[orientation]
    placing = read_placing(tmp_path / name)
    assert (placing.size, placing.turn, placing.shown) == ((3, 2), orientation, shown.shape[::-1])
    read = pixels(open_image(tmp_path / name)[0], GREY)[0]
    assert read.shape == shown.shape
    assert numpy.abs(read.astype(int) - shown).max() <= 1


def test_colours_that_cannot_become_grey_are_refused(tmp_path: Path) -> None:
    Image.new("LAB", (2, 2)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="its colours are LAB; save it as RGB or grey"):
        pixels(open_image(tmp_path / "a.tif")[0], GREY)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_why_a_file_is_no_image_is_told(tmp_path: Path) -> None:
    Image.new("RGB", (30, 30), (9, 9, 9)).save(tmp_path / "whole.png")
    Image.new("L", (3, 3)).save(tmp_path / "two.tif", save_all=True, append_images=[Image.new("L", (3, 3))])
    whole = (tmp_path / "whole.png").read_bytes()
    contents = {
        "empty.png": (b"", "empty"),
        "text.jpg": (b"not an image at all", "not an image"),
        "cut.png": (whole[: len(whole) // 2], "unrecognized|truncated|cut|broken|Truncated"),
        "odd.tif": (b"II*\0\x08\0\0\0\0\0", "a kind of TIFF that Pillow does not read"),
        "two.tif": ((tmp_path / "two.tif").read_bytes(), "holds 2 images"),
    }
    for name, (content, reason) in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=reason):
            _read_whole(tmp_path / name)
    with pytest.raises(DataError, match="there is no such file"):
        read_header(tmp_path / "missing.png")
