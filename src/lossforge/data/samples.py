"""What a reader of data gives: samples, labels and classes, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from lossforge.errors import DataError

Array = NDArray[Any]
Labels = NDArray[numpy.int64]

IGNORED = -100
"""In place of a class, in a mask: the pixel is out of the loss, the metrics and the classes. It is torch's own."""
_CHANNELS = (1, 3, 4)


class LostClass(NamedTuple):
    """A class, the training masks that hold it as they are stored, and those that still do once they are resized."""

    name: str
    stored: int
    left: int


@dataclass(frozen=True, slots=True)
class Form:
    """What a task asks of its data in reading.

    Images: ``(height, width)``, or as they are; grey, or as they are; whether a validation part of their own is read,
    folders in a class's folder belong to the class, broken files are left out. Tables: which columns are left out,
    whether missing values are kept as NaN (to be imputed), which columns are categories (True: those that hold text).
    ``several_labels``: whether rows of labels say what a sample has, each 0 or 1, and not which class it is of.
    ``ignore``: the value of a mask's pixels that do not count, or the name of their class. ``mask_colours``,
    ``mask_threshold``, ``nearest_colour``: which class a mask's colours or grey levels are; see the task's keys.
    """

    size: tuple[int, int] | None = None
    greyscale: bool = False
    drop_index: bool = False
    drop_columns: tuple[str, ...] = ()
    keep_missing: bool = False
    one_hot: bool | tuple[str, ...] = False
    own_validation: bool = True
    nested: bool = False
    skip_broken: bool = False
    several_labels: bool = False
    ignore: int | str | None = None
    mask_colours: str | tuple[tuple[str, tuple[int, int, int]], ...] = ()
    mask_threshold: int | None = None
    nearest_colour: bool = False


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples ``x``, uint8 or float32 of shape ``(N, C, H, W)``, and ``y``, int64, or int16 where they are masks.

    ``y`` holds class indices ``(N,)``, or rows of labels ``(N, C)``, each 0 or 1, or a mask a sample, ``(N, H, W)``.
    Pixels that do not count are `IGNORED`. ``given`` are the labels ``(N,)`` that people gave, where there are such.
    """

    x: Array
    y: Array
    given: Labels | None = None

    def __len__(self) -> int:
        return len(self.y)

    @property
    def strata(self) -> Labels:
        """What the parts keep in proportion: classes ``(N,)``, labels ``(N, C)``, or whether a mask shows anything."""
        if self.y.ndim < 3:
            return self.y
        return numpy.asarray((self.y > 0).any(axis=(1, 2)), dtype=numpy.int64)


@dataclass(frozen=True, slots=True)
class RawData:
    """A data set as it was read. ``test`` and ``validation`` are None where it has no such part of its own.

    ``ready`` data are scaled and in mixed order already; they are taken as they are. ``notes`` are sentences that the
    doctor and a search's first lines tell: what was left out in reading, and what was found. ``columns`` are a
    table's, each with its name and the number of features it became. ``lost`` are classes that were resized away from
    some training masks in reading.
    """

    train: Samples
    test: Samples | None
    names: tuple[str, ...]
    ready: bool = False
    validation: Samples | None = None
    notes: tuple[str, ...] = ()
    columns: tuple[tuple[str, int], ...] = ()
    lost: tuple[LostClass, ...] = ()

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.names)


def as_images(array: Array, origin: str) -> Array:
    """Images of shape ``(N, H, W)``, ``(N, H, W, C)`` or ``(N, C, H, W)`` as ``(N, C, H, W)``, uint8 or float32."""
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[3] in _CHANNELS:
        array = array.transpose(0, 3, 1, 2)
    elif array.ndim != 4 or array.shape[1] not in _CHANNELS:
        raise DataError(
            f"{origin}: has shape {array.shape}; images must be (N, H, W), (N, H, W, C) or (N, C, H, W) with 1, 3 or "
            "4 channels, and vectors (N, F)"
        )
    if 0 in array.shape:
        raise DataError(f"{origin}: has shape {array.shape}; it must hold a sample at least")
    return as_numbers(array, origin)


def as_numbers(array: Array, origin: str) -> Array:
    """The array as uint8 or float32. Raises DataError for what is neither, and for NaN and infinity."""
    if array.dtype == numpy.bool_:
        return array.astype(numpy.uint8) * numpy.uint8(255)
    if numpy.issubdtype(array.dtype, numpy.floating):
        with numpy.errstate(over="ignore"):
            numbers = numpy.ascontiguousarray(array, dtype=numpy.float32)
        if not numpy.isfinite(numbers).all():
            raise DataError(f"{origin}: holds NaN or infinity (as float32); every value must be a finite number")
        return numbers
    if not numpy.issubdtype(array.dtype, numpy.integer):
        raise DataError(f"{origin}: holds {array.dtype}; it must hold uint8 or floating-point numbers")
    if array.dtype != numpy.uint8 and (array.min() < 0 or array.max() > 255):
        raise DataError(f"{origin}: holds whole numbers beyond 0 to 255; give it as uint8 or as floating-point numbers")
    return numpy.ascontiguousarray(array, dtype=numpy.uint8)


def as_vectors(array: Array, origin: str, *, keep_missing: bool = False) -> Array:
    """Features ``(N, F)`` as float32 ``(N, F, 1, 1)``; NaN stays where ``keep_missing``, and else raises DataError."""
    if 0 in array.shape:
        raise DataError(f"{origin}: has shape {array.shape}; it must hold a sample and a feature at least")
    if array.dtype.kind not in "biuf":
        raise DataError(f"{origin}: holds {array.dtype}; it must hold numbers")
    with numpy.errstate(over="ignore"):
        numbers = numpy.ascontiguousarray(array, dtype=numpy.float32)
    missing = numpy.isnan(array) if array.dtype.kind == "f" else numpy.zeros(array.shape, dtype=bool)
    if missing.any() and not keep_missing:
        row, column = (int(place[0]) for place in missing.nonzero())
        raise DataError(
            f"{origin}: sample {row} has no feature {column} (NaN), nor have {int(missing.sum()) - 1:,} other places a "
            'value; set task.impute = "median", or mean or most_frequent, to fill them from the training part'
        )
    if not numpy.isfinite(numbers[~missing]).all():
        raise DataError(f"{origin}: holds infinity (as float32); every value must be a finite number")
    return numbers[:, :, None, None]
