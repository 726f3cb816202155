"""A task of two classes made of one of many: some of its classes against all others (``task.positive``)."""

from __future__ import annotations

from dataclasses import replace

import numpy

from lossforge.data.samples import IGNORED, Labels, RawData, Samples
from lossforge.data.splits import Part
from lossforge.errors import DataError, offered
from lossforge.spaces.schema import TaskSection


def against_rest(raw: RawData, task: TaskSection) -> RawData:
    """The set with class 0, all others, and class 1, those in ``task.positive``; itself where none is named.

    Of masks it is every pixel's class. Raises DataError for a class that there is not, for classes of which nothing is
    left, and for samples that have several labels.
    """
    if not task.positive:
        return raw
    for name in task.positive:
        if name not in raw.names:
            raise DataError(f"task.positive: '{task.data}' has no class '{name}'{offered(name, raw.names)}")
    if raw.train.y.ndim == 2:
        raise DataError(
            f"task.positive: a sample of '{task.data}' has several labels, each there or not already; leave it out"
        )
    if len(set(task.positive)) == raw.classes:
        raise DataError(f"task.positive: names all {raw.classes} classes of '{task.data}', and nothing is left as rest")
    wanted = numpy.array([name in task.positive for name in raw.names])
    parts = {name: getattr(raw, name) for name in ("train", "test", "validation")}
    turned = {name: None if part is None else _turned(part, wanted) for name, part in parts.items()}
    return replace(raw, names=("rest", "+".join(dict.fromkeys(task.positive))), **turned)  # type: ignore[arg-type]


def rest_told(task: TaskSection, train: Part, names: tuple[str, ...]) -> list[str]:
    """A sentence for what became of the classes."""
    if not task.positive:
        return []
    counts = train.counts(2)
    unit = "pixels" if train.y.ndim == 3 else "samples"
    return [
        f"task.positive: class 1 is '{names[1]}', class 0 '{names[0]}'; {int(counts[1]):,} of {int(counts.sum()):,} "
        f"training {unit} are of class 1"
    ]


def _turned(samples: Samples, wanted: numpy.ndarray) -> Samples:
    given = None if samples.given is None else _labels(samples.given, wanted)
    return replace(samples, y=_labels(samples.y, wanted), given=given)


def _labels(y: Labels, wanted: numpy.ndarray) -> Labels:
    counts = y != IGNORED
    return numpy.where(counts, wanted[numpy.where(counts, y, 0)].astype(y.dtype), y)
