"""Losses as curves: their two functions of one probability with their slopes, and what a sample's loss comes to.

The functions are the true class's and each wrong class's (see `lossforge.expression.branches`). Below them stand
value and gradient of a whole sample, against its true class's probability and against a wrong class's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy
import torch
from torch import Tensor

from lossforge.errors import LossforgeError
from lossforge.expression.elementwise import value_and_slope
from lossforge.expression.formula import parse_formula
from lossforge.losses.analysis import in_training, logits_of
from lossforge.losses.behind_heads import baseline
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY, head_of, loss_spec
from lossforge.store.files import told_as_store_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
"""Suffixes of a figure's file."""
CLASSES = 10
"""Number of classes for which losses are drawn."""
MOST_LINES = 10
"""Losses that one figure can hold."""

_POINTS = 199
_EDGE = 0.005
"""Probabilities are drawn from here to one minus here."""
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, which the colour-blind can tell apart (its yellow is too pale for a line on white)."""
_STYLES = ("-", "-.")
_LABEL = 44
"""Characters of a formula that the legend shows."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A loss along a line of predictions; all of shape ``(P,)``, in float64.

    ``p`` is the probability that moves. ``gradient`` is the derivative of the value: on that class's logit where each
    prediction is a sample on its own, on p where the value is one class's function.
    """

    p: Tensor
    value: Tensor
    gradient: Tensor


def against_true(spec: LossSpec, classes: int = CLASSES, head: str = "softmax") -> Curve:
    """The loss against the true class's probability p_t, the other classes sharing the rest equally."""
    p = _line()
    others = ((1 - p) / (classes - 1))[:, None].expand(-1, classes - 1)
    return _curve(spec, p, torch.cat([p[:, None], others], 1), head, moving=0)


def against_wrong(spec: LossSpec, classes: int = CLASSES, head: str = "softmax") -> Curve:
    """The loss against one wrong class's probability, the true class having the rest (all others next to nothing)."""
    p = _line()
    nothing = torch.full((len(p), classes - 2), 1e-12, dtype=torch.float64)
    return _curve(spec, p, torch.cat([(1 - p)[:, None], p[:, None], nothing], 1), head, moving=1)


def of_class(spec: LossSpec, true: bool, classes: int = CLASSES) -> Curve | None:
    """The function of p that the loss is for the true class, or for each wrong one, and its slope.

    None for a loss that has none: a term, one that mixes classes, or one whose labels are smoothed.
    """
    if spec.is_term or spec.label_smoothing or parse_formula(spec.formula).crosses_classes:
        return None
    p = _line()
    parts = (p.numpy(), numpy.full(len(p), float(true)), p.log().numpy())
    value, slope = (torch.from_numpy(part.copy()) for part in value_and_slope(parse_formula(spec.formula), *parts))
    share = 1 / classes if spec.class_mean else 1.0
    return Curve(p, value * share, slope / p * share)


def gradient_scale(spec: LossSpec, classes: int = CLASSES, head: str = "softmax") -> float | None:
    """What makes the gradient on the logits of a uniform prediction as long as cross-entropy's; None where it is 0."""
    uniform = torch.full((1, classes), 1 / classes, dtype=torch.float64)
    own = float(value_and_gradient(spec, uniform, head)[1].norm())
    return float(value_and_gradient(baseline(head), uniform, head)[1].norm()) / own if own > 1e-9 else None


def _line() -> Tensor:
    return torch.linspace(_EDGE, 1 - _EDGE, _POINTS, dtype=torch.float64)


def _curve(spec: LossSpec, p: Tensor, y_pred: Tensor, head: str, moving: int) -> Curve:
    value, gradient = value_and_gradient(spec, y_pred, head)
    return Curve(p, value, gradient[:, moving])


def value_and_gradient(spec: LossSpec, y_pred: Tensor, head: str) -> tuple[Tensor, Tensor]:
    """Value ``(P,)`` of each prediction ``(P, C)`` of a sample of class 0, and its gradient ``(P, C)`` on the logits.

    The logits are those that the head makes these of. A term may reduce over the batch, so each prediction is a batch
    of its own.
    """
    logits = logits_of(y_pred, head).requires_grad_()
    if spec.is_term:
        alone = spec.build(head=head)
        target = torch.zeros(1, dtype=torch.int64)
        value = torch.stack([alone(row[None], target) for row in logits])
    else:
        criterion = in_training(spec, y_pred.shape[1], reduction="none", head=head)
        value = criterion(logits, torch.zeros(len(logits), dtype=torch.int64))
    if not value.requires_grad:
        return value, torch.zeros_like(y_pred)
    (gradient,) = torch.autograd.grad(value.sum(), logits, allow_unused=True)
    return value.detach(), torch.zeros_like(y_pred) if gradient is None else gradient


def plot_losses(names_or_formulas: Sequence[str], path: Path, classes: int = CLASSES) -> None:
    """Draw losses, with cross-entropy for reference, into a png, svg or pdf.

    Values are scaled as gradients are, and shifted so that the least is 0: neither changes what is learned.
    Raises LossforgeError for another suffix, a missing folder or too many losses, LossError or FormulaError for
    what is no loss, and StoreError where the file cannot be written.
    """
    path = Path(path)
    _check(path, len(names_or_formulas))
    specs = [loss_spec(name) for name in names_or_formulas]
    heads = [head_of(name) for name in names_or_formulas]
    figure = _drawn([_short(name) for name in names_or_formulas], specs, heads, classes)
    from matplotlib import rc_context

    # Without date and random names, the same losses give the same file.
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(path.suffix[1:].lower())
    with told_as_store_error(path, "try again", "name another file"), rc_context({"svg.hashsalt": "lossforge"}):
        figure.savefig(path, dpi=150, metadata=undated)


def _check(path: Path, count: int) -> None:
    if path.suffix[1:].lower() not in FORMATS:
        raise LossforgeError(f"{path}: a figure's name ends in {', '.join(f'.{name}' for name in FORMATS)}")
    if not path.parent.is_dir():
        raise LossforgeError(f"{path}: there is no folder {path.parent}; make it, or name another")
    if count > MOST_LINES:
        raise LossforgeError(f"{path}: a figure holds at most {MOST_LINES} losses, not {count}; name fewer")


def _short(name: str) -> str:
    name = " ".join(name.split()).replace("$", r"\$")
    return name if len(name) <= _LABEL else name[: _LABEL - 3] + "..."


_FUNCTIONS = ((True, "the true class's probability p"), (False, "a wrong class's probability p"))
_ROWS = (
    (against_true, "p_t, the true class's probability (the others share the rest)", "the true class's logit"),
    (against_wrong, "a wrong class's probability (the true class has the rest)", "the wrong class's logit"),
)


def _drawn(labels: list[str], specs: list[LossSpec], heads: list[str], classes: int) -> Figure:
    from matplotlib.figure import Figure

    lines = -(-(len(labels) + 1) // 2)
    functions = _FUNCTIONS if any(of_class(spec, True) for spec in specs) else ()
    rows = len(functions) + len(_ROWS)
    figure = Figure(figsize=(10, 3.6 * rows + 0.22 * lines), layout="constrained")
    panels = figure.subplots(rows, 2, squeeze=False)
    scales = [gradient_scale(spec, classes, head) for spec, head in zip(specs, heads, strict=True)]
    labels = [label if scale else f"{label} (not scaled)" for label, scale in zip(labels, scales, strict=True)]
    factors = [scale or 1.0 for scale in scales]
    for (true, along), row in zip(functions, panels, strict=False):
        _draw_functions(row, labels, [of_class(spec, true, classes) for spec in specs], factors, true, along)
    for (curve, along, logit), row in zip(_ROWS, panels[len(functions) :], strict=True):
        curves = [curve(spec, classes, head) for spec, head in zip(specs, heads, strict=True)]
        _draw_samples(row, labels, curves, factors, curve(LossSpec(CROSS_ENTROPY), classes), along, logit)
    handles, names = panels[-1][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    figure.suptitle(f"{classes} classes, one sample", fontsize="medium")
    return figure


def _draw_functions(
    row: Sequence[Axes], labels: list[str], curves: list[Curve | None], factors: list[float], true: bool, along: str
) -> None:
    """One class's function of p and its slope, of every loss that has one."""
    standard = of_class(LossSpec(CROSS_ENTROPY), true)
    assert standard is not None, "cross-entropy is a formula"
    scaled = [
        None if curve is None else scaled_curve(curve, factor) for curve, factor in zip(curves, factors, strict=True)
    ]
    values = [None if curve is None else (curve.p, curve.value) for curve in scaled]
    slopes = [None if curve is None else (curve.p, curve.gradient) for curve in scaled]
    title = "true class" if true else "wrong class"
    _panel(row[0], labels, values, (standard.p, standard.value - standard.value.min()), _spread)
    _panel(row[1], labels, slopes, (standard.p, standard.gradient), _spread)
    row[0].set(xlabel=along, ylabel=f"{title}'s function\n(scaled as the gradient; least = 0)")
    row[1].set(xlabel=along, ylabel="its slope (scaled as the gradient)")


def _draw_samples(
    row: Sequence[Axes],
    labels: list[str],
    curves: list[Curve],
    factors: list[float],
    standard: Curve,
    along: str,
    logit: str,
) -> None:
    """Value and gradient of whole samples."""
    scaled = [scaled_curve(curve, factor) for curve, factor in zip(curves, factors, strict=True)]
    least = standard.value - standard.value.min()
    _panel(row[0], labels, [(c.p, c.value) for c in scaled], (standard.p, least), sample_limits)
    _panel(row[1], labels, [(c.p, c.gradient) for c in scaled], (standard.p, standard.gradient), sample_limits)
    row[0].set(xlabel=along, ylabel="value (scaled as the gradient; least = 0)")
    row[1].set(xlabel=along, ylabel=f"gradient on {logit}\n(norm at uniform = cross-entropy's)")


def scaled_curve(curve: Curve, scale: float) -> Curve:
    """The curve of ``scale`` times the loss, shifted so that the least value is 0."""
    return Curve(curve.p, (curve.value - curve.value.min()) * scale, curve.gradient * scale)


Line = tuple[Tensor, Tensor]
"""Probabilities and heights, each of shape ``(P,)``."""


def _panel(
    axes: Axes,
    labels: list[str],
    lines: Sequence[Line | None],
    standard: Line,
    limits: Callable[[list[Tensor], Tensor], tuple[float, float]],
) -> None:
    """Draw what there is; a loss has its colour in every panel."""
    for index, (label, line) in enumerate(zip(labels, lines, strict=True)):
        if line is None:
            continue
        style, colour = _STYLES[index // len(_COLOURS) % len(_STYLES)], _COLOURS[index % len(_COLOURS)]
        axes.plot(line[0].tolist(), line[1].tolist(), style, color=colour, label=label, linewidth=1.6)
    axes.plot(
        *(part.tolist() for part in standard), "--", color="0.55", label="cross-entropy, for reference", linewidth=1.6
    )
    axes.set(xlim=(0, 1), ylim=limits([line[1] for line in lines if line is not None], standard[1]))
    axes.grid(color="0.92", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


def _spread(heights: list[Tensor], standard: Tensor) -> tuple[float, float]:
    """Room for nine tenths of each line: near 0 a slope such as -1 / p would leave none for the others."""
    low, high = 0.0, 0.0
    for line in [standard, *heights]:
        finite = line[line.isfinite()]
        if len(finite):
            low = min(low, float(finite.quantile(0.05)))
            high = max(high, float(finite.quantile(0.95)))
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def sample_limits(heights: list[Tensor], standard: Tensor) -> tuple[float, float]:
    """Room for every line, but for no more than twice cross-entropy's range above and below it."""
    low, high = float(standard.min()), float(standard.max())
    reach = 2 * (high - low)
    finite = torch.cat([standard, *heights])
    finite = finite[finite.isfinite()]
    bottom, top = max(float(finite.min()), low - reach), min(float(finite.max()), high + reach)
    margin = 0.04 * (top - bottom)
    return bottom - margin, top + margin
