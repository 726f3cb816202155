"""Classes made of a set's own: some of them alone, or one or several against the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy

from lossforge.data.samples import IGNORED, Array, RawData, Samples
from lossforge.data.splits import Part
from lossforge.errors import DataError, offered
from lossforge.spaces.schema import TaskSection

_SHOWN = 3
"""Classes that a name of several lists."""


def with_only(raw: RawData, task: TaskSection) -> RawData:
    """The set without the samples of classes that ``task.only`` does not name; the others are numbered anew."""
    if not task.only:
        return raw
    if raw.train.y.ndim != 1:
        raise DataError(f"task.only: is for one class a sample, and '{task.data}' has several labels; leave it out")
    kept = _numbers(task.only, raw.names, "only", task)
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
    return replace(_each_part(raw, of), names=names, notes=(*raw.notes, note))


def with_positive(raw: RawData, task: TaskSection) -> RawData:
    """The set with two classes: 1 where a sample or pixel is of one that ``task.positive`` names, else 0."""
    if not task.positive:
        return raw
    if raw.train.y.ndim == 2:
        raise DataError(f"task.positive: is for one class a sample, and '{task.data}' has several labels; leave it out")
    chosen = _numbers(task.positive, raw.names, "positive", task)
    if len(chosen) == raw.classes:
        raise DataError(f"task.positive: names every class of '{task.data}', and leaves none for the rest")
    others = [number for number in range(raw.classes) if number not in chosen]
    table = numpy.zeros(raw.classes, numpy.int64)
    table[chosen] = 1

    def of(samples: Samples) -> Samples:
        given = None if samples.given is None else table[samples.given]
        return Samples(samples.x, _mapped(samples.y, table), given)

    names = (
        raw.names[others[0]] if len(others) == 1 else "rest",
        _told([raw.names[number] for number in chosen]),
    )
    if names[0] == names[1]:
        names = ("the rest", names[1])
    return replace(_each_part(raw, of), names=names)


def _each_part(raw: RawData, change: Callable[[Samples], Samples]) -> RawData:
    test, validation = (None if part is None else change(part) for part in (raw.test, raw.validation))
    return replace(raw, train=change(raw.train), test=test, validation=validation)


def positive_told(task: TaskSection, train: Part, names: tuple[str, ...]) -> list[str]:
    """A sentence for what became of the classes."""
    if not task.positive:
        return []
    counts = train.counts(2)
    unit = "pixels" if train.y.ndim == 3 else "samples"
    return [
        f"task.positive: class 1 is '{names[1]}', class 0 '{names[0]}'; {int(counts[1]):,} of {int(counts.sum()):,} "
        f"training {unit} are of class 1"
    ]


def _mapped(y: Array, table: Array) -> Array:
    """Classes ``(N,)``, or masks ``(N, H, W)`` of which pixels that do not count stay what they are."""
    if y.ndim == 1:
        mapped: Array = table[y]
        return mapped
    masks = numpy.empty(y.shape, y.dtype)
    for place, mask in enumerate(y):
        masks[place] = numpy.where(mask == IGNORED, IGNORED, table[numpy.maximum(mask, 0)])
    return masks


def _numbers(wanted: Sequence[str], names: tuple[str, ...], key: str, task: TaskSection) -> list[int]:
    """The numbers of classes, in the data's order. Raises DataError for a name that the data do not have."""
    for name in wanted:
        if name not in names:
            raise DataError(f"task.{key}: '{name}' is no class of '{task.data}'{offered(name, names)}")
    return [number for number, name in enumerate(names) if name in wanted]


def _told(names: Sequence[str]) -> str:
    """Several classes as one name.

    >>> _told(["a"]), _told(["a", "b"]), _told(["a", "b", "c", "d", "e"])
    ('a', 'a or b', 'a or b or c or 2 more')
    """
    more = [] if len(names) <= _SHOWN else [f"{len(names) - _SHOWN} more"]
    return " or ".join([*names[:_SHOWN], *more])
