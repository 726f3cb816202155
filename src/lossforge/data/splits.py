"""Stratified, seeded parts of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy
from numpy.typing import NDArray

from lossforge.data.iterative_stratification import owners_by_label
from lossforge.data.noise_kinds import SYMMETRIC, LabelNoise
from lossforge.data.samples import IGNORED
from lossforge.errors import DataError
from lossforge.seeding import derive_seed

if TYPE_CHECKING:
    from torch import Tensor

    from lossforge.data.duplicate_counts import Duplicates
    from lossforge.data.replicate_split import ReplicateSplit
    from lossforge.data.samples import LostClass
    from lossforge.data.scale import Scale


@dataclass(frozen=True, slots=True)
class Part:
    """Samples ``x``, uint8 or float32 of shape ``(N, C, H, W)``, and ``y``, int64, or int16 where they are masks.

    ``y`` holds class indices ``(N,)``, rows of labels ``(N, C)``, each 0 or 1, or masks ``(N, H, W)``, on the device;
    so is ``x``, unless the set is too large: then ``rows`` (N,) says which of all the samples in ``x``, in memory or on
    disk, are the part's. Rows from ``len(x)`` on lie in ``x_more``: where training and validation samples of their own
    files are pooled. ``given`` are the labels ``(N,)`` that people gave, where ``y`` has the true ones.
    """

    x: Tensor
    y: Tensor
    rows: Tensor | None = None
    x_more: Tensor | None = None
    given: Tensor | None = None

    def __len__(self) -> int:
        return len(self.y)

    def counts(self, classes: int) -> Tensor:
        """Samples, or pixels, ``(C,)`` of each class, or with each label, on the CPU."""
        import torch

        y = self.y.cpu()
        if y.ndim == 2:
            return y.sum(0)
        return torch.bincount(y[y >= 0] if y.ndim == 3 else y, minlength=classes)

    @property
    def ignored(self) -> float:
        """The share of a mask's pixels that do not count."""
        return float((self.y == IGNORED).double().mean())

    def first(self, count: int) -> Part:
        """The first samples as a part of their own."""
        given = None if self.given is None else self.given[:count]
        if self.rows is None:
            return Part(self.x[:count], self.y[:count], given=given)
        return Part(self.x, self.y[:count], self.rows[:count], self.x_more, given)

    def chosen(self, indices: Tensor) -> Part:
        """The samples at ``indices``, shape ``(n)``, as a part of their own."""
        y = self.y[indices.to(self.y.device)]
        given = None if self.given is None else self.given[indices.to(self.y.device)]
        if self.rows is None:
            return Part(self.x[indices.to(self.x.device)], y, given=given)
        return Part(self.x, y, self.rows[indices.cpu()], self.x_more, given)

    def samples(self, indices: Tensor) -> Tensor:
        """Samples ``(*, C, H, W)`` at ``indices``, shape ``(*)``, on the device."""
        if self.rows is None:
            return self.x[indices]
        return self._stored(self.rows[indices.cpu()]).to(self.y.device)

    def _stored(self, rows: Tensor) -> Tensor:
        import torch

        if self.x_more is None:
            return self.x[rows]
        samples = torch.empty((*rows.shape, *self.x.shape[1:]), dtype=self.x.dtype)
        more = rows >= len(self.x)
        samples[~more] = self.x[rows[~more]]
        samples[more] = self.x_more[rows[more] - len(self.x)]
        return samples

    def batches(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """`samples` of each batch of indices; what is not on the device is fetched ahead."""
        if self.rows is None:
            return map(self.samples, batches)
        from lossforge.data.streaming import prefetched

        return prefetched(self.samples, batches)

    def chunks(self, size: int) -> Iterator[Tensor]:
        """All samples in order, ``size`` at a time."""
        import torch

        if self.rows is None:
            return iter(torch.split(self.x, size))
        return self.batches(torch.split(torch.arange(len(self)), size))


@dataclass(frozen=True, slots=True)
class TaskData:
    """The three parts of a task. Only validation (`lossforge.validation`) reads ``test``.

    ``scale`` is the training part's mean and deviation, where samples are to be normalised by them. ``notes`` are
    sentences of what became of the data on the way here; ``columns`` a table's, with the features that each became;
    ``duplicates`` what was found, and dropped, where the task drops them; ``lost`` the classes that resizing took
    from some training masks. ``noise`` says how labels are made wrong; ``tail`` ``(n,)`` which validation samples a
    long-tailed training part takes when both are pooled (None: all). ``labels`` tell what the task does to labels.
    Where every replicate draws its own parts, they come from ``pool`` as ``split`` says; ``own_validation`` says that
    the set's own validation part is used.
    """

    train: Part
    validation: Part
    test: Part
    classes: int
    scale: Scale | None = None
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    columns: tuple[tuple[str, int], ...] = ()
    duplicates: Duplicates | None = None
    lost: tuple[LostClass, ...] = ()
    noise: LabelNoise = SYMMETRIC
    tail: Tensor | None = None
    labels: tuple[str, ...] = ()
    pool: Part | None = None
    split: ReplicateSplit | None = None
    own_validation: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a sample, ``(C, H, W)``."""
        channels, height, width = self.train.x.shape[1:]
        return channels, height, width

    @property
    def segmentation(self) -> bool:
        """Whether every pixel has a class, and not every sample."""
        return self.train.y.ndim == 3

    @property
    def several_labels(self) -> bool:
        """Whether a sample has each of the labels or not, and not one class."""
        return self.train.y.ndim == 2

    def pooled(self) -> Part:
        """Training and validation parts together: what a re-validation trains on."""
        return joined(self.train, self.validation if self.tail is None else self.validation.chosen(self.tail))

    @property
    def pooled_size(self) -> int:
        """Samples of both parts together; see `pooled`."""
        return len(self.train) + (len(self.validation) if self.tail is None else len(self.tail))


def joined(first: Part, second: Part) -> Part:
    """The samples of two parts of a task as one."""
    import torch

    y = torch.cat([first.y, second.y])
    own = [part.y if part.given is None else part.given for part in (first, second)]
    given = torch.cat(own) if first.given is not None else None
    if first.rows is None or second.rows is None:
        return Part(torch.cat([first.x, second.x]), y, given=given)
    if first.x is second.x:
        return Part(first.x, y, torch.cat([first.rows, second.rows]), given=given)
    return Part(first.x, y, torch.cat([first.rows, second.rows + len(first.x)]), second.x, given)


Indices = NDArray[numpy.int64]


def stratified_parts(labels: Indices, sizes: tuple[int, int, int], seed: int) -> tuple[Indices, Indices, Indices]:
    """Indices of train, validation and test with these sizes, each with the classes in proportion.

    The samples are lined up class by class, shuffled within each, and the parts are dealt evenly along
    that line; so a class's share of a part is off by less than four samples, and of an ordinary one by less than two.
    Of rows of labels ``(N, C)`` each label is in proportion as well as can be; see `owners_by_label`.
    """
    total = len(labels)
    if sum(sizes) > total:
        raise DataError(
            f"task: train + validation + test = {sum(sizes)} samples, but the data set has {total}; make the parts "
            "smaller"
        )
    if labels.ndim == 2:
        owner = owners_by_label(labels, (*sizes, total - sum(sizes)), seed)
        first, second, third = (numpy.flatnonzero(owner == part) for part in range(3))
        return first, second, third
    generator = numpy.random.Generator(numpy.random.PCG64(derive_seed(seed, "split")))
    line = numpy.lexsort((generator.random(total), labels))
    owner = _interleave(total, sizes)
    train, validation, test = (numpy.sort(line[owner == part]) for part in range(3))
    return train, validation, test


def _interleave(total: int, sizes: tuple[int, int, int]) -> Indices:
    """Owner (0, 1, 2; 3 for none) of each of ``total`` places, spread evenly."""
    shares = (*sizes, total - sum(sizes))
    places = numpy.concatenate([(numpy.arange(size) + 0.5) / max(size, 1) for size in shares])
    owners = numpy.repeat(numpy.arange(4), shares)
    return owners[numpy.argsort(places, kind="stable")]
