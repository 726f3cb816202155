"""Losses that are one for all a training can tell, told as one: families, and each loss's nearest known relative.

A search that has found something finds it again and again. The hall of fame, and with it what is re-validated and
exported, holds the best of each family.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from lossforge.expression.canonical import canonical_form
from lossforge.expression.likeness import cosines, directions
from lossforge.expression.tree import Expression
from lossforge.losses.candidates import candidate_spec, parse_candidate
from lossforge.search.scores import Scores
from lossforge.spaces.schema import SearchSpace

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Family:
    """A loss, by its key, and those that are like it, best first."""

    key: str
    relatives: list[str] = field(default_factory=list)


def families(scores: Scores, space: SearchSpace, without: str, count: int | None = None) -> list[Family]:
    """The ranking, without ``without``, as the best of each family, ``count`` of them, each with its relatives.

    A loss belongs to the family whose best is nearest to it, if that is nearer than ``evolution.niche``.
    """
    import numpy

    found: list[Family] = []
    closer = space.evolution.niche
    ranking = scores.ranking(space.fitness.finalist_seeds, without, None if closer else count)
    if not closer:
        return [Family(key) for key in ranking]
    leading: list[NDArray[numpy.float64]] = []
    for key in ranking:
        own = direction_in(space, scores.judged[key].formula)
        if leading and own.any():
            near = cosines(own[None], numpy.stack(leading))[0]
            best = int(near.argmax())
            if 1 - float(near[best]) < closer:
                found[best].relatives.append(key)
                continue
        if count is None or len(found) < count:
            found.append(Family(key))
            leading.append(own)
    return found


def direction_in(space: SearchSpace, formula: str) -> NDArray[numpy.float64]:
    """Direction ``(D,)`` of a candidate's probe gradient in a space; zeros where it has none."""
    changing = bool({"progress", "class_share"} & {*space.expression.leaves})
    return _direction(formula, space.head, space.recipe.label_smoothing > 0, changing)


@lru_cache(maxsize=8192)
def _direction(formula: str, head: str, soft_targets: bool, changing: bool) -> NDArray[numpy.float64]:
    candidate = parse_candidate(formula)
    if isinstance(candidate, Expression):
        found, _ = directions([canonical_form(candidate)], head, soft_targets=soft_targets, changing=changing)
        return found.reshape(-1)
    from lossforge.losses.analysis import probe_direction

    own: NDArray[numpy.float64] = probe_direction(candidate_spec(formula, head), head).double().numpy()
    return own


@lru_cache(maxsize=1024)
def nearest_known(formula: str, head: str) -> tuple[str, float]:
    """The library's loss that is most like a candidate, and the |cosine| of their probe gradients, to six places."""
    from lossforge.losses.analysis import nearest

    name, cosine = nearest(candidate_spec(formula, head), head=head)
    return name, round(cosine, 6)


def diversity(space: SearchSpace, formulas: Iterable[str]) -> float:
    """Mean distance (1 - |cosine|, 0 to 1) of each pair of candidates; 0 of fewer than two."""
    import numpy

    found = [own for formula in formulas if (own := direction_in(space, formula)).any()]
    if len(found) < 2:
        return 0.0
    points = numpy.stack(found)
    pairs = 1 - cosines(points, points)[numpy.triu_indices(len(points), 1)]
    return round(float(pairs.mean()), 6)
