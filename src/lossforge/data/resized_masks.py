"""What resizing takes from masks: the classes that it cuts away, or passes over where they are small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import numpy

from lossforge.data.decoding import size_told
from lossforge.data.samples import IGNORED, Labels, LostClass
from lossforge.errors import DataError

REMEDY = "resize to the shape that the masks have, or larger, or leave the class out of the data"


def lost_told(lost: LostClass, size: tuple[int, int]) -> str:
    """What became of a class, in words; ``size`` is that of the resized masks."""
    left = f"in {lost.left}" if lost.left else "in none"
    return (
        f"class '{lost.name}' is in {lost.stored} training masks as they are stored, and {left} once they are cut to "
        f"the middle and resized to {size_told(size)} (task.resize)"
    )


def masks_with(masks: Iterable[Labels]) -> Counter[int]:
    """In how many masks each value is; pixels that do not count are of none."""
    return Counter(value for mask in masks for value in numpy.unique(mask).tolist() if value != IGNORED)


def lost_classes(
    stored: Counter[int], left: Counter[int], size: tuple[int, int], origin: str, name: Callable[[int], str] = str
) -> tuple[LostClass, ...]:
    """Classes that fewer of the resized masks hold. Raises DataError where none holds one any more."""
    lost = tuple(
        LostClass(name(value), count, left[value]) for value, count in sorted(stored.items()) if left[value] < count
    )
    gone = next((one for one in lost if not one.left), None)
    if gone is not None:
        raise DataError(f"{origin}: {lost_told(gone, size)}; {REMEDY}")
    return lost
