"""One image file as numbers: its own depth of colour, its own way up, and never cut off at 255."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy

from lossforge.data.samples import Array, Form
from lossforge.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

_ORIENTATION, _WIDTH, _LENGTH, _FORMAT = 274, 256, 257, 339
"""Numbers of tags of EXIF and TIFF."""
_UNSIGNED = 1


class Depth(IntEnum):
    """What a pixel of an image holds."""

    BYTES = 0
    """0 to 255, in each colour."""
    WORDS = 1
    """0 to 65535, grey."""
    NUMBERS = 2
    """Numbers without a range that the file would say, grey: floating-point ones, and whole ones of 32 bits."""


class Header(NamedTuple):
    """What is known of an image before its pixels are read."""

    depth: Depth
    format: str
    coarse: bool
    """Whether colours of 16 bits are read as their upper 8."""


class Placing(NamedTuple):
    """Width and height of an image as it is stored, and its EXIF orientation."""

    size: tuple[int, int]
    turn: int

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height as a viewer shows the image."""
        return self.size if self.turn < 5 else (self.size[1], self.size[0])


def read_header(path: Path) -> Header:
    """Depth of an image; cheap. Raises DataError that says why a file is no image, or not one image alone."""
    with _opened(path) as image:
        coarse = len(image.getbands()) > 1 and ";16" in str(getattr(image, "tile", ""))
        frames = getattr(image, "n_frames", 1) if image.format != "MPO" else 1
        if frames > 1:
            raise DataError(f"holds {frames} images; save the one to be read")
        return Header(_depth(image), image.format or "", coarse)


def read_placing(path: Path) -> Placing:
    """Size and orientation of an image. Raises DataError that says why it cannot be read."""
    with _opened(path) as image:
        tags = getattr(image, "tag_v2", None)
        size = (tags[_WIDTH], tags[_LENGTH]) if tags is not None else image.size
        turn = image.getexif().get(_ORIENTATION, 1)
        return Placing(size, turn if turn in range(1, 9) else 1)


def _depth(image: Image) -> Depth:
    # Older Pillow reads a PNG of 16 bits as I, and every Pillow a PGM of more than 8, whose values it scales.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return Depth.WORDS
    return Depth.NUMBERS if image.mode in ("I", "F") else Depth.BYTES


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    """The image, its pixels not read yet. Raises DataError, also for what Pillow says within the block."""
    import PIL
    import PIL.Image

    try:
        # A stream, not a path: Pillow would map the file, and its maps of turned TIFFs are wrong (as of 13.0).
        with path.open("rb") as stream, PIL.Image.open(stream) as image:
            yield image
    except PIL.UnidentifiedImageError:
        raise DataError(_no_image(path)) from None
    except FileNotFoundError:
        raise DataError("there is no such file") from None
    except (DataError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise what they come across in a damaged file
        raise DataError(" ".join(str(error).split()) or type(error).__name__) from None


def _no_image(path: Path) -> str:
    with path.open("rb") as stream:
        first = stream.read(4)
    if not first:
        return "empty"
    if first in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "a kind of TIFF that Pillow does not read; save it as grey or RGB, or give arrays as npz:"
    return "not an image"


def open_image(path: Path) -> tuple[Image, Depth]:
    """The whole image in memory, turned as its EXIF orientation says. Raises DataError that says why it cannot be."""
    from PIL import ImageOps

    with _opened(path) as image:
        depth = _depth(image)
        unsigned = image.mode == "I" and getattr(image, "tag_v2", {}).get(_FORMAT, (_UNSIGNED,))[0] == _UNSIGNED
        image.load()  # a TIFF is turned by this, and has no orientation from now on
        if unsigned and numpy.asarray(image).min() < 0:
            raise DataError("holds whole numbers beyond 2,147,483,647; save it as floating-point numbers")
        return ImageOps.exif_transpose(image), depth


def pixels(image: Image, form: Form) -> Array:
    """An image of bytes as uint8 ``(C, H, W)``: grey or RGB, cut to the middle of its shape and resized if asked."""
    from PIL import ImageOps
    from PIL.Image import Resampling

    try:
        if "transparency" in image.info and image.mode == "P":
            image = image.convert("RGBA")  # what is see-through keeps its colour
        image = image.convert("L" if form.greyscale else "RGB")
    except ValueError:
        raise DataError(f"its colours are {image.mode}; save it as RGB or grey") from None
    if form.size is not None:
        image = ImageOps.fit(image, form.size[::-1], Resampling.BILINEAR)
    array = numpy.asarray(image)
    return array[None] if form.greyscale else array.transpose(2, 0, 1)


def deep_pixels(image: Image, depth: Depth, form: Form) -> Array:
    """As `pixels`, float32: bytes and words as 0 to 1, other numbers as they are. Raises DataError for NaN."""
    import PIL.Image
    from PIL import ImageOps
    from PIL.Image import Resampling

    if depth == Depth.BYTES:
        return pixels(image, form).astype(numpy.float32) / numpy.float32(255)
    values = numpy.asarray(image).astype(numpy.float32)
    if not numpy.isfinite(values).all():
        raise DataError("holds NaN or infinity")
    if depth == Depth.WORDS:
        values /= numpy.float32(65535)
    if form.size is not None:
        resized = ImageOps.fit(PIL.Image.fromarray(values), form.size[::-1], Resampling.BILINEAR)
        values = numpy.asarray(resized)
    return values[None] if form.greyscale else numpy.repeat(values[None], 3, axis=0)


def size_told(shape: tuple[int, ...]) -> str:
    """Height and width as a sentence gives them.

    >>> size_told((3, 28, 32))
    '28×32'
    """
    return f"{shape[-2]}×{shape[-1]}"
