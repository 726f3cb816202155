"""A loss as pictures: value and gradient against probabilities, and how it moves predictions of three classes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lossforge.errors import LossforgeError
from lossforge.losses.behind_heads import baseline
from lossforge.losses.candidates import candidate_spec
from lossforge.losses.compiled import LossSpec
from lossforge.report.chart import Chart
from lossforge.report.loss_plot import (
    Curve,
    against_true,
    against_wrong,
    gradient_scale,
    sample_limits,
    scaled_curve,
    value_and_gradient,
)
from lossforge.report.picture import Picture

_WIDTH, _HEIGHT = 280.0, 210.0
_ROWS = 11
"""Arrows along a side of the triangle."""
_SIDE = 248.0
_LONGEST = 21.0
"""Length of an arrow whose step moves probabilities most, in a picture's units."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A loss that pictures are made of, scaled as a search trains it; cross-entropy behind the same head beside it."""

    spec: LossSpec
    head: str
    classes: int
    scale: float

    @classmethod
    def of(cls, formula: str, head: str, classes: int) -> Shown | None:
        """None where the formula cannot be read, or has no gradient near a uniform start."""
        columns, count = ("softmax", 2) if head == "binary" else (head, classes)
        try:
            spec = candidate_spec(formula, head)
            scale = gradient_scale(spec, count, columns)
        except (LossforgeError, ValueError, RuntimeError):
            return None
        return None if scale is None or not math.isfinite(scale) else cls(spec, columns, count, scale)

    @property
    def standard(self) -> LossSpec:
        """Cross-entropy."""
        return baseline(self.head)

    def gradient(self, y_pred: Tensor) -> Tensor:
        """Gradient ``(P, C)`` on the logits of samples of class 0 that have these probabilities ``(P, C)``, scaled."""
        return value_and_gradient(self.spec, y_pred, self.head)[1] * self.scale

    def standard_gradient(self, y_pred: Tensor) -> Tensor:
        """Cross-entropy's."""
        return value_and_gradient(self.standard, y_pred, self.head)[1]


def loss_pictures(shown: Shown, name: str) -> list[tuple[Picture, str]]:
    """Pictures of a loss, each with its caption."""
    found = []
    wrong_too = shown.classes > 2
    for place, curve in enumerate((against_true, against_wrong) if wrong_too else (against_true,)):
        mine = scaled_curve(curve(shown.spec, shown.classes, shown.head), shown.scale)
        standard = curve(shown.standard, shown.classes, shown.head)
        standard = Curve(standard.p, standard.value - standard.value.min(), standard.gradient)
        whose = ("true", "wrong")[place]
        along = f"probability of {('the true', 'a wrong')[place]} class"
        for part, title in (("value", "loss"), ("gradient", "gradient on its logit")):
            picture = _curves(f"{name}-{part}-{whose}", part, mine, standard, along)
            found.append((picture, f"<b>{title.capitalize()}</b> against the {along}"))
    return found


def _curves(name: str, part: str, mine: Curve, standard: Curve, along: str) -> Picture:
    picture = Picture(name, f"{part} against the {along}, beside cross-entropy", _WIDTH, _HEIGHT)
    own, other = getattr(mine, part), getattr(standard, part)
    chart = Chart(picture, (0.0, 1.0), sample_limits([own], other), left=47.0)
    chart.axes(along, "scaled " + part if part == "value" else part, signed=part == "gradient")
    xs = mine.p.tolist()
    chart.line(xs, other.tolist(), "reference", "cross-entropy")
    chart.line(xs, own.tolist(), "own", "this loss")
    return picture


def triangle(shown: Shown, name: str) -> Picture | None:
    """How a step down the gradient moves predictions of three classes, beside cross-entropy; None behind sigmoids.

    The true class is on top. A step on the logits moves probabilities p by ``-(diag(p) - p p^T) g``; an arrow's length
    goes with the root of that, the same way for both losses.
    """
    if shown.head != "softmax":
        return None
    three = Shown.of(shown.spec.formula, shown.head, 3) if not shown.spec.label_smoothing else None
    three = three or Shown(shown.spec, shown.head, 3, shown.scale)
    height = _SIDE * math.sqrt(3) / 2
    picture = Picture(name, "Where a step of this loss moves predictions of three classes", 320.0, height + 62)
    corners = torch.tensor([[160.0, 26.0], [160 - _SIDE / 2, 26 + height], [160 + _SIDE / 2, 26 + height]])
    outline = [(float(x), float(y)) for x, y in corners]
    picture.line([*outline, outline[0]], "axis")
    picture.text(160, 16, "true class", "label-ink", "middle")
    for x, y in outline[1:]:
        picture.text(x, y + 18, "wrong class", "label", "middle")
    p = torch.tensor(list(_lattice()), dtype=torch.float64)
    places = (p @ corners.double()).tolist()
    fields = [_moved(p, gradient(p)) @ corners.double() for gradient in (three.standard_gradient, three.gradient)]
    longest = max(float(field.norm(dim=1).nan_to_num(0.0, 0.0, 0.0).quantile(0.9)) for field in fields) or 1.0
    for field, style in zip(fields, ("arrow-other", "arrow"), strict=True):
        for (x, y), (dx, dy) in zip(places, field.tolist(), strict=True):
            length = math.hypot(dx, dy)
            if math.isfinite(length) and length > 1e-4 * longest:
                long = _LONGEST * min((length / longest) ** 0.5, 1.15) / length
                picture.arrow((x, y), (x + dx * long, y + dy * long), style, head=4.0)
    for x, y in places:
        picture.dot(x, y, 1.1, "point-plain")
    return picture


def _lattice() -> Iterator[tuple[float, float, float]]:
    """Probabilities of three classes, evenly over the triangle's inside."""
    steps = _ROWS + 1
    for first in range(steps):
        for second in range(steps - first):
            third = steps - 1 - first - second
            yield tuple((one + 0.35) / (steps - 1 + 1.05) for one in (first, second, third))  # type: ignore[misc]


def _moved(p: Tensor, gradient: Tensor) -> Tensor:
    """How probabilities ``(P, 3)`` move with a small step down the gradient on their logits."""
    return -(p * gradient - p * (p * gradient).sum(1, keepdim=True))
