"""Masks in image files: a class's number for each pixel of the image that they belong to."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy

from lossforge.data.decoding import Placing, open_image, read_header, read_placing, size_told
from lossforge.data.mask_colours import MaskReading
from lossforge.data.resized_masks import masks_with
from lossforge.data.samples import Array, Form, Labels
from lossforge.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

_INSTEAD = "save masks as grey PNG, with the number of its class in each pixel (such as 0 and 1, or 0 and 255)"
_AT_ONCE = 64
"""Masks that are open at a time: whole ones may be large."""
_KINDS = {"1": "1 bit a pixel", "P": "a palette", "I": "32 bits", "F": "floating-point numbers"}


@dataclass(slots=True)
class MaskReader:
    """Reads the masks of one set, and holds what they have in common; ``broken`` are those that cannot be read.

    ``reading`` says what their colours or grey levels are; without it they hold numbers.
    """

    form: Form
    root: Path
    reading: MaskReading | None = None
    broken: dict[str, str] = field(default_factory=dict)
    stored: Counter[int] = field(default_factory=Counter)
    left: Counter[int] = field(default_factory=Counter)
    """In how many of the masks that were ``counted`` each number is, as they are stored, and once they are resized."""
    _kind: tuple[str, Path] | None = None
    _palette: dict[int, tuple[tuple[int, ...], Path]] = field(default_factory=dict)
    _lossy: Path | None = None

    def read(self, pairs: Sequence[tuple[Path, Path]], *, counted: bool = False) -> list[Labels | None]:
        """The mask ``(H, W)`` of each pair of an image and a mask; None where it is broken.

        Raises DataError for a mask that does not fit its image, holds other colours than its classes have, or is of
        another kind than the others.
        """
        masks: list[Labels | None] = []
        with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
            warnings.simplefilter("ignore")  # odd metadata; what cannot be read raises
            for start in range(0, len(pairs), _AT_ONCE):
                some = pairs[start : start + _AT_ONCE]
                masks += [
                    self._read(*pair, opened, counted=counted)
                    for pair, opened in zip(some, pool.map(_open, some), strict=True)
                ]
        return masks

    def _read(self, pictured: Path, path: Path, opened: _Opened | str, *, counted: bool) -> Labels | None:
        if isinstance(opened, str):
            self.broken[path.relative_to(self.root).as_posix()] = opened
            return None
        image, kind, of_mask, of_image = opened
        if self.reading is not None:
            values = self.reading.values(image, path).astype(numpy.int64)
        else:
            if kind == "JPEG":
                self._lossy = path
            values = self._values(image, path)
        if of_image is not None:
            values = _as_shown(values, of_mask, of_image, path, pictured)
        fitted = _fitted(values, self.form)
        if counted and self.form.size is not None:
            self.stored += masks_with([values])
            self.left += masks_with([fitted])
        return fitted

    def refuse_blurred(self, masks: Sequence[Labels]) -> None:
        """Raise DataError where masks are JPEGs and hold more than two values: compression blurs them."""
        if self._lossy is None:
            return
        found = numpy.unique(numpy.concatenate([numpy.unique(mask) for mask in masks]))
        if len(found) > 2:
            shown = ", ".join(map(str, found[:5].tolist()))
            raise DataError(
                f"{self._lossy}: is a JPEG, and compression blurs classes: {len(found)} values ({shown}, ...) are in "
                f"the masks; {_INSTEAD}; or, of two classes, set task.mask_threshold = 128: from there on it is the "
                "second"
            )

    def _values(self, image: Image, path: Path) -> Labels:
        """The numbers of a mask, as it is stored."""
        kind = "16 bits" if image.mode.startswith("I;16") else _KINDS.get(image.mode, "8 bits")
        if self._kind is None:
            self._kind = (kind, path)
        elif self._kind[0] != kind:
            raise DataError(
                f"{path}: has {kind}, and {self._kind[1].name} {self._kind[0]}: one number may be two classes; "
                f"{_INSTEAD}"
            )
        values = _grey(image, path)
        if image.mode == "P":
            self._compare_palette(image, values, path)
        if values.dtype.kind == "f" and not (values == numpy.round(values)).all():
            raise DataError(f"{path}: holds numbers that are not whole; {_INSTEAD}")
        return values.astype(numpy.int64)

    def _compare_palette(self, image: Image, values: Array, path: Path) -> None:
        colours = image.getpalette("RGB") or []
        for number in numpy.unique(values).tolist():
            colour = tuple(colours[3 * number : 3 * number + 3])
            known, other = self._palette.setdefault(number, (colour, path))
            if known != colour:
                raise DataError(
                    f"{path}: number {number} of its palette is the colour {colour}, and {known} in {other.name}: one "
                    f"number may be two classes; {_INSTEAD}"
                )


_Opened = tuple["Image", str, Placing, Placing | None]


def _open(pair: tuple[Path, Path]) -> _Opened | str:
    """A mask with its format, its placing and its image's, None where that is broken; or why it cannot be read."""
    pictured, path = pair
    try:
        kind = read_header(path).format
        image, _ = open_image(path)
        placing = read_placing(path)
    except DataError as error:
        return str(error)
    try:
        return image, kind, placing, read_placing(pictured)
    except DataError:
        return image, kind, placing, None


def _grey(image: Image, path: Path) -> Array:
    """The one number of each pixel ``(H, W)``. Colours that are all grey are numbers too."""
    values = numpy.asarray(image)
    if values.ndim == 2:
        return values
    colours = values[:, :, :1] if image.mode == "LA" else values[:, :, :3]
    see_through = image.mode in ("LA", "RGBA") and (values[:, :, -1] != 255).any()
    if image.mode not in ("LA", "RGB", "RGBA") or see_through or (colours != colours[:, :, :1]).any():
        raise DataError(
            f"{path}: is an image of colours ({image.mode}), and a mask holds numbers; name the classes of its "
            f'colours in task.mask_colours (or "class_dict.csv", where the data have one), or {_INSTEAD}'
        )
    return values[:, :, 0]


def _as_shown(values: Labels, mask: Placing, image: Placing, path: Path, pictured: Path) -> Labels:
    """The mask the way up that its image is shown. Raises DataError where their sizes differ, or leave it open."""
    if mask.turn == image.turn or mask.turn != 1:
        fits = mask.shown == image.shown
    else:
        # The image says that it is to be turned, the mask does not: was it made before or after that?
        fits, stored = mask.size == image.shown, mask.size == image.size
        if fits and stored:
            raise DataError(
                f"{path}: its image {pictured.name} is to be turned (EXIF orientation {image.turn}), and the mask does "
                "not say whether it is turned already; save the image without EXIF orientation, the way up that its "
                "mask has"
            )
        if stored:
            return _turned(values, image.turn)
    if not fits:
        # As they are stored: a mask of another size might be resized to the image's, and would show another place.
        raise DataError(
            f"{path}: is {size_told(mask.shown[::-1])}, its image {size_told(image.shown[::-1])}; they must be alike: "
            "resize the mask to its image, by the nearest pixel"
        )
    return values


def _turned(values: Labels, turn: int) -> Labels:
    """An array ``(H, W)`` as an EXIF orientation from 1 to 8 shows it.

    >>> [_turned(numpy.array([[1, 2], [3, 4]]), turn).tolist() for turn in (6, 8, 3)]
    [[[3, 1], [4, 2]], [[2, 4], [1, 3]], [[4, 3], [2, 1]]]
    """
    if turn >= 5:
        values = values.T
    # What is left to do with rows and columns, turned about the diagonal or not.
    if turn in (2, 3, 6, 7):
        values = values[:, ::-1]
    if turn in (3, 4, 7, 8):
        values = values[::-1]
    return numpy.ascontiguousarray(values)


def _fitted(values: Labels, form: Form) -> Labels:
    """The mask cut to the middle and resized as its image is, by its nearest pixel: classes are never mixed."""
    import PIL.Image
    from PIL import ImageOps
    from PIL.Image import Resampling

    if form.size is None:
        return values
    image = PIL.Image.fromarray(values.astype(numpy.int32))
    return numpy.asarray(ImageOps.fit(image, form.size[::-1], Resampling.NEAREST)).astype(numpy.int64)
