"""Samples that are equal value for value: in several parts, within the training part, and of several classes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import numpy
from numpy.typing import NDArray

from lossforge.data.duplicate_counts import Duplicates
from lossforge.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from lossforge.data.splits import Part

Digests = NDArray[numpy.uint64]
Flags = NDArray[numpy.bool_]


class Parts(NamedTuple):
    """Training, validation and test part."""

    train: Part
    validation: Part
    test: Part


def count_duplicates(parts: Parts) -> Duplicates:
    """Compare all samples of the parts, by the hash of their values."""
    return _counted(parts, *map(digests, parts))


def without_duplicates(parts: Parts, origin: str, names: tuple[str, ...]) -> tuple[Parts, Duplicates]:
    """The parts without training samples that are in another part, and validation samples that are in the test part.

    Raises DataError where that would take more than half of a part, or a class from the training part.
    """
    train, validation, test = map(digests, parts)
    found = _counted(parts, train, validation, test)
    in_test = numpy.isin(validation, test)
    in_others = numpy.isin(train, numpy.concatenate([validation, test]))
    for part, gone in (("training", in_others), ("validation", in_test)):
        if gone.sum() > len(gone) / 2:
            others = "validation or test" if part == "training" else "test"
            raise DataError(
                f"task.drop_duplicates: {int(gone.sum()):,} of {len(gone):,} {part} samples of '{origin}' are in the "
                f"{others} part too; give parts that differ, or, where equal samples are not the same one (as in a "
                "table of few values), set task.drop_duplicates = false"
            )
    kept = Parts(_kept(parts.train, ~in_others), _kept(parts.validation, ~in_test), parts.test)
    _refuse_lost_class(parts.train, kept.train, origin, names)
    return kept, Duplicates(
        found.test,
        found.validation,
        found.training,
        found.conflicting,
        found.tests,
        found.validations,
        int(in_others.sum()),
        int(in_test.sum()),
    )


def digests(part: Part) -> Digests:
    """A hash ``(N,)`` of each sample's values; 0.0 and -0.0 are one value."""
    made = []
    for chunk in part.chunks(1024):
        values = chunk.cpu().contiguous().numpy()
        if values.dtype.kind == "f":
            values = values + 0.0
        made += [hashlib.blake2b(sample.tobytes(), digest_size=8).digest() for sample in values]
    return numpy.frombuffer(b"".join(made), dtype=numpy.uint64)


def _counted(parts: Parts, train: Digests, validation: Digests, test: Digests) -> Duplicates:
    return Duplicates(
        int(numpy.isin(test, numpy.concatenate([train, validation])).sum()),
        int(numpy.isin(validation, train).sum()),
        len(train) - len(numpy.unique(train)),
        _conflicting(
            numpy.concatenate([train, validation, test]), numpy.concatenate([_labels(one.y) for one in parts])
        ),
        len(test),
        len(validation),
    )


def _labels(y: Tensor) -> Digests:
    """A number ``(N,)`` for each label, or for each row of labels or mask."""
    labels = y.cpu().numpy()
    if labels.ndim == 1:
        return labels.astype(numpy.uint64)
    rows = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in labels)
    return numpy.frombuffer(b"".join(rows), dtype=numpy.uint64)


def _conflicting(samples: Digests, labels: Digests) -> int:
    """Samples that are equal to one with another label."""
    pairs = numpy.unique(numpy.stack([samples, labels]), axis=1)
    several, counts = numpy.unique(pairs[0], return_counts=True)
    return int(numpy.isin(samples, several[counts > 1]).sum())


def _kept(part: Part, chosen: Flags) -> Part:
    import torch

    return part if chosen.all() else part.chosen(torch.from_numpy(numpy.flatnonzero(chosen)))


def _refuse_lost_class(before: Part, after: Part, origin: str, names: tuple[str, ...]) -> None:
    had, has = (part.counts(len(names)) for part in (before, after))
    lost = ((had > 0) & (has == 0)).nonzero().flatten().tolist()
    if lost:
        what = "with label" if before.y.ndim == 2 else "of class"
        raise DataError(
            f"task.drop_duplicates: every training sample {what} '{names[lost[0]]}' of '{origin}' is in the "
            "validation or test part too; give parts that differ, or set task.drop_duplicates = false"
        )
