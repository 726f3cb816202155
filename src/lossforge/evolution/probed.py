"""Losses as points: the directions of their probe gradients, kept for those that are asked about again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lossforge.evolution.strategy import Known
from lossforge.expression.canonical import canonical_form
from lossforge.expression.likeness import cosines, directions
from lossforge.expression.tree import Expression
from lossforge.losses.candidates import Candidate, parse_candidate
from lossforge.spaces.schema import SearchSpace

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

_FACTOR = 1.1
"""Where scale counts, two losses are alike whose norms differ by less."""


class Probed:
    """Points ``(K, D)`` of losses in a space: directions, and where gradients are not matched the logarithm of the
    norm.

    Sums of named losses are no points.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.head = space.head
        self.soft = space.recipe.label_smoothing > 0
        self.scaled = not space.recipe.match_gradient
        self.changing = bool({"progress", "class_share"} & {*space.expression.leaves})
        self._kept: dict[str, NDArray[numpy.float64]] = {}

    def of(self, candidates: Sequence[Candidate]) -> NDArray[numpy.float64]:
        """A point each; zeros for what is no loss: without a gradient, or blind to predictions or targets."""
        import numpy

        forms = [canonical_form(one) if isinstance(one, Expression) else None for one in candidates]
        able = [
            place for place, form in enumerate(forms) if form is not None and form.sees_prediction and form.sees_target
        ]
        found, norms = directions(
            [form for place in able if (form := forms[place]) is not None],
            self.head,
            soft_targets=self.soft,
            changing=self.changing,
        )
        if self.scaled:
            with numpy.errstate(divide="ignore"):
                logarithms = numpy.where(norms > 0, numpy.log(norms), 0.0)
            found = numpy.column_stack([found, numpy.round(logarithms, 6)])
        points = numpy.zeros((len(candidates), found.shape[1]))
        points[able] = found
        return points

    def of_known(self, known: Sequence[Known]) -> NDArray[numpy.float64]:
        """Points of losses that were judged, see `kept`."""
        missing = [one for one in known if one.key not in self._kept]
        self._take([one.key for one in missing], [parse_candidate(one.formula) for one in missing])
        return self._of_kept([one.key for one in known])

    def kept(self, losses: Sequence[tuple[str, Candidate]]) -> NDArray[numpy.float64]:
        """Points of losses by their keys; each is probed once, and forgotten once it is not among those asked for."""
        missing = [(key, loss) for key, loss in losses if key not in self._kept]
        self._take([key for key, _ in missing], [loss for _, loss in missing])
        return self._of_kept([key for key, _ in losses])

    def _take(self, keys: Sequence[str], losses: Sequence[Candidate]) -> None:
        self._kept.update(zip(keys, self.of(losses), strict=True))

    def _of_kept(self, keys: Sequence[str]) -> NDArray[numpy.float64]:
        import numpy

        self._kept = {key: self._kept[key] for key in keys}
        return numpy.array([self._kept[key] for key in keys])

    def able(self, points: NDArray[numpy.float64]) -> NDArray[numpy.bool_]:
        """Which of the points ``(K, D)`` are losses."""
        import numpy

        return numpy.asarray(self._directions(points).any(axis=1))

    def near(
        self, points: NDArray[numpy.float64], others: NDArray[numpy.float64], closer: float
    ) -> NDArray[numpy.bool_]:
        """Whether the distance of each pair is below ``closer``, ``(K, L)``; where scale counts, norms are like too."""
        import numpy

        found: NDArray[numpy.bool_] = 1 - cosines(self._directions(points), self._directions(others)) < closer
        if self.scaled:
            found &= numpy.abs(points[:, -1:] - others[:, -1]) < numpy.log(_FACTOR)
        return found

    def spread(self, points: NDArray[numpy.float64], order: Iterable[int], closer: float, most: int) -> list[int]:
        """Places in ``order``, ``most`` of them, without those nearer than ``closer`` to one before them."""
        kept: list[int] = []
        for place in order:
            if len(kept) == most:
                break
            if not kept or not self.near(points[place : place + 1], points[kept], closer).any():
                kept.append(place)
        return kept

    def _directions(self, points: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
        return points[:, :-1] if self.scaled else points
