"""Losses that a search found, and one that fools searches."""

from __future__ import annotations

from collections.abc import Callable

from lossforge.losses.compiled import LossSpec
from lossforge.losses.entries.entry import OVER_ALL, NamedLoss, formula, number, times


def _taylor(**theta: float) -> LossSpec:
    t = [number(theta[f"t{index}"]) for index in range(8)]
    u, v = f"(y_pred - {t[1]})", f"(y_true - {t[0]})"
    terms = (
        f"{t[2]} * {u}",
        f"{t[3]} * {u}**2",
        f"{t[4]} * {u}**3",
        f"{t[5]} * {v} * {u}",
        f"{t[6]} * {v} * {u}**2",
        f"{t[7]} * {v}**2 * {u}",
    )
    return LossSpec(f"-({' + '.join(terms)})")


def _search_softmax(a: float) -> LossSpec:
    turned_down = f"- {times(-a, 'y_pred')}" if a < 0 else f"+ {times(a, 'y_pred')}"
    return LossSpec(f"-y_true * (log(y_pred) - log({number(1 - a)} {turned_down}))")


def _ngl(p: str) -> Callable[[], LossSpec]:
    return lambda: LossSpec(f"exp(2.4092 - {p} - {p} * y_true) - cos(cos(sin({p})))", class_mean=True)


_FAR = "1e9"
"""What is taken off the labelled class's logit, so that it is not the largest of the others."""


def _log_ratio(beta: float, tau: float) -> LossSpec:
    """The logarithm of a sigmoid is written so that no guard acts; the exponential's acts where the sigmoid is 0."""
    label = "top_c(y_true)"
    margin = f"(sum_c({label} * logit) - max_c(logit - {_FAR} * {label}))"
    x, ratio = times(beta, margin), times(beta / tau, margin)
    logistic = f"(0.5 * (abs({x}) - {x}) + log(1 + exp(-abs({x}))))"
    return formula(f"sigmoid(-({ratio})) * {logistic} + sigmoid({ratio}) * exp(-({x}))")


ENTRIES = (
    NamedLoss(
        "search_softmax",
        "cross-entropy with the true class's share reshaped: -log(p_t / (a p_t + 1 - a))",
        "Wang et al. 2020, Loss Function Search for Face Recognition, ICML (the authors use margins too)",
        {"a": -1.0},
        _search_softmax,
        ranges={"a": "(-inf, 1)"},
        note="Published for a of 0 or less, where the probability is turned down; a in (0, 1) turns it up and is "
        "allowed here. The paper draws a from a distribution that it learns and names no value: -1 is ours.",
    ),
    NamedLoss(
        "baikal",
        "log p minus y / p, negated, mean over classes; y / p bounded by p held at 1e-6 or more",
        "Gonzalez and Miikkulainen 2020, arXiv 1905.11528 (some code sums over classes)",
        {},
        lambda: LossSpec("-(log(y_pred) - y_true / y_pred)", class_mean=True),
        reduction=OVER_ALL,
    ),
    NamedLoss(
        "taylorglo",
        "third-order Taylor polynomial in y_true and y_pred; the defaults are those found for MNIST",
        "Gonzalez and Miikkulainen 2021, arXiv 2002.00059",
        {
            "t0": -10.9408,
            "t1": 7.5216,
            "t2": 8.2896,
            "t3": 0.2415,
            "t4": 7.8726,
            "t5": 8.9666,
            "t6": 2.0184,
            "t7": 7.0513,
        },
        _taylor,
        aliases=("taylorglo_mnist",),
        note="The eight values could be read. Whether the printed polynomial has Taylor's factors 1/2 (t3, t6, t7) and "
        "1/6 (t4) could not; it is written here without them: to have them, divide those parameters.",
    ),
    NamedLoss(
        "ngl",
        "Next Generation Loss, found by genetic programming; mean over samples and classes",
        "Akhmedova and Körber 2024, arXiv 2404.12948 (the authors' torch file)",
        {},
        _ngl("y_pred"),
        reduction=OVER_ALL,
    ),
    NamedLoss(
        "ngl_sigmoid",
        "NGL of the sigmoid of the softmax: the TensorFlow variant with scaling, a different loss",
        "Akhmedova and Körber 2024, arXiv 2404.12948 (the authors' TensorFlow file)",
        {},
        _ngl("sigmoid(y_pred)"),
        reduction=OVER_ALL,
    ),
    NamedLoss(
        "log_ratio",
        "DiscoPOP's log-ratio modulated loss on the margin of the true logit over the best other",
        "Lu et al. 2024, arXiv 2406.08414 (found by a language model, for preferences)",
        {"beta": 1.0, "tau": 0.2},
        _log_ratio,
        ranges={"beta": "(0, inf)", "tau": "(0, 0.5]"},
        aliases=("lrml",),
        note="-(1 - s) log(sigmoid(x)) + s exp(-x) with x = beta (z_t - largest other z) and s = sigmoid(x / tau). The "
        "paper's formula has tau, its code the sigmoid of the ratio itself: the same at the published beta = tau = "
        "0.05. On margins of logits those do not learn: from -2.35 to 1.40 the loss grows with the margin. So the "
        "defaults are ours: with tau of 0.11 or more it falls everywhere. Of soft labels the largest counts as true.",
    ),
    NamedLoss(
        "exp_error",
        "a negative control: it passes cheap screens and trains worse than cross-entropy",
        "lossforge",
        {},
        lambda: LossSpec("exp(y_true - y_pred)"),
        control=True,
    ),
)
