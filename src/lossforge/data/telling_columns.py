"""Features of a table that tell the class, or a label, on their own, as an index of rows sorted by class does."""

from __future__ import annotations

import numpy
from numpy.typing import NDArray

from lossforge.data.samples import Labels
from lossforge.data.splits import Part, TaskData

_TELLS_FROM = 0.95
"""Share of the samples of a class, averaged over the classes, from which a column tells the class on its own."""
_SAMPLES = 5_000
"""Training and validation samples that are looked at."""
_FEWEST = 30
"""With fewer samples a column may tell by chance."""
_COLUMNS = 2_000
"""Columns that are looked at; where there are several labels, columns times labels."""


def telling_columns(data: TaskData) -> list[tuple[str, float]]:
    """Columns whose value alone tells the class, with the balanced accuracy; none for images.

    Each sample is given the class that most others of its value have, or, where it is the only one of its value, those
    of the next values (leave-one-out). Only the training and validation parts are looked at. Of several labels a sample
    each is looked at apart, and the one told best counts.
    """
    if data.segmentation or data.shape[1:] != (1, 1):
        return []
    x, y = _sampled(data.train, data.validation)
    if len(y) < _FEWEST:
        return []
    columns = data.columns or tuple((f"feature {place}", 1) for place in range(x.shape[1]))
    found = []
    first = 0
    for name, width in columns[: _COLUMNS // (data.classes if data.several_labels else 1)]:
        values = x[:, first] if width == 1 else x[:, first : first + width].argmax(axis=1)
        first += width
        if data.several_labels:
            score = max(_told_by(values, label, 2) for label in y.T)
        else:
            score = _told_by(values, y, data.classes)
        if score >= _TELLS_FROM:
            found.append((name, score))
    return sorted(found, key=lambda one: (-one[1], one[0]))


def _sampled(*parts: Part) -> tuple[NDArray[numpy.float32], Labels]:
    x = [chunk[:, :, 0, 0].cpu().numpy() for part in parts for chunk in part.first(_SAMPLES).chunks(1024)]
    y = [part.first(_SAMPLES).y.cpu().numpy() for part in parts]
    return numpy.concatenate(x), numpy.concatenate(y)


def _told_by(values: NDArray[numpy.float32], y: Labels, classes: int) -> float:
    """Balanced accuracy of guessing each sample's class by the other samples' values."""
    distinct, group = numpy.unique(values, return_inverse=True)
    if len(distinct) < 2:
        return 0.0
    counts = numpy.zeros((len(distinct), classes), dtype=numpy.int64)
    numpy.add.at(counts, (group, y), 1)
    others = counts[group]
    rows = numpy.arange(len(y))
    others[rows, y] -= 1
    alone = others.sum(axis=1) == 0
    before, after = counts[numpy.maximum(group - 1, 0)], counts[numpy.minimum(group + 1, len(distinct) - 1)]
    nearer = _nearer(distinct, group)
    others[alone] = numpy.where(nearer[alone, None], before[alone], after[alone])
    right = others.argmax(axis=1) == y
    present = numpy.bincount(y, minlength=classes)
    shares = numpy.bincount(y, weights=right, minlength=classes)[present > 0] / present[present > 0]
    return float(shares.mean())


def _nearer(distinct: NDArray[numpy.float32], group: NDArray[numpy.int64]) -> NDArray[numpy.bool_]:
    """Whether the value before each sample's is nearer than the value after; at the ends there is one alone."""
    gaps = numpy.diff(distinct.astype(numpy.float64))
    below = numpy.concatenate([[numpy.inf], gaps])
    above = numpy.concatenate([gaps, [numpy.inf]])
    return numpy.asarray((below <= above)[group])
