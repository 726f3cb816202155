"""Losses for classes, or labels of one sample, that are rare."""

from __future__ import annotations

import math

from lossforge.losses.compiled import LossSpec
from lossforge.losses.entries.clean import CROSS_ENTROPY
from lossforge.losses.entries.entry import NamedLoss, formula, number, times

SAMPLES = 50_000.0


def _power(base: str, exponent: float) -> str:
    """``base**exponent *``, as a factor in front of others; nothing for an exponent of 0."""
    if exponent == 0:
        return ""
    return f"{base} * " if exponent == 1 else f"{base}**{number(exponent)} * "


def _focal(gamma: float) -> LossSpec:
    return LossSpec(f"-y_true * (1 - y_pred)**{number(gamma)} * log(y_pred)" if gamma else CROSS_ENTROPY)


def _ldam(m: float, s: float) -> LossSpec:
    margin = f"{times(m, 'y_true')} * sqrt(sqrt(min_c(class_share) / class_share))"
    logit = times(s, f"(logit - {margin})")
    return formula(f"log_sum_exp_c({logit}) - true_c({logit})")


def _balanced_softmax() -> LossSpec:
    return formula("log_sum_exp_c(logit + log(class_share)) - true_c(logit + log(class_share))")


def _class_balanced_focal(beta: float, gamma: float, samples: float) -> LossSpec:
    """1 / (1 - exp(-2 x)) is (1 + 1 / tanh(x)) / 2, which keeps its digits in float32 where x is small."""
    x = f"{number(-samples * math.log(beta) / 2)} * max(class_share, {number(1 / samples)})"
    weight = f"(1 + 1 / tanh({x}))"
    right = f"y_true * {_power('(1 - y_pred)', gamma)}log(y_pred)"
    wrong = f"(1 - y_true) * {_power('y_pred', gamma)}log(1 - y_pred)"
    return formula(f"-n_classes * true_c({weight}) / sum_c({weight}) * sum_c({right} + {wrong})")


def _asymmetric(gamma_neg: float, gamma_pos: float, m: float, stopped: float) -> LossSpec:
    shifted = f"max(y_pred - {number(m)}, 0)" if m else "y_pred"

    def focus(base: str, gamma: float) -> str:
        power = _power(base, gamma)
        return f"stop({power.removesuffix(' * ')}) * " if stopped and power else power

    right = f"y_true * {focus('(1 - y_pred)', gamma_pos)}log(y_pred)"
    wrong = f"(1 - y_true) * {focus(shifted, gamma_neg)}log(1 - {shifted})"
    return formula(f"-({right} + {wrong})")


def _adaptive_focal(
    gamma: float,
    difficulty_weight: float,
    hard_negative_threshold: float,
    focal_weight_decay: float,
    adaptive_gamma: float,
    epoch_scaling_factor: float,
) -> LossSpec:
    focus = _power("(1 - y_pred)", gamma)
    if gamma and adaptive_gamma:
        focus = f"exp({number(gamma)} * (1 - {times(adaptive_gamma, 'progress')}) * log(1 - y_pred)) * "
    decay = "" if focal_weight_decay == 1 else f"exp({number(math.log(focal_weight_decay))} * progress) * "
    parts = [f"{decay}y_true * {focus}log(y_pred)"]
    if hard_negative_threshold < 1:
        hard = f"max(sign(y_pred - {number(hard_negative_threshold)}), 0)"
        parts.append(f"(1 - y_true) * {hard} * log(1 - y_pred)")
    factors = ""
    if difficulty_weight:
        factors = f" * (1 + {times(difficulty_weight, '(1 - stop(true_c(y_pred)))')})"
    if epoch_scaling_factor:
        factors += f" * (1 + {times(epoch_scaling_factor, 'progress')})"
    return formula(f"-({' + '.join(parts)}){factors}")


ENTRIES = (
    NamedLoss(
        "focal",
        "cross-entropy with easy samples turned down",
        "Lin et al. 2017, arXiv 1708.02002",
        {"gamma": 2.0},
        _focal,
        ranges={"gamma": "[0, inf)"},
        note="The paper's is that of one sigmoid, with a weight alpha of the positive class; this is the usual form "
        "for classes that exclude each other, and alpha is the module's weight.",
    ),
    NamedLoss(
        "adaptive_focal",
        "focal loss that changes in the course of a training, with weights for hard samples and hard negatives",
        "lossforge, by the names that Geetha Ramani et al. give without a definition",
        {
            "gamma": 2.0,
            "difficulty_weight": 0.0,
            "hard_negative_threshold": 0.5,
            "focal_weight_decay": 1.0,
            "adaptive_gamma": 0.0,
            "epoch_scaling_factor": 0.0,
        },
        _adaptive_focal,
        ranges={
            "gamma": "[0, inf)",
            "difficulty_weight": "[0, inf)",
            "hard_negative_threshold": "(0, 1]",
            "focal_weight_decay": "(0, 1]",
            "adaptive_gamma": "[0, 1]",
            "epoch_scaling_factor": "[0, inf)",
        },
        note="The definitions are ours. With t the training's progress, 0 to 1, the sample's loss is (1 + d (1 - p_t)) "
        "(1 + s t) (w^t focal + hard negatives): d, difficulty_weight, multiplies the gradient of a sample by that of "
        "its difficulty, which is not differentiated; s is epoch_scaling_factor, and lengthens all gradients alike; w, "
        "focal_weight_decay, is what the focal part weighs at the end; its exponent is gamma (1 - adaptive_gamma t). "
        "Hard negatives are -log(1 - p) of each wrong class above hard_negative_threshold; at 1 there are none.",
    ),
    NamedLoss(
        "ldam",
        "cross-entropy with margins that are larger for rarer classes",
        "Cao et al. 2019, arXiv 1906.07413",
        {"m": 0.5, "s": 1.0},
        _ldam,
        ranges={"m": "[0, inf)", "s": "(0, inf)"},
        note="The true logit less m (share of the rarest class / share of the true one)^(1/4): the largest margin is "
        "m, as in the authors' code. That code multiplies by s = 30, for it takes cosines as logits; the paper's "
        "equation has no such factor, and neither has the default. Its deferred re-weighting is the module's weight.",
    ),
    NamedLoss(
        "balanced_softmax",
        "cross-entropy of logits plus the logarithm of each class's share",
        "Ren et al. 2020, arXiv 2007.10740",
        {},
        _balanced_softmax,
        note="A share below 1e-6 counts as 1e-6.",
    ),
    NamedLoss(
        "class_balanced_focal",
        "sigmoid focal loss, each sample weighted by the effective number of its class",
        "Cui et al. 2019, arXiv 1901.05555",
        {"beta": 0.9999, "gamma": 2.0, "samples": SAMPLES},
        _class_balanced_focal,
        ranges={"beta": "(0, 0.99999]", "gamma": "[0, inf)", "samples": "[1, inf)"},
        aliases=("cb_focal",),
        head="sigmoid",
        note="Weights (1 - beta) / (1 - beta^n) for n samples of a class, divided by their mean over classes; a class "
        "without samples counts as one with one. n is the class's share times samples: give the size of the training "
        "part, or class_counts, which says both.",
    ),
    NamedLoss(
        "asymmetric",
        "multi-label: easy wrong labels are turned down more than right ones, very easy ones left out",
        "Ridnik et al. 2021, arXiv 2009.14119",
        {"gamma_neg": 4.0, "gamma_pos": 0.0, "m": 0.05, "stopped": 0.0},
        _asymmetric,
        ranges={"gamma_neg": "[0, inf)", "gamma_pos": "[0, inf)", "m": "[0, 1)", "stopped": "whole [0, 1]"},
        aliases=("asl",),
        head="sigmoid",
        note="gamma_pos = 0 is the paper's usual choice, the default of the authors' code is 1. The paper "
        "differentiates the focusing factors, its training code does not: stopped=1 is that of the code.",
    ),
)
