"""What the gradient of a loss with terms says on the fixed probe, each of whose parts is a batch."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from lossforge.expression.signature import Signature, signature_of, signature_probe
from lossforge.losses.compiled import LossSpec

_HALFWAY = 0.5
"""How far the training is."""


def term_gradient(loss: LossSpec, head: str = "softmax") -> tuple[Tensor, float]:
    """Gradient of the batches' mean losses times their samples, on the probe's logits, flat; and the largest value.

    A formula's is then the one that `lossforge.expression.signature.probe_gradients` gives. Behind one logit the probe
    has two columns, of which the difference is that logit. Behind sigmoids a batch is an image of so many pixels.
    """
    gradients: list[Tensor] = []
    largest = 0.0
    for logits, y_true in signature_probe(False, head)[0]:
        z, y = torch.from_numpy(logits).requires_grad_(), torch.from_numpy(y_true)
        samples, classes = y.shape
        share = torch.full((classes,), 1 / classes, dtype=torch.float64)
        criterion = loss.build(head=head, class_share=share)
        criterion.progress = _HALFWAY
        if head == "binary":
            value = criterion(z[:, 1:] - z[:, :1], y[:, 1:])
        elif head == "sigmoid":
            value = criterion(z.T[None], y.T[None])
        else:
            value = criterion(z, y)
        (gradient,) = torch.autograd.grad(samples * value, z)
        gradients.append(gradient.flatten())
        largest = max(largest, abs(float(value.detach())))
    return torch.cat(gradients), largest


def term_signature(loss: LossSpec, *, keep_scale: bool = False, head: str = "softmax") -> Signature | None:
    """Signature of a loss with terms; None where its gradient is zero or not finite.

    That of the batches' means: what a term weighs against a formula depends on nothing else.
    """
    gradient, largest = term_gradient(loss, head)
    return signature_of(gradient.numpy(), largest, keep_scale=keep_scale, head=head)


def term_key(loss: LossSpec, *, keep_scale: bool = False, head: str = "softmax") -> str | None:
    """Key of a loss with terms: its signature, and of a term alone its text. None where it has no gradient.

    The text of a term says which loss it is, whatever positive weight it has, unless scales count. Of a sum whose
    weights change it is the rule's around its losses' own, with their scales: how fast weights change depends on them.
    """
    if loss.weighted is not None:
        return _weighted_key(loss.formula, head)
    (weight, first), *further = loss.terms
    alone = not further and loss.elementwise is None
    if alone and (weight == 1 or (weight > 0 and not keep_scale)):
        return str(first)
    return _key(loss.formula, keep_scale, head)


@lru_cache(maxsize=4096)
def _weighted_key(text: str, head: str) -> str | None:
    rule, parts = LossSpec(text).weighted or (None, ())
    keys = [_key(part.formula, True, head) for part in parts]
    return None if rule is None or None in keys else rule.around(sorted(map(str, keys)))


@lru_cache(maxsize=4096)
def _key(text: str, keep_scale: bool, head: str) -> str | None:
    found = term_signature(LossSpec(text), keep_scale=keep_scale, head=head)
    return None if found is None else found.key
