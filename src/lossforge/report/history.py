"""How a search went: gains by generation and by time, and what became of what it generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from lossforge.report.chart import Chart, limits
from lossforge.report.picture import Picture
from lossforge.report.run_data import Judged, RunData
from lossforge.screening.settings import Screen
from lossforge.search.progress import duration


@dataclass(frozen=True, slots=True)
class Spread:
    """Gains of the losses first trained in a generation, in points: quartiles and the best."""

    generation: int
    count: int
    low: float
    median: float
    high: float
    best: float


def quantile(ordered: Sequence[float], share: float) -> float:
    """Of ordered values, one or more, by linear interpolation.

    >>> quantile([0.0, 1.0, 3.0], 0.75)
    2.0
    """
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def spreads(trained: Sequence[Judged]) -> list[Spread]:
    """Of each generation that trained something."""
    by_generation: dict[int, list[float]] = {}
    for one in trained:
        by_generation.setdefault(one.generation, []).append(one.gain)
    found = []
    for generation, gains in sorted(by_generation.items()):
        gains.sort()
        low, middle, high = (quantile(gains, share) for share in (0.25, 0.5, 0.75))
        found.append(Spread(generation, len(gains), low, middle, high, gains[-1]))
    return found


@dataclass(frozen=True, slots=True)
class Level:
    """A height to compare with: a gain in points, the style of its line, and its name."""

    gain: float
    style: str
    name: str


def levels(data: RunData) -> list[Level]:
    """Cross-entropy, the best of the losses drawn at random, and the best known loss where the search trained any."""
    found = [Level(0.0, "reference", "cross-entropy")]
    drawn = [one for one in data.trained() if one.origin == "random"]
    if len(drawn) > 1:
        best = max(one.gain for one in drawn)
        found.append(Level(best, "random", f"best of {len(drawn):,} random losses"))
    if data.known_gain is not None and data.known_key != data.control_key:
        found.append(Level(data.known_gain, "other", f"{data.known.replace('_', ' ')}, the best known"))
    return found


def best_so_far(data: RunData, found: Sequence[Spread]) -> dict[int, float]:
    """The leader's gain at each generation's end; by the log, which knows who led, or the best mean so far."""
    if data.moments:
        return {moment.generation: moment.gain for moment in data.moments}
    return dict(zip((one.generation for one in found), accumulate((one.best for one in found), max), strict=True))


def by_generation(data: RunData) -> Picture | None:
    """Leader, median and quartiles by generation; None before anything was trained."""
    found = spreads(data.trained())
    if not found:
        return None
    leader, picture = best_so_far(data, found), Picture("gain-by-generation", "Gain by generation", 420, 250)
    marks = levels(data)
    room = limits(
        [*leader.values(), *(one.median for one in found), *(one.high for one in found)],
        around=[*(level.gain for level in marks), quantile(sorted(one.low for one in found), 0.2)],
    )
    last = max(found[-1].generation, max(leader, default=1), 2)
    chart = Chart(picture, (1.0, float(last)), room)
    chart.axes("generation", "gain, percentage points", signed=True, whole=True)
    xs = [float(one.generation) for one in found]
    chart.band(xs, [one.low for one in found], [one.high for one in found], "band")
    _levels(chart, marks)
    chart.line(xs, [one.median for one in found], "own-thin", "median of the generation's new losses")
    _steps(chart, sorted(leader.items()))
    for one in found if len(found) <= 60 else ():
        told = f"generation {one.generation}: {one.count} losses, median {one.median:+.2f}, best {one.best:+.2f}"
        chart.dot(one.generation, one.median, 2.2, "point", told)
    return picture


def by_time(data: RunData) -> Picture | None:
    """The leader's gain against the time since the run began; None with fewer than two moments."""
    if len(data.moments) < 2:
        return None
    longest = max(moment.seconds for moment in data.moments)
    unit, name = (3600.0, "hours") if longest > 6000 else (60.0, "minutes") if longest > 100 else (1.0, "seconds")
    marks = levels(data)
    picture = Picture("gain-by-time", "The leader's gain by time", 420, 250)
    room = limits([moment.gain for moment in data.moments], around=[level.gain for level in marks])
    chart = Chart(picture, (0.0, longest / unit), room)
    chart.axes(f"{name} since the run began", "gain, percentage points", signed=True)
    _levels(chart, marks)
    _steps(chart, [(moment.seconds / unit, moment.gain) for moment in data.moments])
    for moment in data.moments if len(data.moments) <= 200 else ():
        told = f"generation {moment.generation}, after {duration(moment.seconds)}: {moment.gain:+.2f}"
        chart.dot(moment.seconds / unit, moment.gain, 2.6, "point", told)
    return picture


def surrogate(data: RunData) -> Picture | None:
    """Rank correlations of predicted and observed gains by generation; None where no surrogate said anything."""
    lines = {
        style: [(number, named[key]) for number, named in sorted(data.measures.items()) if key in named]
        for key, style in (("surrogate_correlation", "own"), ("surrogate_out_of_bag", "second"))
    }
    points = [point for line in lines.values() for point in line]
    if not points:
        return None
    picture = Picture("surrogate", "Rank correlation of predicted and observed gains", 420, 250)
    low = min(0.0, *(value for _, value in points))
    chart = Chart(picture, (1.0, float(max(2, data.generations_done))), (low - 0.05, 1.0))
    chart.axes("generation", "rank correlation", signed=True, whole=True)
    for style, line in lines.items():
        chart.line([x for x, _ in line], [y for _, y in line], style)
    for x, y in lines["own"]:
        chart.dot(x, y, 2.6, "point", f"generation {x}: {y:+.2f}")
    return picture


def _steps(chart: Chart, points: Sequence[tuple[float, float]]) -> None:
    """A line that holds each height until the next."""
    xs, ys = [], []
    for (x, y), following in zip(points, [*points[1:], points[-1]], strict=True) if points else ():
        xs += [x, following[0]]
        ys += [y, y]
    chart.line(xs, ys, "own", "the leader")


def _levels(chart: Chart, found: Sequence[Level]) -> None:
    for level in found:
        chart.level(level.gain, level.style, level.name)


def funnel_rows(data: RunData) -> list[tuple[str, int]]:
    """What is left after each step: generated, new, through each screen, trained."""
    tally = data.tally
    total = sum(tally.values())
    rejected = {screen: tally.get(f"rejected:{screen}", 0) for screen in Screen}
    duplicates, cached = tally.get("duplicate", 0), tally.get("cached", 0)
    trained = total - sum(rejected.values()) - duplicates - cached
    rows = [("generated", total)]
    left = total
    for screen, count in rejected.items():
        left -= count
        if count:
            rows.append((f"past the screen “{screen}”", left))
    left -= duplicates
    rows.append(("no duplicates", left))
    if cached:
        rows.append(("not trained before", left - cached))
    learned = len(data.trained())
    return [*rows, *([("trained to the end", learned)] if 0 < learned < trained else [])]


def funnel(data: RunData) -> Picture | None:
    """Bars of what is left after each step; None before anything was generated."""
    rows = funnel_rows(data)
    if not rows[0][1]:
        return None
    height = 27.0 * len(rows) + 8
    picture = Picture("funnel", "From generated to trained", 420, height)
    left, right = 142.0, 48.0
    for place, (name, count) in enumerate(rows):
        y = 6 + 27.0 * place
        long = (picture.width - left - right) * count / rows[0][1]
        picture.text(left - 10, y + 13.5, name, "label-ink", "end")
        picture.box(left, y, picture.width - left - right, 18, "track")
        picture.box(left, y, long, 18, "bar" if place == len(rows) - 1 else "bar-soft", f"{name}: {count:,}")
        picture.text(picture.width - right + 8, y + 13.5, f"{count:,}", "label-ink")
    return picture


_STAGES = {
    "sweep": "learning rate of cross-entropy",
    "check": "checking trainings of one's own",
    "control": "cross-entropy, to compare with",
    "reference": "known losses, as reference",
    "fresh": "leaders on fresh seeds",
    "search": "candidates",
    "audit": "audit of the screens",
    "coarse": "choosing known losses",
    "tuning": "learning rates of losses and rivals",
    "validation": "re-validation",
    "second optimizer, tuning": "rates under a second optimiser",
    "second optimizer": "re-validation under it",
}


def work(data: RunData) -> Picture | None:
    """Bars of the workers' time by what it was for; None before anything was trained."""
    rows = [(_STAGES.get(stage, stage), seconds) for stage, seconds in data.work.items() if seconds > 0]
    if not rows:
        return None
    most = max(seconds for _, seconds in rows)
    picture = Picture("work", "Workers’ time", 420, 27.0 * len(rows) + 8)
    left, right = 190.0, 54.0
    for place, (name, seconds) in enumerate(rows):
        y = 6 + 27.0 * place
        picture.text(left - 10, y + 13.5, name, "label-ink", "end")
        picture.box(left, y, max((picture.width - left - right) * seconds / most, 1), 18, "bar-soft")
        picture.text(picture.width - right + 8, y + 13.5, duration(seconds), "label-ink")
    return picture
