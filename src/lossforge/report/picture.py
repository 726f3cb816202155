"""Pictures as lists of marks: written as SVG for pages, and drawn by matplotlib where a PNG is asked for.

Marks name a style, never a colour: a page gives the styles their colours, light and dark.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lossforge.report.styles import MARKS, picture_css
from lossforge.store.files import told_as_store_error, write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True, slots=True)
class Mark:
    """One mark, in a picture's units (y grows downward): its kind, style, points, and what hovering tells."""

    kind: Literal["line", "area", "dot", "text"]
    style: str
    points: tuple[Point, ...]
    radius: float = 0.0
    text: str = ""
    anchor: Anchor = "start"
    title: str = ""
    turned: bool = False


@dataclass(slots=True)
class Picture:
    """A picture ``width`` x ``height`` units large, about a CSS pixel each; ``name`` is its file's, ``label`` read
    aloud."""

    name: str
    label: str
    width: float = 360.0
    height: float = 240.0
    marks: list[Mark] = field(default_factory=list)

    def line(self, points: Iterable[Point], style: str, title: str = "") -> None:
        """A line through points; of fewer than two nothing."""
        found = tuple(points)
        if len(found) > 1:
            self.marks.append(Mark("line", style, found, title=title))

    def area(self, points: Iterable[Point], style: str, title: str = "") -> None:
        """A filled polygon."""
        self.marks.append(Mark("area", style, tuple(points), title=title))

    def box(self, x: float, y: float, width: float, height: float, style: str, title: str = "") -> None:
        """A filled rectangle."""
        self.area([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], style, title)

    def dot(self, x: float, y: float, radius: float, style: str, title: str = "") -> None:
        """A disc."""
        self.marks.append(Mark("dot", style, ((x, y),), radius=radius, title=title))

    def text(
        self, x: float, y: float, text: str, style: str = "label", anchor: Anchor = "start", *, turned: bool = False
    ) -> None:
        """A line of text on the baseline ``y``; ``turned``: it reads upward."""
        self.marks.append(Mark("text", style, ((x, y),), text=text, anchor=anchor, turned=turned))

    def arrow(self, start: Point, end: Point, style: str, head: float = 3.0) -> None:
        """A line with a head at its end, which shrinks with a short line."""
        dx, dy = end[0] - start[0], end[1] - start[1]
        length = (dx * dx + dy * dy) ** 0.5
        if length < 0.3:
            return
        size = min(head, 0.6 * length)
        ux, uy = dx / length * size, dy / length * size
        base = (end[0] - ux, end[1] - uy)
        self.line([start, end], style)
        self.line([(base[0] - 0.6 * uy, base[1] + 0.6 * ux), end, (base[0] + 0.6 * uy, base[1] - 0.6 * ux)], style)

    def svg(self, *, alone: bool = False) -> str:
        """SVG text; ``alone`` for a file of its own, with its colours."""
        space = ' xmlns="http://www.w3.org/2000/svg"' if alone else ""
        size = f' width="{self.width:g}" height="{self.height:g}"' if alone else ""
        style = f"<style>{picture_css()}</style>" if alone else ""
        marks = "".join(_svg_mark(mark) for mark in self.marks)
        return (
            f'<svg{space}{size} class="picture" viewBox="0 0 {self.width:g} {self.height:g}" role="img" '
            f'aria-label="{escape(self.label)}">{style}{marks}</svg>'
        )

    def save(self, folder: Path) -> list[Path]:
        """Write NAME.svg and NAME.png into a folder; returns their paths. Raises StoreError where it cannot be."""
        vector, pixels = folder / f"{self.name}.svg", folder / f"{self.name}.png"
        write_atomically(vector, self.svg(alone=True) + "\n", elsewhere="name another folder with --plots")
        with told_as_store_error(pixels, elsewhere="name another folder with --plots"):
            self._draw(pixels)
        return [vector, pixels]

    def _draw(self, path: Path) -> None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(self.width / 96, self.height / 96), facecolor="white")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, self.width), ylim=(self.height, 0))
        axes.set_axis_off()
        alike = groupby(self.marks, key=lambda mark: (mark.kind, mark.style, mark.radius))
        for order, (_, marks) in enumerate(alike):
            _draw_alike(axes, list(marks), order)
        figure.savefig(path, dpi=192)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _path(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points)


def _svg_mark(mark: Mark) -> str:
    title = f"<title>{escape(mark.title)}</title>" if mark.title else ""
    if mark.kind == "text":
        x, y = (_number(value) for value in mark.points[0])
        anchor = "" if mark.anchor == "start" else f' text-anchor="{mark.anchor}"'
        turn = f' transform="rotate(-90 {x} {y})"' if mark.turned else ""
        return f'<text class="{mark.style}" x="{x}" y="{y}"{anchor}{turn}>{escape(mark.text)}</text>'
    if mark.kind == "dot":
        x, y = (_number(value) for value in mark.points[0])
        place = f'class="{mark.style}" cx="{x}" cy="{y}" r="{mark.radius:g}"'
        return f"<circle {place}>{title}</circle>" if title else f"<circle {place}/>"
    end = "Z" if mark.kind == "area" else ""
    place = f'class="{mark.style}" d="{_path(mark.points)}{end}"'
    return f"<path {place}>{title}</path>" if title else f"<path {place}/>"


def _draw_alike(axes: Axes, marks: Sequence[Mark], order: int) -> None:
    """Draw marks of one kind and style, which lie above all before."""
    from matplotlib.collections import LineCollection, PolyCollection

    style, kind = MARKS[marks[0].style], marks[0].kind
    if kind == "text":
        for mark in marks:
            _draw_text(axes, mark, order)
    elif kind == "dot":
        xs, ys = zip(*(mark.points[0] for mark in marks), strict=True)
        size = (2 * marks[0].radius * 0.75) ** 2
        axes.scatter(xs, ys, s=size, color=style.light, alpha=style.opacity, linewidths=0, zorder=order)
    elif kind == "area":
        shapes = [mark.points for mark in marks]
        axes.add_collection(PolyCollection(shapes, facecolors=style.light, alpha=style.opacity, zorder=order))
    else:
        dash = (0, tuple(one / style.width for one in style.dash)) if style.dash else "solid"
        lines = LineCollection([mark.points for mark in marks], colors=style.light, alpha=style.opacity, zorder=order)
        lines.set(linewidth=0.75 * style.width, linestyle=dash)
        axes.add_collection(lines)


def _draw_text(axes: Axes, mark: Mark, order: int) -> None:
    style, (x, y) = MARKS[mark.style], mark.points[0]
    align = {"start": "left", "middle": "center", "end": "right"}[mark.anchor]
    drawn = axes.text(x, y, mark.text.replace("$", r"\$"), color=style.light, ha=align, va="baseline", zorder=order)
    drawn.set(fontsize=style.size * 0.75, weight="bold" if style.bold else "normal")
    if mark.turned:
        drawn.set(rotation=90, rotation_mode="anchor")
