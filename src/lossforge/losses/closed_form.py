"""A formula's value and its closed-form gradient on the logits, as one autograd function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lossforge.expression.codegen import compile_expression, compile_joint
from lossforge.expression.tree import Expression
from lossforge.losses.drop_in import About
from lossforge.losses.heads import HEADS, LEAST_LOG, Head
from lossforge.losses.targets import one_hot


def plain_operations_needed(*constants: Tensor | None) -> bool:
    """Whether a loss has to be written as plain operations.

    torch.compile, torch.func and forward-mode differentiation take those apart themselves; and the closed form
    gives no gradient on targets or weights.
    """
    return (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or any(tensor is not None and tensor.requires_grad for tensor in constants)
    )


class ClosedForm(torch.autograd.Function):
    """``apply(logits, target, expression, dim, weight, about, head)``: the loss, weighted and summed over classes.

    ``logits`` have a head's outputs along ``dim``; ``target`` holds class indices, without that dimension, or a number
    for each class, with it; ``weight`` is None or broadcasts to those. ``about`` is None for formulas whose functions
    do not need it; those that mix classes have no weight here. Value and gradient are computed together and share their
    subexpressions. The gradient can be differentiated again: that goes through the plain operations.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        target: Tensor,
        expression: Expression,
        dim: int,
        weight: Tensor | None,
        about: About | None,
        head: str = "softmax",
    ) -> Tensor:
        """Value in the shape of the logits without ``dim``."""
        behind = HEADS[head]
        log_y_pred = behind.log_probabilities(logits, dim, in_place=True)
        y_pred = log_y_pred.exp()
        if about is not None:
            loss, g = _crossing(expression, y_pred, log_y_pred, _dense(y_pred, target, dim), about, behind)
        elif target.is_floating_point():
            loss, g = compile_joint(expression, head=behind.program).function(y_pred, target, log_y_pred)
        else:
            loss, g = _at_indices(expression, y_pred, log_y_pred, target.unsqueeze(dim), dim, behind)
        if about is None and expression.of_sample:  # a constant
            loss = loss.narrow(dim, 0, 1)
        if compile_joint(expression, head=behind.program).uses_log:
            g = g.masked_fill(log_y_pred <= LEAST_LOG, 0.0)
        if weight is not None:
            loss, g = loss * weight, g * weight
        if ctx.needs_input_grad[0]:
            ctx.expression, ctx.dim, ctx.about, ctx.head = expression, dim, about, behind
            ctx.save_for_backward(logits, target, weight, behind.on_logits(g, y_pred, dim))
        return loss.sum(dim)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient on the logits."""
        logits, target, weight, gradient = ctx.saved_tensors
        outer = given[0].unsqueeze(ctx.dim)
        if torch.is_grad_enabled():  # the gradient is to be differentiated again
            gradient = _differentiable_gradient(
                ctx.expression, ctx.dim, logits, target, weight, outer, ctx.about, ctx.head
            )
        else:
            gradient = gradient * outer
        return gradient, None, None, None, None, None, None


def _dense(y_pred: Tensor, target: Tensor, dim: int) -> Tensor:
    """Targets as probabilities in the shape of ``y_pred``."""
    return target if target.is_floating_point() else one_hot(target, y_pred, dim)


def _crossing(
    expression: Expression, y_pred: Tensor, log_y_pred: Tensor, y_true: Tensor, about: About, head: Head
) -> tuple[Tensor, Tensor]:
    """Loss, with one class in place of all where it is one number a sample, and g."""
    loss, g = compile_joint(expression, head=head.program).function(y_pred, y_true, log_y_pred, about)
    return loss.expand_as(y_pred.narrow(about.dim, 0, 1) if expression.of_sample else y_pred), g.expand_as(y_pred)


def _at_indices(
    expression: Expression, y_pred: Tensor, log_y_pred: Tensor, indices: Tensor, dim: int, head: Head
) -> tuple[Tensor, Tensor]:
    """Loss and g for one-hot targets: what holds at y_true = 0 for all classes, at 1 for the true one alone."""
    others, true = (compile_joint(expression, y_true, head.program) for y_true in (0.0, 1.0))
    p_true, log_true = y_pred.gather(dim, indices), log_y_pred.gather(dim, indices)
    parts = []
    # The leaf y_true occurs in neither function: y_pred stands in its place.
    for constant, part in zip(others.constant, true.function(p_true, p_true, log_true), strict=True):
        if constant is not None:
            parts.append(torch.full_like(y_pred, constant).scatter_(dim, indices, part))
        else:
            parts.append(part)
    if None in others.constant:
        dense = others.function(y_pred, y_pred, log_y_pred)
        for place, constant in enumerate(others.constant):
            if constant is None:
                parts[place] = dense[place].scatter(dim, indices, parts[place])
    return parts[0], parts[1]


def _differentiable_gradient(
    expression: Expression,
    dim: int,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    outer: Tensor,
    about: About | None,
    head: Head,
) -> Tensor:
    log_y_pred = head.log_probabilities(logits, dim)
    y_pred = log_y_pred.exp()
    target = _dense(y_pred, target, dim)
    told = [] if about is None else [about._replace(logits=head.logit(logits))]
    loss = compile_expression(expression, head.program)(y_pred, target, log_y_pred, *told)
    if about is not None:
        loss = loss.expand_as(y_pred.narrow(dim, 0, 1) if expression.of_sample else y_pred)
    if weight is not None:
        loss = loss * weight
    if not loss.requires_grad:  # a constant
        return torch.zeros_like(logits)
    # Not the gradient of loss * outer: what comes from outside may depend on the logits too.
    (gradient,) = torch.autograd.grad(loss, logits, outer.expand_as(loss), create_graph=True, materialize_grads=True)
    return gradient
