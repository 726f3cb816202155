"""Several labels a sample: rows ``(N, C)`` that hold 1 for each label that a sample has, and else 0."""

from __future__ import annotations

from collections.abc import Mapping

import numpy

from lossforge.data.samples import Array, Labels, RawData, Samples
from lossforge.errors import DataError


def are_rows(array: Array, count: int) -> bool:
    """Whether an array has a row of numbers, of two or more, for each of ``count`` samples."""
    return array.ndim == 2 and len(array) == count and array.shape[1] > 1 and array.dtype.kind in "biuf"


def as_label_rows(array: Array, origin: str) -> Labels:
    """Rows of 0 and 1, of any type of number, as int64 ``(N, C)``. Raises DataError for any other value."""
    wrong = ~numpy.isin(array, (0, 1))
    if wrong.any():
        row, column = (int(place[0]) for place in wrong.nonzero())
        within = array.dtype.kind == "f" and bool(((array >= 0) & (array <= 1)).all())
        soft = "; these look like probabilities: decide from which on a sample has the label" if within else ""
        raise DataError(
            f"{origin}: sample {row} has {array[row, column]} for label {column}; a row holds 1 for each label that "
            f"the sample has, and else 0{soft}"
        )
    return array.astype(numpy.int64)


def from_label_rows(parts: Mapping[str, tuple[Array, Labels]], origin: str) -> RawData:
    """The set of parts, ``training`` and maybe others, each samples with rows of labels, which go by their numbers.

    Raises DataError where a label cannot be learned, for no training sample has it, or all do, and where parts differ
    in the number of labels.
    """
    rows = parts["training"][1]
    for name, (_, other) in parts.items():
        if other.ndim != rows.ndim or other.shape[1:] != rows.shape[1:]:
            raise DataError(
                f"{origin}: labels of the {name} part have shape {other.shape}, and those of the training part "
                f"{rows.shape}; give both (N, C) for the same C labels"
            )
    names = tuple(map(str, range(rows.shape[1])))
    refuse_constant(
        rows.sum(axis=0), len(rows), origin, names, "leave its column out, or give samples that differ in it"
    )
    samples = {name: Samples(x, y) for name, (x, y) in parts.items()}
    return RawData(samples["training"], samples.get("test"), names, validation=samples.get("validation"))


def refuse_constant(counts: Array, total: int, origin: str, names: tuple[str, ...], remedy: str) -> None:
    """Raise DataError where of ``total`` training samples none has one of the labels, or all do."""
    for count, name in zip(counts.tolist(), names, strict=True):
        if count in (0, total):
            raise DataError(
                f"{origin}: {'no' if count == 0 else 'every'} training sample has label '{name}', so nothing about it "
                f"can be learned; {remedy}"
            )
