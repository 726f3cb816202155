"""Formulas over the classes of a sample, computed in float64 by plain torch node by node: no emitter, no program."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor

from lossforge.expression.primitives import PRIMITIVES
from lossforge.expression.tree import CONSTANT, Expression, call, constant, leaf
from lossforge.expression.vocabulary import EVERY_LEAF, OPERATIONS

BOUND, EPS, EXP_LIMIT = 1e12, 1e-6, 27.0


def _bounded(x: Tensor) -> Tensor:
    return x.clamp(-BOUND, BOUND)


def _divide(x: Tensor, y: Tensor) -> Tensor:
    return _bounded(x / torch.where(y < 0, y.clamp(max=-EPS), y.clamp(min=EPS)))


def _largest(x: Tensor) -> Tensor:
    return x.amax(1, keepdim=True)


PLAIN: dict[str, Callable[..., Tensor]] = {
    "add": lambda x, y: _bounded(x + y),
    "sub": lambda x, y: _bounded(x - y),
    "mul": lambda x, y: _bounded(x * y),
    "div": _divide,
    "neg": lambda x: -x,
    "square": lambda x: _bounded(x * x),
    "sqrt": lambda x: x.abs().clamp(min=EPS).sqrt(),
    "log": lambda x: x.abs().clamp(min=EPS).log(),
    "exp": lambda x: x.clamp(max=EXP_LIMIT).exp(),
    "sin": torch.sin,
    "cos": torch.cos,
    "tanh": torch.tanh,
    "abs": torch.abs,
    "sign": torch.sign,
    "max": torch.maximum,
    "min": torch.minimum,
    "sigmoid": torch.sigmoid,
    "erf": torch.erf,
    "aq": lambda x, y: x / (1 + y * y).sqrt(),
    "sum_c": lambda x: _bounded(x.sum(1, keepdim=True)),
    "mean_c": lambda x: x.mean(1, keepdim=True),
    "max_c": _largest,
    "min_c": lambda x: x.amin(1, keepdim=True),
    "log_sum_exp_c": lambda x: torch.logsumexp(x, 1, keepdim=True),
    "top_c": lambda x: torch.nn.functional.one_hot(x.argmax(1), x.shape[1]).to(x.dtype),
    "stop": lambda x: x.detach(),
}


def sample_losses(
    expression: Expression,
    logits: Tensor,
    y_true: Tensor,
    progress: float = 0.0,
    class_share: Tensor | None = None,
    head: str = "softmax",
) -> Tensor:
    """The loss ``(N,)`` of each sample: an elementwise formula summed over classes, one a sample as it is."""
    if head == "sigmoid":
        log_y_pred, shown = torch.nn.functional.logsigmoid(logits), logits
    else:
        log_y_pred, shown = torch.log_softmax(logits, 1), logits - logits.mean(1, keepdim=True)
    one = torch.ones_like(logits)
    leaves = {
        "y_pred": log_y_pred.exp(),
        "y_true": y_true,
        "logit": shown,
        "n_classes": one[:, :1] * logits.shape[1],
        "progress": one[:, :1] * progress,
        "class_share": one if class_share is None else one * class_share,
    }

    def visit(node: Expression) -> Tensor:
        if node.op == CONSTANT:
            return one[:, :1] * node.value
        if node.op in leaves:
            return leaves[node.op]
        if node.op == "log" and node.args[0].op == "y_pred":
            return log_y_pred
        if head == "sigmoid" and node.op == "log" and str(node.args[0]) == "1 - y_pred":
            return torch.nn.functional.logsigmoid(-logits)
        args = [visit(arg) for arg in node.args]
        if node.op == "true_c":
            return _bounded((y_true * args[0]).sum(1, keepdim=True))
        if OPERATIONS[node.op].result != "argument":
            args = [arg.expand_as(one) for arg in args]
        return PLAIN[node.op](*args)

    value = visit(expression)
    return value.squeeze(1) if expression.of_sample else value.expand_as(one).sum(1)


def loss_and_gradient(
    expression: Expression, logits: Tensor, y_true: Tensor, progress: float = 0.0, class_share: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Losses ``(N,)`` and the gradient ``(N, C)`` of their sum on the logits, by autograd."""
    z = logits.detach().clone().requires_grad_()
    value = sample_losses(expression, z, y_true, progress, class_share)
    if not value.requires_grad:
        return value, torch.zeros_like(logits)
    (gradient,) = torch.autograd.grad(value.sum(), z, allow_unused=True)
    return value.detach(), torch.zeros_like(logits) if gradient is None else gradient


def drawn(generator: random.Random, depth: int) -> Expression:
    """A random tree of every operation and leaf."""
    if depth == 0 or generator.random() < 0.1:
        if generator.random() < 0.25:
            return constant(generator.randint(-300, 300) / 100)
        return leaf(generator.choice([*EVERY_LEAF]))
    names = [*PRIMITIVES] if generator.random() < 0.5 else [name for name in OPERATIONS if name not in PRIMITIVES]
    name = generator.choice(names)
    return call(name, *(drawn(generator, depth - 1) for _ in range(OPERATIONS[name].arity)))


FORMULAS = (
    "true_c(log(y_pred)) / sum_c(log(y_pred))",
    "y_true * log(y_pred) / sum_c(log(y_pred))",
    "-true_c(log(y_pred)) + 0.1 * (max_c(logit) - mean_c(logit))",
    "log_sum_exp_c(logit) - true_c(logit)",
    "log_sum_exp_c(logit + log(class_share)) - true_c(logit + log(class_share))",
    "-stop((1 - y_pred)**2) * y_true * log(y_pred)",
    "-y_true * log((y_pred + 100 * top_c(y_pred)) / 101)",
    "(1 - progress) * -y_true * log(y_pred) + progress * abs(y_true - y_pred)",
    "-true_c(log(y_pred) / class_share)",
    "min_c(y_pred) * n_classes - true_c(y_pred)",
    "sum_c(square(y_pred - mean_c(y_pred))) - true_c(y_pred)",
    "max_c(y_pred) - y_true * y_pred",
    "exp(-true_c(y_pred) / 5) + sum_c(y_pred * log(y_pred))",
    "tanh(true_c(logit) - max_c(logit - 100 * y_true))",
    "mean_c(2) + sum_c(y_true) * true_c(-y_pred) + sum_c(progress)",
    "log_sum_exp_c(3) - true_c(y_pred) + top_c(1) * y_pred",
    "stop(y_pred) * y_pred - y_true * y_pred + n_classes / n_classes",
)
"""Formulas in which classes meet, or a leaf comes from outside."""
