"""Candidates of a run: gain against size, training curves, and where good losses came from."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median

from lossforge.report.chart import Chart, limits
from lossforge.report.history import quantile
from lossforge.report.picture import Picture
from lossforge.report.run_data import Judged, RunData

_POINTS = 1500
"""Candidates that a chart shows at most."""
_SHORT = 90


def thinned(found: Sequence[Judged], most: int = _POINTS) -> list[Judged]:
    """The best fifth of ``most`` and an even sample of the others, in order of gain; all of them where they are few."""
    ordered = sorted(found, key=lambda one: (-one.gain, one.key))
    best, rest = ordered[: most // 5], ordered[most // 5 :]
    wanted = most - len(best)
    if len(rest) > wanted:
        rest = [rest[place * len(rest) // wanted] for place in range(wanted)]
    return best + rest


def front(found: Sequence[Judged]) -> list[Judged]:
    """Losses that no smaller or equal one beats, by size."""
    best: list[Judged] = []
    for one in sorted(found, key=lambda one: (one.size, -one.gain, one.key)):
        if one.size and (not best or one.gain > best[-1].gain):
            best.append(one)
    return best


def pareto(data: RunData) -> Picture | None:
    """Gain against size with the front; None with fewer than three losses."""
    found = [one for one in data.trained() if one.size]
    if len(found) < 3:
        return None
    gains = sorted(one.gain for one in found)
    picture = Picture("pareto", "Gain against size", 420, 250)
    chart = Chart(picture, (0, max(one.size for one in found) + 1), limits([quantile(gains, 0.1), gains[-1], 0.0]))
    chart.axes("size (nodes)", "gain, percentage points", signed=True, whole=True)
    for one in thinned(found, 600):
        chart.dot(one.size, one.gain, 2.4, "point-other", f"{one.gain:+.2f}, {short(one.formula)}")
    best = front(_of_equal_seeds(found))
    xs, ys = [], []
    for one, following in zip(best, [*best[1:], best[-1]], strict=True):
        xs += [one.size, following.size]
        ys += [one.gain, one.gain]
    chart.line(xs, ys, "own")
    for one in best:
        chart.dot(one.size, one.gain, 3.6, "point", f"{one.gain:+.2f}, size {one.size}: {short(one.formula)}")
    return picture


def _of_equal_seeds(trained: Sequence[Judged]) -> Sequence[Judged]:
    """Losses of the most replicates, where those are three or more; else all: a mean of few leads by luck."""
    most = max((len(one.gains) for one in trained), default=0)
    full = [one for one in trained if len(one.gains) == most]
    return full if len(full) >= 3 else trained


def short(formula: str) -> str:
    """A formula that fits a line."""
    text = " ".join(formula.split())
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"


def curves(data: RunData) -> Picture | None:
    """Training losses by epoch, each from its first value (1) to its lowest (0); None where none was kept."""
    named = {entry.signature: f"rank {entry.rank}" for entry in data.entries[:3]}
    found = {key: _mean_curve(all_) for key, all_ in data.curves.items()}
    shown = [(key, curve) for key, curve in found.items() if curve]
    if not any(key in named for key, _ in shown):
        return None
    longest = max(len(curve) for _, curve in shown)
    picture = Picture("training-curves", "Training curves", 420, 250)
    chart = Chart(picture, (1, longest), (-0.03, 1.05))
    chart.axes("epoch", "training loss, of its own range", whole=True)
    styles = iter(("own", "second", "own-thin"))
    order = {key: place for place, key in enumerate([data.control_key, *named])}
    for key, curve in sorted(shown, key=lambda one: order.get(one[0], 99)):
        style = "reference" if key == data.control_key else next(styles, "other")
        chart.line([*range(1, len(curve) + 1)], curve, style, named.get(key, "cross-entropy"))
    return picture


def _mean_curve(found: Sequence[Sequence[float]]) -> list[float]:
    """The mean over trainings of how far each is from its lowest value; empty where a curve never fell."""
    scaled = []
    for curve in found:
        low, high = min(curve), curve[0]
        if high - low > 0:
            scaled.append([(value - low) / (high - low) for value in curve])
    return [fmean(values) for values in zip(*scaled, strict=False)] if scaled else []


def origins(data: RunData) -> list[tuple[str, int, float, float]]:
    """Each way losses came about: how many were trained, their median gain, and the best one's; best first."""
    by_origin: dict[str, list[float]] = {}
    for one in data.trained():
        by_origin.setdefault(one.origin or "unknown", []).append(one.gain)
    rows = [(name, len(gains), median(gains), max(gains)) for name, gains in by_origin.items()]
    return sorted(rows, key=lambda row: -row[3])
