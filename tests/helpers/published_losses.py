"""The losses of the library as their sources have them, written anew in plain torch, without any of lossforge.

Each takes logits ``(N, C)`` and one-hot labels ``(N, C)``, or labels of 0 and 1, in float64, and gives one value a
sample, or one for the batch where the loss is none of single samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Meaning = Callable[[Tensor, Tensor], Tensor]
SHARES = torch.tensor([0.3, 0.002, 0.05, 0.1, 0.148, 0.2, 0.1, 0.05, 0.03, 0.02], dtype=torch.float64)
"""How frequent the ten classes are, where a loss asks."""


def log_p(z: Tensor) -> Tensor:
    """Logarithms of the probabilities, exact however small."""
    return torch.log_softmax(z, 1)


def true(x: Tensor, y: Tensor) -> Tensor:
    """x at the true class."""
    return x[torch.arange(len(x)), y.argmax(1)]


def of_p_true(function: Callable[[Tensor], Tensor]) -> Meaning:
    """A function of the true class's probability."""
    return lambda z, y: function(true(torch.softmax(z, 1), y))


def of_log_p_true(function: Callable[[Tensor, Tensor], Tensor]) -> Meaning:
    """A function of the true class's probability and its logarithm."""
    return lambda z, y: function(true(torch.softmax(z, 1), y), true(log_p(z), y))


def summed(function: Callable[[Tensor, Tensor], Tensor]) -> Meaning:
    """A function of probability and label, summed over classes."""
    return lambda z, y: function(torch.softmax(z, 1), y).sum(1)


def cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(z, y.argmax(1), reduction="none")


def smoothed(e: float) -> Meaning:
    return lambda z, y: functional.cross_entropy(z, y.argmax(1), reduction="none", label_smoothing=e)


def ngl(squash: Callable[[Tensor], Tensor]) -> Meaning:
    def value(z: Tensor, y: Tensor) -> Tensor:
        p = squash(torch.softmax(z, 1))
        return (torch.exp(2.4092 - p - p * y) - torch.cos(torch.cos(torch.sin(p)))).mean(1)

    return value


def taylorglo(p: Tensor, y: Tensor) -> Tensor:
    u, v = p - 7.5216, y + 10.9408
    return -(8.2896 * u + 0.2415 * u**2 + 7.8726 * u**3 + 8.9666 * v * u + 2.0184 * v * u**2 + 7.0513 * v**2 * u)


def baikal(z: Tensor, y: Tensor) -> Tensor:
    return (y / torch.softmax(z, 1).clamp(min=1e-6) - log_p(z)).mean(1)


def bce(z: Tensor, y: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(z, y, reduction="none").sum(1)


def bce_of_probabilities(z: Tensor, y: Tensor) -> Tensor:
    rest = (1 - torch.softmax(z, 1)).clamp(min=1e-6)
    return -(y * log_p(z) + (1 - y) * rest.log()).sum(1)


def adaptive_focal(d: float, threshold: float) -> Meaning:
    """Without what depends on a training's progress; the difficulty's gradient is none."""

    def meaning(z: Tensor, y: Tensor) -> Tensor:
        p = torch.softmax(z, 1)
        focal = -y * (1 - p) ** 2 * log_p(z)
        hard = -(1 - y) * (p > threshold) * (1 - p).clamp(min=1e-6).log()
        return (focal + hard).sum(1) * (1 + d * (1 - true(p.detach(), y)))

    return meaning


def overlap(a: float, b: float, e: float, exponent: float = 1.0) -> Meaning:
    """Mean over classes of a power of 1 - Tversky index."""

    def mean(z: Tensor, y: Tensor) -> Tensor:
        p = torch.softmax(z, 1)
        tp, fp, fn = (p * y).sum(0), (p * (1 - y)).sum(0), ((1 - p) * y).sum(0)
        return ((1 - (tp + e) / (tp + a * fp + b * fn + e)) ** exponent).mean()

    return mean


# Label noise


def nce(z: Tensor, y: Tensor) -> Tensor:
    return true(log_p(z), y) / log_p(z).sum(1)


def rce(z: Tensor, y: Tensor) -> Tensor:
    return -(torch.softmax(z, 1) * y.clamp(min=1e-4).log()).sum(1)


def mae(z: Tensor, y: Tensor) -> Tensor:
    return (y - torch.softmax(z, 1)).abs().sum(1)


def agce(a: float, q: float) -> Meaning:
    return of_p_true(lambda p: ((a + 1) ** q - (a + p) ** q) / q)


def aul(a: float, q: float) -> Meaning:
    return of_p_true(lambda p: ((a - p) ** q - (a - 1) ** q) / q)


def ael(a: float) -> Meaning:
    return of_p_true(lambda p: torch.exp(-p / a))


def both(first: float, one: Meaning, second: float, other: Meaning) -> Meaning:
    return lambda z, y: first * one(z, y) + second * other(z, y)


def nnce(z: Tensor, y: Tensor) -> Tensor:
    """The negative part of the active negative loss, from probabilities that are held."""
    a = -math.log(1e-7)
    height = a + log_p(z).clamp(min=-a)
    return 1 - true(height, y) / height.sum(1)


def asymmetric_mse(a: float) -> Meaning:
    return lambda z, y: (torch.softmax(z, 1) - a * y).square().mean(1)


def ce_epsilon(m: float) -> Meaning:
    """Cross-entropy of p' by the logarithm of what the true class has of it."""

    def value(z: Tensor, y: Tensor) -> Tensor:
        top = torch.softmax(z, 1).argmax(1) == y.argmax(1)
        log = true(log_p(z), y)
        return torch.where(top, -(log.exp() + m).log(), -log) + math.log(m + 1)

    return value


def jensen_shannon(one: float) -> Meaning:
    """Term by term: KL(y | m) = -log m_t, and KL(p | m) has p_c log(1 / pi2) for each wrong class."""

    def value(z: Tensor, y: Tensor) -> Tensor:
        two = 1 - one
        p, log = true(torch.softmax(z, 1), y), true(log_p(z), y)
        mixed = (one + two * p).log()
        divergence = -one * mixed + two * (p * (log - mixed) - (1 - p) * math.log(two))
        return divergence / (-(1 - one) * math.log(1 - one))

    return value


def taylor_ce(n: int) -> Meaning:
    return of_p_true(lambda p: sum((1 - p) ** j / j for j in range(1, n + 1)))  # type: ignore[arg-type, return-value]


def tempered_softmax(z: Tensor, t: float) -> Tensor:
    """exp_t(z - n) with n between bounds that are halved until they meet, and no gradient on n."""
    if t == 1:
        return torch.softmax(z, 1)

    def exp_t(x: Tensor) -> Tensor:
        return (1 + (1 - t) * x).clamp(min=0) ** (1 / (1 - t))

    # With n at the top's logit the sum is 1 or more; with so much more that each has 1 / C or less it is 1 or less.
    low = z.amax(1, keepdim=True)
    high = low + (z.shape[1] ** (t - 1) - 1) / (t - 1)
    for _ in range(200):
        middle = (low + high) / 2
        above = exp_t(z - middle).sum(1, keepdim=True) > 1
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return exp_t(z - (low + high) / 2)


class BiTempered(torch.autograd.Function):
    """Value by bisection, gradient by the formula for the derivative of a tempered softmax."""

    @staticmethod
    def forward(ctx, z: Tensor, y: Tensor, t1: float, t2: float) -> Tensor:  # type: ignore[no-untyped-def]
        q = tempered_softmax(z, t2)
        bend = (q - y) * q.clamp(min=1e-300) ** (t2 - t1)
        escort = q**t2 / (q**t2).sum(1, keepdim=True)
        ctx.save_for_backward(bend - escort * bend.sum(1, keepdim=True))

        def log_t(x: Tensor) -> Tensor:
            return (x ** (1 - t1) - 1) / (1 - t1)

        each = y * log_t(y) - y * log_t(q) - y ** (2 - t1) / (2 - t1) + q ** (2 - t1) / (2 - t1)
        return each.sum(1)

    @staticmethod
    def backward(ctx, outer: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def, override]
        (slope,) = ctx.saved_tensors
        return slope * outer[:, None], None, None, None


def bi_tempered(t1: float, t2: float) -> Meaning:
    return lambda z, y: BiTempered.apply(z, y, t1, t2)


def negative_label_smoothing(r: float) -> Meaning:
    return lambda z, y: -(((1 - r) * y + r / z.shape[1]) * log_p(z)).sum(1)


# Clean labels, imbalance


def maxsup(alpha: float) -> Meaning:
    return lambda z, y: cross_entropy(z, y) + alpha * (z.amax(1) - z.mean(1))


def logit_norm(tau: float) -> Meaning:
    return lambda z, y: cross_entropy(z / (tau * z.norm(dim=1, keepdim=True)), y)


def ldam(m: float, s: float) -> Meaning:
    def value(z: Tensor, y: Tensor) -> Tensor:
        counts = SHARES * 10_000
        margins = counts**-0.25
        margins = margins * (m / margins.max())
        return cross_entropy(s * (z - margins * y), y)

    return value


def balanced_softmax(z: Tensor, y: Tensor) -> Tensor:
    weighted = SHARES.log() + z
    return torch.logsumexp(weighted, 1) - true(weighted, y)


def sigmoid_focal(gamma: float) -> Meaning:
    def value(z: Tensor, y: Tensor) -> Tensor:
        right, wrong = functional.logsigmoid(z), functional.logsigmoid(-z)
        p = torch.sigmoid(z)
        return -(y * (1 - p) ** gamma * right + (1 - y) * p**gamma * wrong).sum(1)

    return value


def class_balanced_focal(beta: float, gamma: float, samples: float) -> Meaning:
    def value(z: Tensor, y: Tensor) -> Tensor:
        weights = (1 - beta) / -torch.expm1(SHARES * samples * math.log(beta))
        weights = weights / weights.sum() * len(weights)
        return (weights * y).sum(1) * sigmoid_focal(gamma)(z, y)

    return value


def asymmetric(negative: float, positive: float, m: float, *, stopped: bool = False) -> Meaning:
    def value(z: Tensor, y: Tensor) -> Tensor:
        p = torch.sigmoid(z)
        shifted = (p - m).clamp(min=0)
        log_wrong = (1 - shifted).log() if m else functional.logsigmoid(-z)
        right, wrong = (1 - p) ** positive, shifted**negative
        if stopped:
            right, wrong = right.detach(), wrong.detach()
        return -(y * right * functional.logsigmoid(z) + (1 - y) * wrong * log_wrong).sum(1)

    return value


def poly(*e: float) -> Meaning:
    return of_log_p_true(lambda p, log: -log + sum(e_j * (1 - p) ** j for j, e_j in enumerate(e, 1)))


def log_ratio(beta: float, tau: float) -> Meaning:
    def value(z: Tensor, y: Tensor) -> Tensor:
        margin = true(z, y) - z.masked_fill(y == 1, -math.inf).amax(1)
        log_share = functional.logsigmoid(beta * margin / tau)
        logistic = -functional.logsigmoid(beta * margin)
        return torch.sigmoid(-beta * margin / tau) * logistic + torch.exp(log_share - beta * margin)

    return value


MEANINGS: list[tuple[str, dict[str, float], Meaning]] = [
    ("cross_entropy", {}, cross_entropy),
    ("label_smoothing", {}, smoothed(0.1)),
    ("label_smoothing", {"e": 0.3}, smoothed(0.3)),
    ("label_smoothing", {"e": 0}, cross_entropy),
    ("focal", {}, of_log_p_true(lambda p, log: -((1 - p) ** 2) * log)),
    ("focal", {"gamma": 1}, of_log_p_true(lambda p, log: -(1 - p) * log)),
    ("focal", {"gamma": 3}, of_log_p_true(lambda p, log: -((1 - p) ** 3) * log)),
    ("focal", {"gamma": 0}, cross_entropy),
    ("brier", {}, summed(lambda p, y: (y - p) ** 2)),
    ("mean_absolute_error", {}, mae),
    ("generalized_ce", {}, of_log_p_true(lambda p, log: -torch.expm1(0.7 * log) / 0.7)),
    ("generalized_ce", {"q": 0.2}, of_log_p_true(lambda p, log: -torch.expm1(0.2 * log) / 0.2)),
    ("generalized_ce", {"q": 1}, of_p_true(lambda p: 1 - p)),
    ("poly1", {}, poly(1)),
    ("poly1", {"e": -0.5}, poly(-0.5)),
    ("poly_n", {}, poly(1, 0.5)),
    ("poly_n", {"e2": 0}, poly(1)),
    ("poly_n", {"e1": 2, "e2": -0.5, "e3": 0.25, "e6": 4}, poly(2, -0.5, 0.25, 0, 0, 4)),
    ("poly_n", {"e1": 0, "e2": 0}, cross_entropy),
    ("symmetric_ce", {}, lambda z, y: 0.1 * cross_entropy(z, y) + summed(lambda p, y: 4 * p * (1 - y))(z, y)),
    ("symmetric_ce", {"a": 1, "b": 0.5}, lambda z, y: cross_entropy(z, y) + summed(lambda p, y: 2 * p * (1 - y))(z, y)),
    ("smooth_l1", {}, summed(lambda p, y: functional.smooth_l1_loss(p, y, beta=0.5, reduction="none"))),
    ("smooth_l1", {"beta": 0.1}, summed(lambda p, y: functional.smooth_l1_loss(p, y, beta=0.1, reduction="none"))),
    ("search_softmax", {}, of_log_p_true(lambda p, log: -log + (2 - p).log())),
    ("search_softmax", {"a": 0.5}, of_log_p_true(lambda p, log: -log + (0.5 * p + 0.5).log())),
    ("search_softmax", {"a": 0}, cross_entropy),
    ("baikal", {}, baikal),
    ("taylorglo", {}, summed(taylorglo)),
    ("ngl", {}, ngl(lambda p: p)),
    ("ngl_sigmoid", {}, ngl(torch.sigmoid)),
    ("bce", {}, bce),
    ("binary_cross_entropy", {}, bce_of_probabilities),
    ("adaptive_focal", {}, adaptive_focal(0.0, 0.5)),
    ("adaptive_focal", {"difficulty_weight": 3, "hard_negative_threshold": 0.3}, adaptive_focal(3.0, 0.3)),
    ("dice", {}, overlap(0.5, 0.5, 1.0)),
    ("dice", {"e": 0.01}, overlap(0.5, 0.5, 0.01)),
    ("tversky", {}, overlap(0.3, 0.7, 1.0)),
    ("tversky", {"a": 1, "b": 0, "e": 2}, overlap(1.0, 0.0, 2.0)),
    ("focal_tversky", {}, overlap(0.3, 0.7, 1.0, 0.75)),
    ("focal_tversky", {"gamma": 0.5, "a": 0.6}, overlap(0.6, 0.7, 1.0, 2.0)),
    ("exp_error", {}, summed(lambda p, y: torch.exp(y - p))),
    ("nce", {}, nce),
    ("rce", {}, rce),
    ("nce_rce", {}, both(1, nce, 1, rce)),
    ("nce_rce", {"classes": 100}, both(10, nce, 0.1, rce)),
    ("agce", {}, agce(6, 1.5)),
    ("agce", {"classes": 100}, agce(1.8, 3)),
    ("agce", {"a": 0.6, "q": 0.6}, agce(0.6, 0.6)),
    ("aul", {}, aul(6.3, 1.5)),
    ("aul", {"classes": 100}, aul(6, 3)),
    ("aul", {"a": 3, "q": 0.1}, aul(3, 0.1)),
    ("ael", {}, ael(5)),
    ("ael", {"classes": 100}, ael(1.5)),
    ("nce_agce", {}, both(1, nce, 4, agce(6, 1.5))),
    ("nce_agce", {"classes": 100}, both(10, nce, 0.1, agce(1.8, 3))),
    ("nce_aul", {}, both(1, nce, 4, aul(6.3, 1.5))),
    ("nce_aul", {"classes": 100}, both(10, nce, 0.015, aul(6, 3))),
    ("nce_ael", {}, both(1, nce, 4, ael(5))),
    ("nce_ael", {"classes": 100}, both(10, nce, 0.1, ael(1.5))),
    ("anl_ce", {}, both(5, nce, 5, nnce)),
    ("anl_ce", {"classes": 100}, both(10, nce, 1, nnce)),
    ("jal_ce", {}, both(1, nce, 1, asymmetric_mse(30))),
    ("jal_ce", {"alpha": 2, "beta": 0.5, "a": 10}, both(2, nce, 0.5, asymmetric_mse(10))),
    ("ce_epsilon_mae", {}, both(0.01, ce_epsilon(1e5), 5, mae)),
    ("ce_epsilon_mae", {"classes": 100}, both(0.03, ce_epsilon(1e4), 1, mae)),
    ("ce_epsilon_mae", {"m": 0, "alpha": 1, "beta": 0}, cross_entropy),
    ("jensen_shannon", {}, jensen_shannon(0.7)),
    ("jensen_shannon", {"pi1": 0.1}, jensen_shannon(0.1)),
    ("taylor_ce", {}, taylor_ce(2)),
    ("taylor_ce", {"n": 1}, taylor_ce(1)),
    ("taylor_ce", {"n": 6}, taylor_ce(6)),
    ("bi_tempered", {}, bi_tempered(0.8, 1.2)),
    ("bi_tempered", {"t1": 0.5, "t2": 4}, bi_tempered(0.5, 4.0)),
    ("bi_tempered", {"t1": 0, "t2": 1}, bi_tempered(0.0, 1.0)),
    ("negative_label_smoothing", {}, negative_label_smoothing(-0.2)),
    ("negative_label_smoothing", {"r": -4}, negative_label_smoothing(-4)),
    ("maxsup", {}, maxsup(0.1)),
    ("maxsup", {"alpha": 1}, maxsup(1)),
    ("logit_norm", {}, logit_norm(0.04)),
    ("logit_norm", {"tau": 1}, logit_norm(1)),
    ("ldam", {}, ldam(0.5, 1)),
    ("ldam", {"m": 0.3, "s": 30}, ldam(0.3, 30)),
    ("balanced_softmax", {}, balanced_softmax),
    ("class_balanced_focal", {}, class_balanced_focal(0.9999, 2, 50_000)),
    (
        "class_balanced_focal",
        {"beta": 0.99, "gamma": 1, "samples": 12_406},
        class_balanced_focal(0.99, 1, 12_406),
    ),
    ("class_balanced_focal", {"gamma": 0}, class_balanced_focal(0.9999, 0, 50_000)),
    ("asymmetric", {}, asymmetric(4, 0, 0.05)),
    ("asymmetric", {"gamma_pos": 1, "stopped": 1}, asymmetric(4, 1, 0.05, stopped=True)),
    ("asymmetric", {"gamma_neg": 2, "gamma_pos": 2, "m": 0}, asymmetric(2, 2, 0)),
    ("log_ratio", {}, log_ratio(1, 0.2)),
    ("log_ratio", {"beta": 0.05, "tau": 0.05}, log_ratio(0.05, 0.05)),
]
"""Name, parameters and meaning; "classes" among the parameters takes those for so many classes."""
