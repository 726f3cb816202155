"""Losses for labels that are right."""

from __future__ import annotations

from lossforge.losses.compiled import LossSpec
from lossforge.losses.entries.entry import NamedLoss, formula, number, of_term, times

CROSS_ENTROPY = "-y_true * log(y_pred)"


def _smooth_l1(beta: float) -> LossSpec:
    error, near = "abs(y_true - y_pred)", f"min(abs(y_true - y_pred), {number(beta)})"
    return LossSpec(f"{near} * ({error} - 0.5 * {near}) / {number(beta)}")


def _poly(**e: float) -> LossSpec:
    """Horner's form of e1 u + e2 u^2 + ..., with u = 1 - y_pred."""
    coefficients = list(e.values())
    while coefficients and coefficients[-1] == 0:
        coefficients.pop()
    if not coefficients:
        return formula(CROSS_ENTROPY)
    inner = number(coefficients.pop())
    while coefficients:
        inner = f"({number(coefficients.pop())} + {inner} * (1 - y_pred))"
    return formula(f"y_true * ({inner} * (1 - y_pred) - log(y_pred))")


def _maxsup(alpha: float) -> LossSpec:
    return formula(f"{times(alpha, '(max_c(logit) - mean_c(logit))')} - true_c(log(y_pred))")


ENTRIES = (
    NamedLoss(
        "cross_entropy",
        "the baseline of every comparison",
        "textbook",
        {},
        lambda: LossSpec(CROSS_ENTROPY),
        aliases=("ce",),
    ),
    NamedLoss(
        "label_smoothing",
        "cross-entropy against (1 - e) y_true + e / C; the fair control for NGL",
        "Szegedy et al. 2016, arXiv 1512.00567",
        {"e": 0.1},
        lambda e: LossSpec(CROSS_ENTROPY, label_smoothing=e),
        ranges={"e": "[0, 1)"},
    ),
    NamedLoss(
        "brier",
        "squared error of the probabilities, summed over classes",
        "Brier 1950",
        {},
        lambda: LossSpec("(y_true - y_pred)**2"),
        aliases=("mse",),
    ),
    NamedLoss(
        "poly1",
        "cross-entropy plus e (1 - p_t)",
        "Leng et al. 2022, arXiv 2204.12511",
        {"e": 1.0},
        lambda e: LossSpec(f"y_true * ({number(e)} * (1 - y_pred) - log(y_pred))"),
        note="e = 1 is the default of the published code; the paper tunes it for each task.",
    ),
    NamedLoss(
        "poly_n",
        "PolyLoss: cross-entropy plus e1 (1 - p_t) + e2 (1 - p_t)^2 + ...",
        "Leng et al. 2022, arXiv 2204.12511",
        {"e1": 1.0, "e2": 0.5, "e3": 0.0, "e4": 0.0, "e5": 0.0, "e6": 0.0},
        _poly,
        note="n is the last coefficient that is not 0; each is added to the 1 / j of cross-entropy's own series. With "
        "e1 alone it is poly1. The paper tunes them for each task; these are ours.",
    ),
    NamedLoss(
        "smooth_l1",
        "Huber's loss of y_true - y_pred: squared below beta, absolute above",
        "Girshick 2015, arXiv 1504.08083",
        {"beta": 0.5},
        _smooth_l1,
        ranges={"beta": "(0, inf)"},
        note="Published for boxes, with beta = 1, which no error of a probability exceeds; 0.5 is ours.",
    ),
    NamedLoss(
        "maxsup",
        "cross-entropy plus alpha (largest logit - mean logit): smoothing where the network is wrong too",
        "Zhou et al. 2025, arXiv 2502.15798",
        {"alpha": 0.1},
        _maxsup,
        ranges={"alpha": "[0, inf)"},
        note="The default is label smoothing's usual share; the paper's own for each network could not be read again.",
    ),
    NamedLoss(
        "binary_cross_entropy",
        "binary cross-entropy of the head's probabilities, summed over classes",
        "textbook",
        {},
        lambda: LossSpec("-y_true * log(y_pred) - (1 - y_true) * log(1 - y_pred)"),
        note="As code has it that gives a softmax's outputs to a binary cross-entropy: of two classes it is twice "
        "cross-entropy. 1 - p is held at 1e-6 or more. Behind sigmoids it is binary cross-entropy itself; 'bce' is "
        "that of sigmoids whatever the head.",
    ),
    of_term(
        "bce",
        "binary cross-entropy of every class: sigmoids in place of softmax, computed from the logits",
        "textbook",
    ),
    of_term(
        "logit_norm",
        "cross-entropy of logits divided by tau times their norm",
        "Wei et al. 2022, arXiv 2205.09310",
        note="tau is the paper's for CIFAR-10; of the logits as they are, not less their mean. The authors' code adds "
        "1e-7 to the norm; here it is held at 1e-6 or more.",
    ),
)
