"""How far confidence is from being right, before and after its temperature is set (Guo et al. 2017, arXiv 1706.04599).

A re-validation trains on all that is not tested, so the temperature is found on the tested part itself, by
cross-fitting: on one half, for the other, and the other way round.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lossforge.losses.heads import SOFTMAX, Head

_DIGITS = 6
_BINS = 15
"""Bins of the calibration error."""
_RANGE = math.log(1000)
"""How far, as a logarithm, a temperature may be from the logits' own size."""
_HALVINGS = 40


def calibration_error(probabilities: Tensor, target: Tensor) -> Tensor:
    """Expected calibration error: the mean gap between confidence and accuracy, over 15 bins of equal width."""
    confidence, predicted = probabilities.max(1)
    bins = (confidence * _BINS).ceil().long().clamp(1, _BINS) - 1
    gaps = torch.zeros(_BINS, dtype=torch.float64, device=target.device)
    gaps.index_add_(0, bins, (predicted == target).double() - confidence)
    return gaps.abs().sum() / len(target)


def scaled_metrics(logits: Tensor, target: Tensor, head: Head = SOFTMAX) -> dict[str, float]:
    """What is left of a head's miscalibration once its temperature is set; ``softmax`` and ``binary`` have one.

    negative_log_likelihood_scaled, in nats, and calibration_error_scaled, of all samples, each at the temperature of
    the half that it is not in; temperature, the geometric mean of the two, above 1 where the network was too sure.
    Logits ``(N, outputs)``, finite, and class indices ``(N,)``. Empty for fewer than four samples.
    """
    if len(target) < 4:
        return {}
    logits, target = logits.double(), target.long()
    first = halves(target)
    found = [temperature(head.scores(logits[half], 1), target[half]) for half in (first, ~first)]
    scaled = logits / torch.where(first, found[1], found[0])[:, None]
    figures = {
        "temperature": (found[0] * found[1]).sqrt(),
        "negative_log_likelihood_scaled": head.cross_entropy(scaled, target, reduction="mean"),
        "calibration_error_scaled": calibration_error(head.probabilities(scaled, 1), target),
    }
    return {name: round(float(value), _DIGITS) for name, value in figures.items()}


def halves(target: Tensor) -> Tensor:
    """Which samples ``(N,)`` are in the first half: every other one of each class, in the order of the samples."""
    first = torch.zeros(len(target), dtype=torch.bool, device=target.device)
    first[target.argsort(stable=True)[::2]] = True
    return first


def temperature(scores: Tensor, target: Tensor) -> Tensor:
    """What logits ``(N, C)``, float64, are best divided by: a number above 0, in proportion to the logits.

    It minimises the negative log-likelihood of targets mixed with one sample's worth of doubt, n / (n + 1) of the class
    and 1 / (n + 1) of any (as Platt 1999 does for one logit): without it, samples that are all right would have a
    temperature of 0, and a mistake among the others an endless loss. It is held within a factor of 1,000 of the logits'
    size, which one gets that is worse than guessing. 1 where all logits are equal.
    """
    z = scores - scores.mean(1, keepdim=True)
    size = z.square().mean().sqrt()
    z = z / size.where(size > 0, 1.0)
    doubt = 1 / (len(z) + 1)
    # Logits sum to 0, so that the doubt's share of the expected logit is nothing.
    wanted = (1 - doubt) * z.gather(1, target[:, None]).mean()
    low, high = z.new_tensor(-_RANGE), z.new_tensor(_RANGE)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        # The derivative by the inverse temperature, which rises.
        too_sure = (SOFTMAX.probabilities(z * middle.exp(), 1) * z).sum(1).mean() > wanted
        low, high = torch.where(too_sure, low, middle), torch.where(too_sure, middle, high)
    return torch.where(size > 0, size / ((low + high) / 2).exp(), 1.0)
