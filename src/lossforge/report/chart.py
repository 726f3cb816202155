"""Charts: axes with round ticks on a picture, and data on them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lossforge.report.picture import Picture, Point

_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 10.0, 12.0, 38.0


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from low to high, ``most`` of them or so.

    >>> ticks(0, 1), ticks(-3.2, 4.1)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [-2.0, 0.0, 2.0, 4.0])
    """
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * one for one in (1, 2, 2.5, 5, 10) if power * one * most >= span - 1e-9 * span)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) + 0.0 for index in range(first, math.floor(high / step + 1e-9) + 1)]


def label_of(value: float, signed: bool = False) -> str:
    """A tick's text.

    >>> label_of(0.25), label_of(12000), label_of(2, signed=True), label_of(-0.5)
    ('0.25', '12k', '+2', '−0.5')
    """
    size = abs(value)
    text = f"{size / 1e6:g}M" if size >= 1e6 else f"{size / 1e3:g}k" if size >= 1e4 else f"{size:.4g}"
    sign = "−" if value < 0 else "+" if signed and value > 0 else ""
    return sign + text


@dataclass(slots=True)
class Chart:
    """A picture with axes. ``x`` and ``y`` are their limits, in data units; what lies outside is drawn at the edge."""

    picture: Picture
    x: tuple[float, float]
    y: tuple[float, float]
    left: float = field(default=_LEFT)
    top: float = field(default=_TOP)
    bottom: float = field(default=_BOTTOM)

    def place(self, x: float, y: float) -> Point:
        """Where a point lies in the picture."""
        return self.across(x), self.down(y)

    def across(self, x: float) -> float:
        """Where an x lies."""
        share = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1.0)
        return self.left + min(max(share, -0.02), 1.02) * (self.picture.width - self.left - _RIGHT)

    def down(self, y: float) -> float:
        """Where a y lies."""
        share = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1.0)
        return (
            self.picture.height
            - self.bottom
            - min(max(share, 0.0), 1.0) * (self.picture.height - self.top - self.bottom)
        )

    def axes(self, x_name: str, y_name: str, *, signed: bool = False, whole: bool = False) -> None:
        """Rules, ticks and names; ``signed``: y is a difference; ``whole``: x counts."""
        picture, bottom = self.picture, self.picture.height - self.bottom
        for value in ticks(*self.y):
            at = self.down(value)
            picture.line([(self.left, at), (picture.width - _RIGHT, at)], "zero" if signed and value == 0 else "rule")
            picture.text(self.left - 7, at + 3.5, label_of(value, signed), "label", "end")
        for value in ticks(*self.x):
            if whole and value != int(value):
                continue
            at = self.across(value)
            picture.line([(at, bottom), (at, bottom + 4)], "axis")
            picture.text(at, bottom + 17, label_of(value), "label", "middle")
        picture.line([(self.left, bottom), (picture.width - _RIGHT, bottom)], "axis")
        picture.text((self.left + picture.width - _RIGHT) / 2, picture.height - 4, x_name, "label", "middle")
        middle = (self.top + bottom) / 2
        picture.text(11, middle, y_name, "label", "middle", turned=True)

    def line(self, xs: Iterable[float], ys: Iterable[float], style: str, title: str = "") -> None:
        """A line through data; where one is not finite it breaks off, and what leaves the chart is cut off."""
        for stretch in _inside(zip(xs, ys, strict=True), *self.y):
            self.picture.line([self.place(x, y) for x, y in stretch], style, title)

    def band(self, xs: Sequence[float], low: Sequence[float], high: Sequence[float], style: str) -> None:
        """The area between two lines."""
        if len(xs) > 1:
            up = [self.place(x, y) for x, y in zip(xs, high, strict=True)]
            self.picture.area(
                [*up, *(self.place(x, y) for x, y in zip(reversed(xs), reversed(low), strict=True))], style
            )

    def dot(self, x: float, y: float, radius: float, style: str, title: str = "") -> None:
        """A disc at data."""
        self.picture.dot(*self.place(x, y), radius, style, title)

    def level(self, y: float, style: str, name: str = "") -> None:
        """A horizontal line, with its name at its right end, below it where there is room."""
        if self.y[0] <= y <= self.y[1]:
            end = self.picture.width - _RIGHT
            self.picture.line([(self.left, self.down(y)), (end, self.down(y))], style)
            if name:
                room = self.down(y) + 12 < self.picture.height - self.bottom
                self.picture.text(end, self.down(y) + (12 if room else -4), name, "small", "end")


def limits(values: Iterable[float], *, around: Iterable[float] = (), margin: float = 0.06) -> tuple[float, float]:
    """Room for values, and for those that must be ``around``; never empty."""
    found = [value for value in (*values, *around) if math.isfinite(value)]
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    room = margin * (high - low) or 0.5
    return low - room, high + room


def _inside(points: Iterable[Point], low: float, high: float) -> list[list[Point]]:
    """The stretches of a line between two heights, each cut where it crosses one; NaN and infinity break it."""
    stretches: list[list[Point]] = [[]]
    before: Point | None = None
    for point in points:
        if not (math.isfinite(point[0]) and math.isfinite(point[1])):
            before = None
            stretches.append([])
            continue
        inside = low <= point[1] <= high
        if before is not None and inside != (low <= before[1] <= high):
            edge = high if max(before[1], point[1]) > high else low
            share = (edge - before[1]) / (point[1] - before[1])
            stretches[-1].append((before[0] + share * (point[0] - before[0]), edge))
        if inside:
            stretches[-1].append(point)
        else:
            stretches.append([])
        before = point
    return [stretch for stretch in stretches if len(stretch) > 1]
