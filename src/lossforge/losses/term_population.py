"""The terms of K losses on K networks' logits at once: for training many fusions beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lossforge.losses.compiled import LossSpec
from lossforge.losses.drop_in import DropInLoss
from lossforge.losses.heads import HEADS
from lossforge.losses.term_losses.base import TermLoss
from lossforge.losses.term_losses.overlap import NO_OVERLAP, OverlapLoss, focused, missed, overlaps


class TermPopulation:
    """The weighted terms of each loss; those of one kind are computed together, whatever their parameters.

    Args:
        specs: a loss for each replica; formulas in them are left to others.
        head: what makes probabilities of logits.
    """

    def __init__(self, specs: Sequence[LossSpec], head: str = "softmax") -> None:
        self.head = head
        overlap: dict[float, _Overlaps] = {}
        alone: dict[tuple[str, float], _Samples] = {}
        self.lanes: list[int] = []
        """Replicas that have a term."""
        for lane, spec in enumerate(specs):
            for weight, term in spec.terms:
                module = term.build(head=head, label_smoothing=spec.label_smoothing)
                if isinstance(module, OverlapLoss):
                    overlap.setdefault(spec.label_smoothing, _Overlaps(module)).add(lane, weight, module)
                else:
                    named = str(term), spec.label_smoothing
                    alone.setdefault(named, _Samples(module)).add(lane, weight)
                if lane not in self.lanes:
                    self.lanes.append(lane)
        self._groups: list[_Overlaps | _Samples] = [*overlap.values(), *alone.values()]

    def add_to(self, values: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
        """Values ``(K,)`` with the terms of logits ``(K, N, outputs)``, targets ``(K, N)`` or ``(K, N, C)``, added.

        Class indices of -100 do not count; where none does, a term is 0.
        """
        for group in self._groups:
            values = group.add_to(values, logits, targets)
        return values


@dataclass
class _Overlaps:
    """Overlap losses with one smoothing of targets: counted once a lane, however many of them a lane has."""

    module: OverlapLoss
    entries: dict[int, list[tuple[float, OverlapLoss]]] = field(default_factory=dict)
    _tables: dict[tuple[torch.device, torch.dtype], tuple[Tensor, list[_Slot]]] = field(default_factory=dict)

    def add(self, lane: int, weight: float, module: OverlapLoss) -> None:
        self.entries.setdefault(lane, []).append((weight, module))

    def add_to(self, values: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
        if self.module.head == "sigmoid" and targets.is_floating_point():
            raise ValueError(f"{self.module.formula} is for pixels: {NO_OVERLAP}")
        lanes, slots = self._slots(logits)
        y_pred, y_true = _columns(self.module, *_of_lanes(lanes, logits, targets))
        counts = overlaps(y_pred, y_true)
        for slot in slots:
            hit, false, left = (count if slot.rows is None else count[slot.rows] for count in counts)
            miss = missed((hit, false, left), slot.a, slot.b, slot.e)
            miss = (
                miss if slot.exponent is None else torch.where(slot.exponent == 1, miss, focused(miss, slot.exponent))
            )
            values = values.index_add(0, slot.lanes, slot.weight * miss.mean(1))
        return values

    def _slots(self, like: Tensor) -> tuple[Tensor, list[_Slot]]:
        """The lanes, and for the first overlap loss of each, the second ...: no lane is twice in one of them."""
        key = like.device, like.dtype
        if key not in self._tables:
            known = list(self.entries)
            most = max(map(len, self.entries.values()))
            slots = [_Slot.of(self.entries, known, place, like) for place in range(most)]
            self._tables[key] = torch.tensor(known, device=like.device), slots
        return self._tables[key]


@dataclass
class _Slot:
    """One overlap loss of each of some lanes; ``rows`` are theirs among the lanes that are counted (None: all)."""

    lanes: Tensor
    rows: Tensor | None
    weight: Tensor
    a: Tensor
    b: Tensor
    e: Tensor
    exponent: Tensor | None

    @classmethod
    def of(
        cls, entries: dict[int, list[tuple[float, OverlapLoss]]], known: list[int], place: int, like: Tensor
    ) -> _Slot:
        able = [lane for lane in known if len(entries[lane]) > place]
        chosen = [entries[lane][place] for lane in able]

        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, device=like.device, dtype=like.dtype).unsqueeze(1)

        exponents = [module.exponent for _, module in chosen]
        return cls(
            torch.tensor(able, device=like.device),
            None if able == known else torch.tensor([known.index(lane) for lane in able], device=like.device),
            column([weight for weight, _ in chosen]).squeeze(1),
            column([module.a for _, module in chosen]),
            column([module.b for _, module in chosen]),
            column([module.e for _, module in chosen]),
            None if set(exponents) == {1.0} else column(exponents),
        )


@dataclass
class _Samples:
    """A term that is a mean over samples, in the lanes that have it."""

    module: TermLoss
    entries: dict[int, float] = field(default_factory=dict)
    _tables: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def add(self, lane: int, weight: float) -> None:
        self.entries[lane] = weight

    def add_to(self, values: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
        key = logits.device, logits.dtype
        if key not in self._tables:
            lanes = torch.tensor(list(self.entries), device=logits.device)
            weights = torch.tensor(list(self.entries.values()), device=logits.device, dtype=logits.dtype)
            self._tables[key] = lanes, weights
        lanes, weights = self._tables[key]
        z, y = _of_lanes(lanes, logits, targets)
        encoded, y_true, kept = self.module.encoded(z.flatten(0, 1), y.flatten(0, 1))
        each = self.module.class_terms(encoded, y_true, 1).sum(1)
        if kept is None:
            means = each.view(z.shape[:2]).mean(1)
        else:
            counted = kept.view(z.shape[:2])
            means = torch.where(counted, each.view(z.shape[:2]), 0.0).sum(1) / counted.sum(1).clamp(min=1)
        return values.index_add(0, lanes, weights * means)


def _of_lanes(lanes: Tensor, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """What belongs to some of the lanes; all of it, and no copy, where those are all."""
    return (logits, targets) if len(lanes) == len(logits) else (logits[lanes], targets[lanes])


def _columns(module: DropInLoss, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """``y_pred`` and ``y_true`` ``(L, N, C)`` of logits ``(L, N, outputs)``; 0 where a sample does not count."""
    flat, y_true, kept = module.encoded(logits.flatten(0, 1), targets.flatten(0, 1))
    y_pred = HEADS[module.head].probabilities(flat, 1)
    if kept is not None:
        counted = kept.unsqueeze(1)
        y_pred, y_true = torch.where(counted, y_pred, 0.0), torch.where(counted, y_true, 0.0)
    shape = (*logits.shape[:2], y_pred.shape[1])
    return y_pred.view(shape), y_true.view(shape)
