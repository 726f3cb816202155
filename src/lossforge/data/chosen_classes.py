"""Some of a set's classes alone (``task.only``)."""

from __future__ import annotations

from dataclasses import replace

import numpy

from lossforge.data.samples import RawData, Samples
from lossforge.errors import DataError, offered
from lossforge.spaces.schema import TaskSection


def with_only(raw: RawData, task: TaskSection) -> RawData:
    """The set without the samples of classes that ``task.only`` does not name; the others are numbered anew."""
    if not task.only:
        return raw
    if raw.train.y.ndim != 1:
        raise DataError(f"task.only: is for one class a sample, and '{task.data}' has several labels; leave it out")
    unknown = next((name for name in task.only if name not in raw.names), None)
    if unknown is not None:
        raise DataError(f"task.only: '{unknown}' is no class of '{task.data}'{offered(unknown, raw.names)}")
    kept = [number for number, name in enumerate(raw.names) if name in task.only]
    if len(kept) < 2:
        raise DataError(f"task.only: leaves '{task.data}' one class; name two at least")
    number = numpy.full(raw.classes, -1, numpy.int64)
    number[kept] = numpy.arange(len(kept))

    def of(samples: Samples) -> Samples:
        rows = numpy.flatnonzero(number[samples.y] >= 0)
        return Samples(samples.x[rows], number[samples.y[rows]])

    train = of(raw.train)
    if len(numpy.unique(train.y)) < len(kept):
        raise DataError(f"task.only: the training part of '{task.data}' has not all of {', '.join(task.only)}")
    left = len(raw.train) - len(train)
    note = f"task.only: {len(kept)} of {raw.classes} classes; {left:,} training samples of others are left out"
    names = tuple(raw.names[number] for number in kept)
    test, validation = (None if part is None else of(part) for part in (raw.test, raw.validation))
    return replace(raw, train=train, test=test, validation=validation, names=names, notes=(*raw.notes, note))
