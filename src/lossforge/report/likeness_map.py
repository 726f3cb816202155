"""A map of losses by the likeness of their gradients: those that train alike lie together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from lossforge.errors import LossforgeError
from lossforge.expression.formula import parse_formula
from lossforge.expression.interpreter import Interpreter
from lossforge.expression.signature import probe_gradients
from lossforge.expression.tree import Expression
from lossforge.losses.analysis import library_gradients
from lossforge.losses.candidates import candidate_spec, parse_candidate
from lossforge.losses.term_signature import term_gradient
from lossforge.report.candidates_plots import short, thinned
from lossforge.report.picture import Picture
from lossforge.report.run_data import Judged, RunData

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

_MOST = 1000
"""Losses on a map."""
_MOST_TERMS = 150
"""Losses on it that are no formulas, each of which takes a hundredth of a second."""
_SIDE, _MARGIN = 420.0, 26.0
_NAMED = 18
"""Known losses whose names are written, where there is room."""


@dataclass(frozen=True, slots=True)
class Place:
    """A loss on the map; ``gain`` is None for a known one, whose name ``text`` is."""

    x: float
    y: float
    text: str
    gain: float | None


def likeness_map(data: RunData) -> tuple[Picture, float] | None:
    """The map, and the share of all variation that its two directions show; None for fewer than three losses."""
    found = thinned(data.trained(), _MOST)
    located = _located(found, data.head)
    if located is None:
        return None
    places, share = located
    picture = Picture("likeness-map", "Losses by the likeness of their gradients", _SIDE, 330)
    _draw(picture, places)
    return picture, share


def _located(found: Sequence[Judged], head: str) -> tuple[list[Place], float] | None:
    import numpy

    rows: list[tuple[str, float | None, NDArray[numpy.float64]]] = []
    for one, gradient in zip(found, _gradients(found, head), strict=True):
        if gradient is not None:
            rows.append((f"{one.gain:+.2f}: {short(one.formula)}", one.gain, gradient))
    if len(rows) < 3:
        return None
    for name, known in library_gradients(head).items():
        if float(known.norm()) > 0:
            rows.append((name, None, known.numpy()))
    matrix = numpy.stack([row[2] for row in rows])
    # The sign of a loss does not count: each points the way that most of the trained ones do.
    middle = matrix[: len(found)].mean(0)
    matrix = matrix * numpy.where(matrix @ middle < 0, -1.0, 1.0)[:, None]
    trained = numpy.array([row[1] is not None for row in rows])
    centred = matrix - matrix[trained].mean(0)
    _, values, directions = numpy.linalg.svd(centred[trained], full_matrices=False)
    spread = float((values**2).sum())
    if not spread > 0:
        return None
    axes = directions[:2]
    axes = axes * numpy.where(axes[numpy.arange(len(axes)), numpy.abs(axes).argmax(1)] < 0, -1.0, 1.0)[:, None]
    where = centred @ axes.T
    if where.shape[1] < 2:
        return None
    places = [Place(float(x), float(y), row[0], row[1]) for (x, y), row in zip(where, rows, strict=True)]
    return places, float((values[:2] ** 2).sum() / spread)


def _gradients(found: Sequence[Judged], head: str) -> list[NDArray[numpy.float64] | None]:
    """Of each loss on the signature's probe, of norm 1; None where it is zero, not finite, or one term too many."""
    import numpy

    formulas = {one.formula: _expression(one.formula, head) for one in found}
    plain = [(text, tree) for text, tree in formulas.items() if tree is not None]
    known: dict[str, NDArray[numpy.float64]] = {}
    for start in range(0, len(plain), 256):
        some = plain[start : start + 256]
        gradients = probe_gradients(Interpreter([tree for _, tree in some], head=head))
        known |= {text: gradient for (text, _), gradient in zip(some, gradients, strict=True)}
    for text in [text for text, tree in formulas.items() if tree is None][:_MOST_TERMS]:
        if (gradient := _of_term(text, head)) is not None:
            known[text] = gradient
    result: list[NDArray[numpy.float64] | None] = []
    for one in found:
        own = known.get(one.formula)
        norm = math.nan if own is None else float(numpy.linalg.norm(own))
        result.append(own / norm if own is not None and 0 < norm < math.inf else None)
    return result


def _expression(formula: str, head: str) -> Expression | None:
    try:
        found = parse_candidate(formula)
    except LossforgeError:
        return None
    return found if isinstance(found, Expression) else None


@lru_cache(maxsize=1024)
def _of_term(formula: str, head: str) -> NDArray[numpy.float64] | None:
    """Of a loss that is a sum of named ones."""
    try:
        spec = candidate_spec(formula, head)
        if spec.is_term:
            gradient: NDArray[numpy.float64] = term_gradient(spec, head)[0].numpy()
        else:
            losses = Interpreter([parse_formula(spec.formula)], [spec.label_smoothing], head=head)
            gradient = probe_gradients(losses)[0]
    except (LossforgeError, ValueError, RuntimeError):
        return None
    return gradient


def _draw(picture: Picture, places: Sequence[Place]) -> None:
    trained = [place for place in places if place.gain is not None]
    known = [place for place in places if place.gain is None]
    low, high = (
        (min(one.x for one in places), min(one.y for one in places)),
        (
            max(one.x for one in places),
            max(one.y for one in places),
        ),
    )
    across, down = picture.width - 2 * _MARGIN, picture.height - 2 * _MARGIN

    def at(one: Place) -> tuple[float, float]:
        x = (one.x - low[0]) / ((high[0] - low[0]) or 1.0)
        y = (one.y - low[1]) / ((high[1] - low[1]) or 1.0)
        return _MARGIN + x * across, picture.height - _MARGIN - y * down

    gains = sorted(one.gain for one in trained if one.gain is not None)
    for one in sorted(trained, key=lambda one: one.gain or 0.0):
        picture.dot(*at(one), 3.0, f"gain{_shade(one.gain or 0.0, gains)}", one.text)
    taken: list[tuple[float, float, float]] = []
    for one in known:
        x, y = at(one)
        picture.line([(x - 3, y - 3), (x + 3, y + 3)], "zero")
        picture.line([(x - 3, y + 3), (x + 3, y - 3)], "zero")
        picture.dot(x, y, 4.5, "hit", one.text)
        taken.append((x, x, y))
    written = 0
    first = ("cross_entropy", "mae", "focal", "ngl", "label_smoothing", "dice", "gce", "sce")
    for one in sorted(known, key=lambda one: (one.text not in first, one.text)):
        x, y = at(one)
        name = one.text.replace("_", " ")
        long = 5.6 * len(name)
        begin = x + 7 if x + 7 + long < picture.width else x - 7 - long
        free = all(end < begin - 2 or start > begin + long + 2 or abs(y - other) > 10 for start, end, other in taken)
        if free and written < _NAMED:
            picture.text(begin, y + 3.5, name, "small-ink")
            taken.append((begin, begin + long, y))
            written += 1


def _shade(gain: float, gains: Sequence[float]) -> int:
    """A fifth of all gains each, from 0 to 4."""
    from bisect import bisect_left

    return min(5 * bisect_left(gains, gain) // max(len(gains), 1), 4)
