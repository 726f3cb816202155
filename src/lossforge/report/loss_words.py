"""What a loss does to an easy, a hard and a wrongly labelled sample, in words."""

from __future__ import annotations

import math

import torch

from lossforge.report.loss_picture import Shown

_EASY, _HARD, _SURE = 0.95, 0.2, 0.97


def in_words(shown: Shown) -> list[str]:
    """A sentence for each of three samples: how hard the loss pulls at it, beside cross-entropy.

    Both are scaled as in training, so that they pull alike at a prediction that knows nothing.
    """
    classes = shown.classes
    rest = classes - 1
    sure = [1 - _SURE if rest == 1 else (1 - _SURE) / 2, _SURE, *[(1 - _SURE) / 2 / max(rest - 1, 1)] * (rest - 1)]
    hard = max(_HARD, 0.8 / classes)
    samples = torch.tensor(
        [[_EASY, *[(1 - _EASY) / rest] * rest], [hard, *[(1 - hard) / rest] * rest], sure], dtype=torch.float64
    )
    mine, standard = shown.gradient(samples), shown.standard_gradient(samples)
    names = (
        f"An easy sample (its class at {100 * _EASY:.0f}\u00a0%)",
        f"A hard one (its class at {100 * hard:.0f}\u00a0%, the others alike)",
        f"A wrongly labelled one (the network is {100 * _SURE:.0f}\u00a0% sure of another class)",
    )
    return [
        f"{name} {_pulled(float(own.norm()), float(other.norm()), float(own[0]))}."
        for name, own, other in zip(names, mine, standard, strict=True)
    ]


def _pulled(own: float, other: float, on_label: float) -> str:
    """How hard the pull is, and where to; ``on_label`` is the gradient on the label's logit."""
    if not math.isfinite(own) or not other:
        return "has no finite gradient"
    share = own / other
    if share < 0.02:
        return f"is left alone: {_percent(share)} of cross-entropy's pull"
    if on_label > 0.05 * own:
        return f"is pushed away from its label, {_times(share)} as hard as cross-entropy pulls towards it"
    if share < 0.2:
        return f"is all but ignored: {_percent(share)} of cross-entropy's pull"
    if share < 0.8:
        return f"is pulled at less: {_percent(share)} of cross-entropy's pull"
    if share <= 1.25:
        return f"is pulled at about as hard as by cross-entropy ({_percent(share)})"
    return f"is pulled at harder: {_times(share)} as hard as by cross-entropy"


def _percent(share: float) -> str:
    return f"{100 * share:.2g}\u00a0%" if share < 0.1 else f"{100 * share:.0f}\u00a0%"


def _times(share: float) -> str:
    return f"{share:.1f} times" if share < 10 else f"{share:.0f} times"
