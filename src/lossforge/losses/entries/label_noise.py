"""Losses for labels some of which are wrong."""

from __future__ import annotations

import math

from lossforge.losses.compiled import LossSpec
from lossforge.losses.entries.entry import NamedLoss, formula, number, of_term, times

NCE = "true_c(log(y_pred)) / sum_c(log(y_pred))"
"""Normalised cross-entropy: one number a sample."""
LOG_OF_NO_LABEL = math.log(1e-4)
_RCE = f"y_pred * max(log(y_true), {LOG_OF_NO_LABEL!r})"
_LEAST = -math.log(1e-7)
_NORMALISED = "Ma et al. 2020, arXiv 2006.13554"
_ASYMMETRIC = "Zhou et al. 2021, arXiv 2106.03110"
_WEIGHTS = {"alpha": "[0, inf)", "beta": "[0, inf)"}
_POSITIVE = {"a": "(0, inf)", "q": "(0, inf)"}
_ABOVE_ONE = {"a": "[1, inf)", "q": "(0, inf)"}


def _generalized(q: float) -> LossSpec:
    return LossSpec(f"y_true * (1 - exp({number(q)} * log(y_pred))) / {number(q)}")


def _agce(a: float, q: float) -> str:
    return f"({number((a + 1) ** q)} - ({number(a)} + y_pred)**{number(q)}) / {number(q)}"


def _aul(a: float, q: float) -> str:
    return f"(({number(a)} - y_pred)**{number(q)} - {number((a - 1) ** q)}) / {number(q)}"


def _ael(a: float) -> str:
    return f"exp(-y_pred / {number(a)})"


def _with_nce(alpha: float, beta: float, of_true: str) -> LossSpec:
    return formula(f"{times(alpha, NCE)} + {times(beta, f'true_c({of_true})')}")


def _nce_rce(a: float, b: float) -> LossSpec:
    return formula(f"{times(a, NCE)} - {times(b, f'sum_c({_RCE})')}")


def _anl_ce(alpha: float, beta: float) -> LossSpec:
    """A + log p is 0 or more for p held at 1e-7."""
    held = f"max({number(_LEAST)} + log(y_pred), 0)"
    return formula(f"{times(alpha, NCE)} + {times(beta, f'(1 - true_c({held}) / sum_c({held}))')}")


def _jal_ce(alpha: float, beta: float, a: float) -> LossSpec:
    return formula(f"{times(alpha, NCE)} + {times(beta, f'mean_c((y_pred - {number(a)} * y_true)**2)')}")


def _ce_epsilon_mae(alpha: float, beta: float, m: float) -> LossSpec:
    """log(p + m) where p is largest and the exact log(p) elsewhere: the logarithm of a sum would lose small p."""
    top = "top_c(y_pred)"
    log = f"{top} * log(y_pred + {number(m)}) + (1 - {top}) * log(y_pred)"
    cross = f"y_true * ({number(math.log1p(m))} - ({log}))"
    return formula(f"{times(alpha, cross)} + {times(beta, 'abs(y_true - y_pred)')}")


def _jensen_shannon(pi1: float) -> LossSpec:
    """log(p / m) is log p - log m, exact where y is 1, and -log(pi2 + pi1 y / p), exact where y is 0."""
    one, two = number(pi1), number(float(f"{1 - pi1:.15g}"))
    log_mixed = f"log({one} * y_true + {two} * y_pred)"
    of_label = f"{one} * y_true * (log(y_true) - {log_mixed})"
    log_ratio = f"y_true * (log(y_pred) - {log_mixed}) - (1 - y_true) * log({two} + {one} * y_true / y_pred)"
    return formula(f"({of_label} + {two} * y_pred * ({log_ratio})) / {number(-(1 - pi1) * math.log1p(-pi1))}")


def _taylor_ce(n: float) -> LossSpec:
    """Horner's form of u + u^2 / 2 + ... + u^n / n, with u = 1 - y_pred."""
    inner = number(1 / n)
    for j in range(int(n) - 1, 0, -1):
        inner = f"({number(1 / j)} + {inner} * (1 - y_pred))"
    return formula(f"y_true * {'(1 - y_pred)' if n == 1 else f'{inner} * (1 - y_pred)'}")


def _negative_label_smoothing(r: float) -> LossSpec:
    return formula(f"-({number(1 - r)} * y_true + {number(r)} / n_classes) * log(y_pred)")


ENTRIES = (
    NamedLoss(
        "mean_absolute_error",
        "absolute error of the probabilities; robust to wrong labels, slow to learn",
        "Ghosh et al. 2017, arXiv 1712.09482",
        {},
        lambda: LossSpec("abs(y_true - y_pred)"),
        aliases=("mae",),
        note="Summed over classes: 2 (1 - p_t) for one label. Some code has half of it.",
    ),
    NamedLoss(
        "generalized_ce",
        "(1 - p_t**q) / q: between cross-entropy (q to 0) and absolute error (q = 1)",
        "Zhang and Sabuncu 2018, arXiv 1805.07836",
        {"q": 0.7},
        _generalized,
        ranges={"q": "(0, 1]"},
        aliases=("gce",),
    ),
    NamedLoss(
        "symmetric_ce",
        "a CE(y, p) + b CE(p, y), with log(0) clipped to -4",
        "Wang et al. 2019, arXiv 1908.06112",
        {"a": 0.1, "b": 1.0},
        lambda a, b: LossSpec(f"-{number(a)} * y_true * log(y_pred) - {number(b)} * y_pred * max(log(y_true), -4)"),
        settings={100: {"a": 6.0, "b": 0.1}},
        aliases=("sce",),
        note="log(0) is a number that the paper chooses, here -4. Code that holds the label at 1e-4 instead has -9.21: "
        "take b 2.303 times as large for that.",
    ),
    NamedLoss(
        "nce",
        "normalised cross-entropy: log p_t over the sum of all log p",
        _NORMALISED,
        {},
        lambda: formula(NCE),
    ),
    NamedLoss(
        "rce",
        "reverse cross-entropy -sum p log y, with log 0 held at log 1e-4: a multiple of absolute error",
        "Wang et al. 2019, arXiv 1908.06112",
        {},
        lambda: formula(f"-{_RCE}"),
        note="log 0 as in the authors' code and in that of Ma et al. 2020.",
    ),
    NamedLoss(
        "nce_rce",
        "a NCE + b RCE: an active and a passive loss",
        _NORMALISED,
        {"a": 1.0, "b": 1.0},
        _nce_rce,
        ranges={"a": "[0, inf)", "b": "[0, inf)"},
        settings={100: {"a": 10.0, "b": 0.1}},
    ),
    NamedLoss(
        "agce",
        "asymmetric generalised cross-entropy ((a + 1)^q - (a + p_t)^q) / q",
        _ASYMMETRIC,
        {"a": 6.0, "q": 1.5},
        lambda a, q: formula(f"y_true * ({_agce(a, q)})"),
        ranges=_POSITIVE,
        settings={100: {"a": 1.8, "q": 3.0}},
        note="a and q are those that it has beside NCE; alone the paper chooses them for each data set.",
    ),
    NamedLoss(
        "aul",
        "asymmetric unhinged loss ((a - p_t)^q - (a - 1)^q) / q",
        _ASYMMETRIC,
        {"a": 6.3, "q": 1.5},
        lambda a, q: formula(f"y_true * ({_aul(a, q)})"),
        ranges=_ABOVE_ONE,
        settings={100: {"a": 6.0, "q": 3.0}},
        note="a and q are those that it has beside NCE; alone the paper chooses them for each data set.",
    ),
    NamedLoss(
        "ael",
        "asymmetric exponential loss exp(-p_t / a)",
        _ASYMMETRIC,
        {"a": 5.0},
        lambda a: formula(f"y_true * {_ael(a)}"),
        ranges={"a": "(0, inf)"},
        settings={100: {"a": 1.5}},
        note="a is that which it has beside NCE; alone the paper chooses it for each data set.",
    ),
    NamedLoss(
        "nce_agce",
        "alpha NCE + beta AGCE",
        _ASYMMETRIC,
        {"alpha": 1.0, "beta": 4.0, "a": 6.0, "q": 1.5},
        lambda alpha, beta, a, q: _with_nce(alpha, beta, _agce(a, q)),
        ranges={**_WEIGHTS, **_POSITIVE},
        settings={100: {"alpha": 10.0, "beta": 0.1, "a": 1.8, "q": 3.0}},
    ),
    NamedLoss(
        "nce_aul",
        "alpha NCE + beta AUL",
        _ASYMMETRIC,
        {"alpha": 1.0, "beta": 4.0, "a": 6.3, "q": 1.5},
        lambda alpha, beta, a, q: _with_nce(alpha, beta, _aul(a, q)),
        ranges={**_WEIGHTS, **_ABOVE_ONE},
        settings={100: {"alpha": 10.0, "beta": 0.015, "a": 6.0, "q": 3.0}},
    ),
    NamedLoss(
        "nce_ael",
        "alpha NCE + beta AEL",
        _ASYMMETRIC,
        {"alpha": 1.0, "beta": 4.0, "a": 5.0},
        lambda alpha, beta, a: _with_nce(alpha, beta, _ael(a)),
        ranges={**_WEIGHTS, "a": "(0, inf)"},
        settings={100: {"alpha": 10.0, "beta": 0.1, "a": 1.5}},
    ),
    NamedLoss(
        "anl_ce",
        "active negative loss: alpha NCE + beta (1 - (A + log p_t) / sum (A + log p)), A = -log 1e-7",
        "Ye et al. 2023, Active Negative Loss Functions for Learning with Noisy Labels, NeurIPS",
        {"alpha": 5.0, "beta": 5.0},
        _anl_ce,
        ranges=_WEIGHTS,
        settings={100: {"alpha": 10.0, "beta": 1.0}},
        note="In the second part p is held at 1e-7 or more. Trained with a decay of the weights' absolute values.",
    ),
    NamedLoss(
        "jal_ce",
        "joint asymmetric loss: alpha NCE + beta mean (p - a y)^2",
        "Joint Asymmetric Loss for Learning with Noisy Labels, 2025",
        {"alpha": 1.0, "beta": 1.0, "a": 30.0},
        _jal_ce,
        ranges={**_WEIGHTS, "a": "(0, inf)"},
        note="The setting is that for ten classes; that for a hundred could not be read.",
        of_ten=True,
    ),
    NamedLoss(
        "ce_epsilon_mae",
        "alpha CE(p') + beta MAE(p), where p' has m more on the largest probability, normalised",
        "Wang et al. 2024, Epsilon-Softmax: Approximating One-Hot Vectors for Mitigating Label Noise, NeurIPS",
        {"alpha": 0.01, "beta": 5.0, "m": 1e5},
        _ce_epsilon_mae,
        ranges={**_WEIGHTS, "m": "[0, 1e9]"},
        settings={100: {"alpha": 0.03, "beta": 1.0, "m": 1e4}},
        note="p' = (p + m onehot(argmax p)) / (m + 1). MAE is read as the sum over classes, 2 (1 - p_t); for half of "
        "it take half the beta.",
    ),
    NamedLoss(
        "jensen_shannon",
        "Jensen-Shannon divergence of label and prediction, weighted pi1 and 1 - pi1",
        "Englesson and Azizpour 2021, arXiv 2105.04522",
        {"pi1": 0.7},
        _jensen_shannon,
        ranges={"pi1": "(0, 1)"},
        aliases=("js",),
        note="(pi1 KL(y | m) + pi2 KL(p | m)) / (-(1 - pi1) log(1 - pi1)), m = pi1 y + pi2 p: the form of two "
        "distributions; the generalised one averages predictions for augmented images.",
    ),
    NamedLoss(
        "taylor_ce",
        "cross-entropy's series up to n: the sum of (1 - p_t)^j / j",
        "Feng et al. 2020, Can Cross Entropy Loss Be Robust to Label Noise?, IJCAI",
        {"n": 2.0},
        _taylor_ce,
        ranges={"n": "whole [1, 20]"},
        note="n = 1 is half of absolute error; the paper chooses n for each data set, 2 is ours.",
    ),
    of_term(
        "bi_tempered",
        "a bounded logarithm (t1 < 1) of a softmax with heavy tails (t2 > 1)",
        "Amid et al. 2019, arXiv 1906.03361",
        note="The defaults are the paper's for CIFAR-100 with wrong labels. The normaliser is the exact one.",
    ),
    NamedLoss(
        "negative_label_smoothing",
        "cross-entropy against (1 - r) y_true + r / C with r below 0",
        "Wei et al. 2022, arXiv 2106.04149",
        {"r": -0.2},
        _negative_label_smoothing,
        ranges={"r": "(-inf, 0]"},
        aliases=("nls",),
        note="Without a lower bound. The best r depends on the share of wrong labels; -0.2 is ours.",
    ),
)
