"""The samples of a cohort's seeds: order, augmentation and wrong labels. Axis 0 is the seed's, whose lanes share it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lossforge.data.label_noise import wrong_labels
from lossforge.data.samples import IGNORED
from lossforge.seeding import derive_seed
from lossforge.training.plan import Plan


@dataclass(slots=True)
class Stream:
    """What a seed draws: its orders and augmentations (None: there are none).

    ``labels`` ``(N, ...)`` are its training labels (None: the clean ones), ``indices`` ``(n,)`` the present epoch's
    order. Where it draws its own parts from a pool of N, ``rows`` ``(n,)`` are trained on, ``scored`` ``(m,)`` scored.
    """

    orders: torch.Generator
    augmentations: torch.Generator | None
    labels: Tensor | None
    indices: Tensor | None = None
    rows: Tensor | None = None
    scored: Tensor | None = None

    @classmethod
    def begin(cls, plan: Plan, seed: int) -> Stream:
        """Before the first epoch."""
        drawn = [] if plan.prepare is None else plan.prepare.generators([seed])
        device = plan.train.y.device
        rows, scored = (None, None) if plan.split is None else (part.to(device) for part in plan.split.rows(seed))
        own = plan.train if rows is None else plan.train.chosen(rows)
        labels = wrong_labels(plan.noise, own, plan.label_noise, plan.classes, seed)
        if labels is not None:
            labels = labels.to(device)
            labels = labels if rows is None else plan.train.y.index_copy(0, rows, labels)
        orders = torch.Generator().manual_seed(derive_seed(seed, "order"))
        return cls(orders, drawn[0] if drawn else None, labels, rows=rows, scored=scored)

    def copy(self) -> Stream:
        """The same, to go on by itself."""
        augmentations = None if self.augmentations is None else _copied(self.augmentations)
        return Stream(_copied(self.orders), augmentations, self.labels, self.indices, self.rows, self.scored)


class Samples:
    """Batches of S seeds."""

    def __init__(self, plan: Plan, streams: Sequence[Stream]) -> None:
        self.plan = plan
        self.streams = list(streams)
        noisy = [stream.labels for stream in streams if stream.labels is not None]
        labels = torch.stack(noisy) if noisy else plan.train.y[None]
        self.labels = labels.float() if plan.train.y.ndim == 2 else labels
        """Training labels ``(S, N, ...)`` of each seed, or ``(1, N, ...)`` where all have the same.

        Rows of several labels, ``(S, N, C)``, are floats, as targets that are probabilities.
        """

    @property
    def begun(self) -> bool:
        """Whether there is an order of the present epoch."""
        return all(stream.indices is not None for stream in self.streams)

    def new_epoch(self) -> None:
        """Every seed draws its own order of the training samples."""
        for stream in self.streams:
            order = torch.randperm(self.plan.train_size, generator=stream.orders).to(self.plan.train.y.device)
            stream.indices = order if stream.rows is None else stream.rows[order]

    def batches(self, first: int, end: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches ``first`` to ``end`` of the epoch: samples ``(S, B, C, H, W)`` and their `targets`."""
        order = torch.stack([stream.indices for stream in self.streams if stream.indices is not None])
        size = self.plan.recipe.batch_size
        batches = [order[:, place * size : (place + 1) * size] for place in range(first, end)]
        for indices, x in zip(batches, self.plan.train.batches(batches), strict=True):
            yield self.augmented(x, self.targets(indices))

    def rows_to_score(self) -> Tensor | None:
        """Which samples of the scored part each seed is scored on, ``(S, m)``; None: all of them."""
        rows = [stream.scored for stream in self.streams if stream.scored is not None]
        return torch.stack(rows) if rows else None

    def rows_to_train(self) -> Tensor | None:
        """Which samples each seed trains on, ``(S, n)``; None: all of them."""
        rows = [stream.rows for stream in self.streams if stream.rows is not None]
        return torch.stack(rows) if rows else None

    def class_shares(self) -> Tensor:
        """Each class's share ``(S, C)`` of the training labels as they are given, the wrong ones included.

        Of several labels a sample: the share of the samples that have each.
        """
        given = self.labels
        rows = self.rows_to_train()
        if rows is not None:
            given = self.targets(rows)
        if given.is_floating_point():
            shares = given.mean(1)
            return shares if len(shares) > 1 else shares.expand(len(self.streams), -1)
        labels = given.flatten(1)
        known = [row[row != IGNORED] if self.plan.ignoring else row for row in labels]
        counts = torch.stack([torch.bincount(row, minlength=self.plan.classes) for row in known]).float()
        shares = counts / counts.sum(1, keepdim=True)
        return shares if len(shares) > 1 else shares.expand(len(self.streams), -1)

    def inputs(self, x: Tensor) -> Tensor:
        """Stored samples as the networks take them, not augmented."""
        return x if self.plan.prepare is None else self.plan.prepare(x)

    def augmented(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Stored samples ``x`` ``(S, B, C, H, W)`` varied, and masks moved with them."""
        prepare = self.plan.prepare
        generators = [stream.augmentations for stream in self.streams if stream.augmentations is not None]
        if prepare is None or not generators:
            return self.inputs(x), targets
        if targets.ndim < 4:
            return prepare(x, generators), targets
        return prepare.with_masks(x, targets, generators)

    def targets(self, indices: Tensor) -> Tensor:
        """Class indices ``(S, B)``, labels ``(S, B, C)``, floats, or masks ``(S, B, H, W)``, at indices ``(S, B)``."""
        seed = torch.arange(len(indices), device=indices.device)[:, None] if len(self.labels) > 1 else 0
        return self.labels[seed, indices]


def _copied(generator: torch.Generator) -> torch.Generator:
    return torch.Generator().set_state(generator.get_state())
