"""Labels as people write them - numbers, text, one-hot rows - as values that name a class each."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy
from numpy.typing import NDArray

from lossforge.data.label_rows import are_rows, as_label_rows, from_label_rows
from lossforge.data.samples import Array, Labels, RawData, Samples
from lossforge.errors import DataError

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INFINITY = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
MISSING = frozenset(
    ["", "?", "nan", "NaN", "NAN", "-nan", "-NaN", "NA", "N/A", "n/a", "#NA", "#N/A", "<NA>", "null", "NULL", "None"]
)
"""Cells that hold no value: those that pandas reads so, and the question mark of the UCI repository."""
_LARGEST = 2**53
"""The largest whole number up to which floating-point numbers tell all whole numbers apart."""


def is_number(text: str) -> bool:
    """Whether a stripped cell is a number, infinity included.

    >>> [is_number(text) for text in ("1", "-2.5e3", ".5", "inf", "nan", "1_000", "1,5", "")]
    [True, True, True, True, False, False, False, False]
    """
    return bool(_NUMBER.fullmatch(text) or _INFINITY.fullmatch(text))


def as_plain(text: str) -> str:
    """A number without what does not change its value; any other text stripped.

    >>> [as_plain(text) for text in (" 1.0", "1", "1e2", "-0", "2.50", "yes ")]
    ['1', '1', '100', '0', '2.5', 'yes']
    """
    text = text.strip()
    if not _NUMBER.fullmatch(text) or len(text) > 40 or abs((value := Decimal(text)).adjusted()) > 40:
        return text
    return str(int(value)) if value == int(value) else f"{value.normalize():f}"


def labels_of_text(cells: Sequence[str], where: Callable[[int], str], origin: str, remedy: str) -> Array:
    """A label for each cell: int64 ``(N,)`` where every one is a whole number, else text, ``1.0`` as ``1``.

    ``where`` names the place of a cell, ``remedy`` says what helps where the column is no label. Raises DataError for
    a missing label, and for numbers that are not whole.
    """
    texts = [cell.strip() for cell in cells]
    distinct = set(texts)
    numbers = all(is_number(text) or text in MISSING for text in distinct)
    # A class may well be called None; among numbers it is a missing one.
    missing = distinct & (MISSING if numbers else MISSING - {"None"})
    if missing:
        place = next(place for place, text in enumerate(texts) if text in missing)
        shown = f" ('{texts[place]}')" if texts[place] else ""
        raise DataError(f"{origin}: {where(place)} has no label{shown}; give it one, or take it out")
    plain = {text: as_plain(text) for text in distinct}
    if not numbers:
        return numpy.asarray([plain[text] for text in texts])
    wrong = {text for text in distinct if not _is_class_number(plain[text])}
    if wrong:
        place = next(place for place, text in enumerate(texts) if text in wrong)
        raise DataError(
            f"{origin}: the labels are not whole numbers ({where(place)} has '{texts[place]}'); a label is a class's "
            f"number or name; {remedy}"
        )
    return numpy.asarray([int(plain[text]) for text in texts], dtype=numpy.int64)


def _is_class_number(plain: str) -> bool:
    return re.fullmatch(r"-?\d{1,18}", plain, re.ASCII) is not None


def as_labels(array: Array, count: int, origin: str, *, several: bool = False) -> Array:
    """A label for each of ``count`` samples: int64, or text, ``(N,)``.

    Read are whole numbers and text, ``(N,)`` or ``(N, 1)``, and one-hot rows ``(N, C)``; where a sample may have
    ``several``, rows of 0 and 1 ``(N, C)``, which stay what they are. Raises DataError for all else.
    """
    if are_rows(array, count):
        return as_label_rows(array, origin) if several else _of_rows(array, origin)
    if array.shape not in ((count,), (count, 1)):
        raise DataError(
            f"{origin}: has shape {array.shape}; it must be ({count},), a label for each sample, or ({count}, C) with "
            "one-hot rows"
        )
    flat = array.reshape(-1)
    if flat.dtype.kind == "S":
        try:
            flat = numpy.char.decode(flat, "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{origin}: holds bytes that are no UTF-8 text ({error.reason}); write text") from None
    if flat.dtype.kind == "U":
        return labels_of_text(flat.tolist(), lambda place: f"sample {place}", origin, "write the names of classes")
    return as_whole(flat, origin)


def _of_rows(array: Array, origin: str) -> Labels:
    """The place of the one 1 in each row."""
    if not numpy.isin(array, (0, 1)).all():
        soft = "they look like probabilities; " if ((array >= 0) & (array <= 1)).all() else ""
        raise DataError(
            f"{origin}: has shape {array.shape}, and rows that are not one-hot (a 1 and else 0); {soft}give each "
            "sample one label"
        )
    marked = (array == 1).sum(axis=1)
    if (marked != 1).any():
        place = int(numpy.argmax(marked != 1))
        raise DataError(
            f"{origin}: holds several labels for a sample, or none ({int((marked != 1).sum()):,} of {len(array):,} "
            f'rows; row {place} has {int(marked[place])}); to train all of them, set task.head = "sigmoid"; for one '
            f"class a sample keep one column, as {origin.rpartition(': ')[2]}[:, 0]"
        )
    return numpy.asarray(array.argmax(axis=1), dtype=numpy.int64)


def as_whole(array: Array, origin: str) -> Labels:
    """The array as int64, nothing wrapped round. Raises DataError where a value is not a whole number that fits."""
    if array.dtype.kind in "bi":
        return array.astype(numpy.int64)
    if array.dtype.kind not in "uf":
        raise DataError(f"{origin}: holds {array.dtype} values; a label is a class's number or name")
    limit = numpy.iinfo(numpy.int64).max if array.dtype.kind == "u" else _LARGEST
    with numpy.errstate(invalid="ignore"):
        wrong = array > limit
        if array.dtype.kind == "f":
            wrong |= ~(array >= -limit) | (array != numpy.round(array))
    if wrong.any():
        value = array[wrong].reshape(-1)[0]
        fit = f" within ±{limit:,}" if abs(value) > limit and numpy.isfinite(value) else ""
        raise DataError(f"{origin}: holds {value}, which is no whole number{fit}; a label is a class's number or name")
    return array.astype(numpy.int64)


Labelled = tuple[Array, NDArray[Any]]
"""Samples ``(N, C, H, W)``, and a label for each, or a row of labels, as `as_labels` gives them."""


def from_labels(
    train: Labelled,
    origin: str,
    *,
    validation: Labelled | None = None,
    test: Labelled | None = None,
    columns: tuple[tuple[str, int], ...] = (),
    notes: tuple[str, ...] = (),
) -> RawData:
    """Number the classes 0, 1 ... in the order of their labels; rows of several labels stay as they are.

    Raises DataError where classes cannot be told apart, and where parts are not alike.
    """
    given = {"training": train, "validation": validation, "test": test}
    parts = {name: part for name, part in given.items() if part is not None}
    _refuse_unlike({name: x for name, (x, _) in parts.items()}, origin)
    if any(y.ndim == 2 for _, y in parts.values()):
        return from_label_rows(parts, origin)
    if len({part[1].dtype.kind for part in parts.values()}) > 1:  # one part's labels all happen to be numbers
        parts = {name: (x, y.astype(str)) for name, (x, y) in parts.items()}
    found = numpy.unique(parts["training"][1])
    if len(found) < 2:
        raise DataError(f"{origin}: every sample has the same label, {found[0]}; there must be two classes at least")
    samples = {}
    for name, (x, y) in parts.items():
        unknown = numpy.setdiff1d(y, found)
        if len(unknown):
            raise DataError(f"{origin}: the {name} part has label {unknown[0]}, which no training sample has")
        samples[name] = Samples(x, numpy.searchsorted(found, y).astype(numpy.int64))
    names = tuple(str(label) for label in found.tolist())
    return RawData(
        samples["training"],
        samples.get("test"),
        names,
        validation=samples.get("validation"),
        columns=columns,
        notes=notes,
    )


def _refuse_unlike(samples: dict[str, Array], origin: str) -> None:
    """Raise DataError where samples of two parts differ in shape or type."""
    first = samples["training"]
    for name, x in samples.items():
        if x.shape[1:] != first.shape[1:] or x.dtype != first.dtype:
            raise DataError(
                f"{origin}: {name} samples are {x.dtype} of shape {x.shape[1:]}, training samples {first.dtype} of "
                f"shape {first.shape[1:]}; they must be alike"
            )
