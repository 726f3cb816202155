"""Missing features, NaN in a table, filled with what the training part has."""

from __future__ import annotations

from dataclasses import replace

import numpy
from numpy.typing import NDArray

from lossforge.data.samples import Array, Labels, RawData, Samples
from lossforge.errors import DataError


def imputed(raw: RawData, rows: Labels, how: str) -> RawData:
    """The set with each feature's NaN replaced by its mean, median or most frequent value among the training ``rows``.

    Of values that are equally frequent it is the least. Raises DataError for a feature that no training row has, and
    for images.
    """
    parts = {"train": raw.train, "validation": raw.validation, "test": raw.test}
    if raw.train.x.shape[2:] != (1, 1):
        raise DataError("task.impute: is for tables and vectors, and this data set holds images; leave it out")
    known = raw.train.x[rows, :, 0, 0]
    fill = numpy.zeros(known.shape[1], dtype=numpy.float32)
    for place in numpy.flatnonzero(_gaps(list(parts.values()))):
        values = known[~numpy.isnan(known[:, place]), place]
        if not len(values):
            raise DataError(
                f"task.impute: no training sample has a value of {feature_name(raw.columns, int(place))}; leave it out "
                "(of a csv: task.drop_columns)"
            )
        fill[place] = _typical(values, how)
    filled = {name: None if part is None else replace(part, x=_filled(part.x, fill)) for name, part in parts.items()}
    assert filled["train"] is not None
    return replace(raw, train=filled["train"], validation=filled["validation"], test=filled["test"])


def feature_name(columns: tuple[tuple[str, int], ...], place: int) -> str:
    """How a sentence calls a feature: by its column, or its number from 0 where columns are not known."""
    for name, width in columns:
        if place < width:
            return f"column '{name}'"
        place -= width
    return f"feature {place}"


def _gaps(parts: list[Samples | None]) -> NDArray[numpy.bool_]:
    """Features ``(F,)`` that some sample lacks."""
    gaps = [numpy.isnan(part.x).any(axis=(0, 2, 3)) for part in parts if part is not None]
    return numpy.asarray(numpy.any(gaps, axis=0))


def _typical(values: Array, how: str) -> float:
    if how == "mean":
        return float(values.mean(dtype=numpy.float64))
    if how == "median":
        return float(numpy.median(values))
    found, counts = numpy.unique(values, return_counts=True)
    return float(found[counts.argmax()])


def _filled(x: Array, fill: NDArray[numpy.float32]) -> Array:
    return numpy.where(numpy.isnan(x), fill[:, None, None], x)
