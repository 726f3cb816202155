"""Losses as curves: value and gradient against the true class's probability, and against a wrong class's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lossforge.errors import LossforgeError
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY, loss_spec
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
    """A loss along a line of predictions, each a sample on its own; all of shape ``(P,)``, in float64.

    ``p`` is the probability that moves and ``gradient`` is the derivative of the value on that class's logit.
    """

    p: Tensor
    value: Tensor
    gradient: Tensor


def against_true(spec: LossSpec, classes: int = CLASSES) -> Curve:
    """The loss against the true class's probability p_t, the other classes sharing the rest equally."""
    p = _line()
    others = ((1 - p) / (classes - 1))[:, None].expand(-1, classes - 1)
    return _curve(spec, p, torch.cat([p[:, None], others], 1), moving=0)


def against_wrong(spec: LossSpec, classes: int = CLASSES) -> Curve:
    """The loss against one wrong class's probability, the true class having the rest (all others next to nothing)."""
    p = _line()
    nothing = torch.full((len(p), classes - 2), 1e-12, dtype=torch.float64)
    return _curve(spec, p, torch.cat([(1 - p)[:, None], p[:, None], nothing], 1), moving=1)


def gradient_scale(spec: LossSpec, classes: int = CLASSES) -> float | None:
    """What makes the gradient on the logits of a uniform prediction as long as cross-entropy's; None where it is 0."""
    uniform = torch.full((1, classes), 1 / classes, dtype=torch.float64)
    own = float(_value_and_gradient(spec, uniform)[1].norm())
    return float(_value_and_gradient(LossSpec(CROSS_ENTROPY), uniform)[1].norm()) / own if own > 1e-9 else None


def _line() -> Tensor:
    return torch.linspace(_EDGE, 1 - _EDGE, _POINTS, dtype=torch.float64)


def _curve(spec: LossSpec, p: Tensor, y_pred: Tensor, moving: int) -> Curve:
    value, gradient = _value_and_gradient(spec, y_pred)
    return Curve(p, value, gradient[:, moving])


def _value_and_gradient(spec: LossSpec, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """Value ``(P,)`` of each prediction ``(P, C)`` of a sample of class 0, and its gradient ``(P, C)`` on the logits.

    The logits are log(y_pred). A term may reduce over the batch, so each prediction is a batch of its own.
    """
    logits = y_pred.log().requires_grad_()
    if spec.is_term:
        criterion = spec.build()
        target = torch.zeros(1, dtype=torch.int64)
        value = torch.stack([criterion(row[None], target) for row in logits])
    else:
        value = spec.build(reduction="none")(logits, torch.zeros(len(logits), dtype=torch.int64))
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
    figure = _drawn([_short(name) for name in names_or_formulas], specs, classes)
    from matplotlib import rc_context

    # Without date and random names, the same losses give the same file.
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(path.suffix[1:].lower())
    with told_as_store_error(path, "try again"), rc_context({"svg.hashsalt": "lossforge"}):
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


_ROWS = (
    (against_true, "p_t, the true class's probability (the others share the rest)", "the true class's logit"),
    (against_wrong, "a wrong class's probability (the true class has the rest)", "the wrong class's logit"),
)


def _drawn(labels: list[str], specs: list[LossSpec], classes: int) -> Figure:
    from matplotlib.figure import Figure

    lines = -(-(len(labels) + 1) // 2)
    figure = Figure(figsize=(10, 7.2 + 0.22 * lines), layout="constrained")
    panels = figure.subplots(2, 2, squeeze=False)
    reference = LossSpec(CROSS_ENTROPY)
    scales = [gradient_scale(spec, classes) for spec in specs]
    labels = [label if scale else f"{label} (not scaled)" for label, scale in zip(labels, scales, strict=True)]
    for (curve, along, logit), (value_panel, gradient_panel) in zip(_ROWS, panels, strict=True):
        standard = curve(reference, classes)
        curves = [_scaled(curve(spec, classes), scale or 1.0) for spec, scale in zip(specs, scales, strict=True)]
        _panel(
            value_panel, labels, [(c.p, c.value) for c in curves], (standard.p, standard.value - standard.value.min())
        )
        _panel(gradient_panel, labels, [(c.p, c.gradient) for c in curves], (standard.p, standard.gradient))
        value_panel.set(xlabel=along, ylabel="value (scaled as the gradient; least = 0)")
        gradient_panel.set(xlabel=along, ylabel=f"gradient on {logit}\n(norm at uniform = cross-entropy's)")
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    figure.suptitle(f"{classes} classes, one sample", fontsize="medium")
    return figure


def _scaled(curve: Curve, scale: float) -> Curve:
    return Curve(curve.p, (curve.value - curve.value.min()) * scale, curve.gradient * scale)


def _panel(axes: Axes, labels: list[str], lines: list[tuple[Tensor, Tensor]], standard: tuple[Tensor, Tensor]) -> None:
    for index, (label, (p, height)) in enumerate(zip(labels, lines, strict=True)):
        style = _STYLES[index // len(_COLOURS) % len(_STYLES)]
        axes.plot(p.tolist(), height.tolist(), style, color=_COLOURS[index % len(_COLOURS)], label=label, linewidth=1.6)
    axes.plot(
        *(part.tolist() for part in standard), "--", color="0.55", label="cross-entropy, for reference", linewidth=1.6
    )
    axes.set(xlim=(0, 1), ylim=_limits([height for _, height in lines], standard[1]))
    axes.grid(color="0.92", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


def _limits(heights: list[Tensor], standard: Tensor) -> tuple[float, float]:
    """Room for every line, but for no more than twice cross-entropy's range above and below it."""
    low, high = float(standard.min()), float(standard.max())
    reach = 2 * (high - low)
    finite = torch.cat([standard, *heights])
    finite = finite[finite.isfinite()]
    bottom, top = max(float(finite.min()), low - reach), min(float(finite.max()), high + reach)
    margin = 0.04 * (top - bottom)
    return bottom - margin, top + margin
