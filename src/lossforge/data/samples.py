"""What a reader of data gives: samples, labels and classes, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from lossforge.errors import DataError

Array = NDArray[Any]
Labels = NDArray[numpy.int64]

_CHANNELS = (1, 3, 4)


@dataclass(frozen=True, slots=True)
class Form:
    """The form that a task asks images to have: ``(height, width)``, or as they are; grey, or as they are."""

    size: tuple[int, int] | None = None
    greyscale: bool = False


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples ``x``, uint8 or float32 of shape ``(N, C, H, W)``, and ``y``, int64.

    ``y`` holds class indices ``(N,)``, or a mask a sample, ``(N, H, W)``.
    """

    x: Array
    y: Labels

    def __len__(self) -> int:
        return len(self.y)

    @property
    def strata(self) -> Labels:
        """What the parts keep in proportion, ``(N,)``: the class, or whether a mask shows anything."""
        if self.y.ndim == 1:
            return self.y
        return numpy.asarray((self.y > 0).any(axis=(1, 2)), dtype=numpy.int64)


@dataclass(frozen=True, slots=True)
class RawData:
    """A data set as it was read. ``test`` and ``validation`` are None where it has no such part of its own.

    ``ready`` data are scaled and in mixed order already; they are taken as they are. ``notes`` are sentences that the
    doctor and a search's first lines tell: what was left out in reading, and what was found.
    """

    train: Samples
    test: Samples | None
    names: tuple[str, ...]
    ready: bool = False
    validation: Samples | None = None
    notes: tuple[str, ...] = ()

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
            "4 channels"
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


def as_labels(array: Array, count: int, origin: str) -> Labels:
    """Labels of shape ``(N,)`` or ``(N, 1)``, whole numbers, as int64 ``(N,)``."""
    if array.shape not in ((count,), (count, 1)):
        raise DataError(f"{origin}: has shape {array.shape}; it must be ({count},), a label for each sample")
    return as_whole(array.reshape(-1), origin)


def as_whole(array: Array, origin: str) -> Labels:
    """The array as int64. Raises DataError where a value is not a whole number."""
    if array.dtype == numpy.bool_ or numpy.issubdtype(array.dtype, numpy.integer):
        return array.astype(numpy.int64)
    if numpy.issubdtype(array.dtype, numpy.floating) and (array == numpy.round(array)).all():
        return array.astype(numpy.int64)
    raise DataError(f"{origin}: holds {array.dtype} values that are not whole numbers; a label is a class's number")


def from_labels(x: Array, y: Labels, x_test: Array | None, y_test: Labels | None, origin: str) -> RawData:
    """Number the classes 0, 1 ... in the order of their labels. Raises DataError where they cannot be told apart."""
    found = numpy.unique(y)
    if len(found) < 2:
        raise DataError(f"{origin}: every sample has the same label, {found[0]}; there must be two classes at least")
    names = tuple(str(label) for label in found.tolist())
    train = Samples(x, numpy.searchsorted(found, y).astype(numpy.int64))
    if x_test is None or y_test is None:
        return RawData(train, None, names)
    unknown = numpy.setdiff1d(y_test, found)
    if len(unknown):
        raise DataError(f"{origin}: the test part has label {unknown[0]}, which no training sample has")
    if x_test.shape[1:] != x.shape[1:] or x_test.dtype != x.dtype:
        raise DataError(
            f"{origin}: test samples are {x_test.dtype} of shape {x_test.shape[1:]}, training samples {x.dtype} of "
            f"shape {x.shape[1:]}; they must be alike"
        )
    return RawData(train, Samples(x_test, numpy.searchsorted(found, y_test).astype(numpy.int64)), names)
