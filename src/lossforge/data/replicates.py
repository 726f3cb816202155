"""Parts that every replicate draws for itself from the pool of training and validation samples.

With one fixed validation part a search finds the loss that suits those images; with parts of its own for each
replicate nobody wins on one set of them (Bouthillier et al., "Accounting for variance in machine learning benchmarks",
2021, arXiv 2103.03098). All losses get the same parts on the same replicate, so that a gain stays a paired difference.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy

from lossforge.data.duplicates import Parts, digests
from lossforge.data.replicate_split import ReplicateSplit
from lossforge.data.samples import Samples
from lossforge.data.splits import Part, joined
from lossforge.errors import DataError

if TYPE_CHECKING:
    from lossforge.data.samples import RawData
    from lossforge.data.splits import TaskData
    from lossforge.spaces.schema import TaskSection

SMALL = 20_000
"""Training and validation samples, together, up to which a set counts as small: parts are drawn for each replicate."""


def pool_of(parts: Parts, train: Part, task: TaskSection, raw: RawData) -> tuple[Part, ReplicateSplit] | None:
    """The pool of a task whose replicates draw their own parts, and how they do; None for another task.

    ``parts`` are those of ``task.split_seed``, and ``train`` what a long tail leaves of the training part: replicates
    have as many samples of each class. Raises DataError where the set has a validation part of its own.
    """
    if task.split != "replicate":
        return None
    if raw.validation is not None:
        raise DataError(
            f"task.split: 'replicate' draws validation samples from all that are not for testing, and '{task.data}' "
            "has a validation part of its own; set task.own_validation = false, or task.split = 'fixed'"
        )
    own = [parts.train, parts.validation]
    if task.switched_on("drop_duplicates"):
        # Equal samples could be on both sides of a draw.
        own = [_each_once(part) for part in own]
    pool = joined(*own)
    strata = Samples(numpy.empty(0), pool.y.cpu().numpy()).strata
    if strata.ndim == 2:
        sizes = [numpy.array([len(part)]) for part in own]
        return pool, ReplicateSplit(strata, *sizes)
    classes = int(strata.max()) + 1
    counts = [numpy.bincount(strata[: len(own[0])], minlength=classes)]
    counts.append(numpy.bincount(strata[len(own[0]) :], minlength=classes))
    if task.imbalance > 1:
        counts[0] = numpy.minimum(counts[0], numpy.bincount(train.y.cpu().numpy(), minlength=classes))
    return pool, ReplicateSplit(strata, *counts)


def _each_once(part: Part) -> Part:
    import torch

    _, first = numpy.unique(digests(part), return_index=True)
    return part if len(first) == len(part) else part.chosen(torch.from_numpy(numpy.sort(first)))


def draws_parts(data: TaskData) -> bool:
    """Whether replicates draw their own parts where a space leaves that open.

    They do of small sets: `SMALL` training and validation samples at most, and no validation part of their own.
    """
    return len(data.train) + len(data.validation) <= SMALL and not data.own_validation


def with_pool(data: TaskData, found: tuple[Part, ReplicateSplit] | None) -> TaskData:
    """The data with what `pool_of` found."""
    return data if found is None else replace(data, pool=found[0], split=found[1])
