"""Operations over the classes of a sample: reductions, the place of the largest, and a gradient that is stopped.

The same records as `lossforge.expression.primitives` has. A reduction makes one number a sample of an elementwise
value; of what is one number a sample already it makes what it would make of that number in every class.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from lossforge.expression.primitives import Primitive
from lossforge.expression.protection import Y_TRUE, Builder, Interval, Operand

MOST_CLASSES = 2.0**20
"""Number of classes, or labels, that bounds are written for."""


def _summed(a: Interval) -> Interval:
    low, high = a
    return low * MOST_CLASSES if low < 0 else low, high * MOST_CLASSES if high > 0 else high


def _sum(builder: Builder, x: Operand, a: Interval) -> Operand:
    if builder.is_sample(x):
        return builder.emit("mul", builder.emit("n_classes", 0.0), x)
    return builder.emit("sum_c", x)


def _mean(builder: Builder, x: Operand, a: Interval) -> Operand:
    if builder.is_sample(x):
        return x
    return builder.emit("div", builder.emit("sum_c", x), builder.emit("n_classes", 0.0))


def _largest(builder: Builder, x: Operand, a: Interval) -> Operand:
    return x if builder.is_sample(x) else builder.emit("max_c", x)


def _smallest(builder: Builder, x: Operand, a: Interval) -> Operand:
    return x if builder.is_sample(x) else builder.emit("neg", builder.emit("max_c", builder.emit("neg", x)))


def _log_sum_exp(builder: Builder, x: Operand, a: Interval) -> Operand:
    if builder.is_sample(x):
        return builder.emit("add", builder.emit("log", builder.emit("n_classes", 0.0)), x)
    # Nothing overflows, the sum is 1 or more, and what the peak contributes to the slope is zero.
    peak = builder.emit("stop", builder.emit("max_c", x))
    total = builder.emit("sum_c", builder.emit("exp", builder.emit("sub", x, peak)))
    return builder.emit("add", peak, builder.emit("log", total))


def _true(builder: Builder, x: Operand, a: Interval) -> Operand:
    return builder.emit("sum_c", builder.emit("mul", Y_TRUE, x))


def _top(builder: Builder, x: Operand, a: Interval) -> Operand:
    if builder.is_sample(x):  # the first of equals
        x = builder.emit("add", builder.emit("mul", Y_TRUE, 0.0), x)
    return builder.emit("top_c", x)


def _of_one(value: float) -> float:
    return value


def _reduction(
    name: str,
    meaning: str,
    lower: Callable[..., Operand],
    *,
    bounds: Callable[[Interval], Interval],
    latex: str,
    words: str,
    odd: bool = False,
    folds: bool = False,
) -> Primitive:
    return Primitive(
        name,
        1,
        meaning,
        value=_of_one,
        array=None,
        bounds=bounds,
        lower=lower,
        slope=None,
        latex=latex,
        words=words,
        parity="odd" if odd else "",
        result="sample",
        folds=folds,
    )


_TABLE = (
    _reduction(
        "sum_c",
        "sum of x over the classes",
        _sum,
        bounds=_summed,
        latex=r"\sum_c {0}",
        words="the sum over classes of {0}",
        odd=True,
    ),
    _reduction(
        "mean_c",
        "mean of x over the classes",
        _mean,
        bounds=lambda a: a,
        latex=r"\frac{{1}}{{C}} \sum_c {0}",
        words="the mean over classes of {0}",
        odd=True,
        folds=True,
    ),
    _reduction(
        "max_c",
        "largest x of the classes; its gradient is shared by those that are equal",
        _largest,
        bounds=lambda a: a,
        latex=r"\max_c {0}",
        words="the largest over classes of {0}",
        folds=True,
    ),
    _reduction(
        "min_c",
        "smallest x of the classes; its gradient is shared by those that are equal",
        _smallest,
        bounds=lambda a: a,
        latex=r"\min_c {0}",
        words="the smallest over classes of {0}",
        folds=True,
    ),
    _reduction(
        "log_sum_exp_c",
        "logarithm of the sum over the classes of e**x, without overflow",
        _log_sum_exp,
        bounds=lambda a: (a[0], a[1] + math.log(MOST_CLASSES)),
        latex=r"\log \sum_c e^{{{0}}}",
        words="the logarithm of the sum over classes of e to the power of {0}",
    ),
    _reduction(
        "true_c",
        "x at the true class: sum_c(y_true * x)",
        _true,
        bounds=lambda a: _summed((min(a[0], 0.0), max(a[1], 0.0))),
        latex=r"\left({0}\right)_{{y}}",
        words="the true class's {0}",
        odd=True,
    ),
    Primitive(
        "top_c",
        1,
        "1 at the class where x is largest (the first of equals), 0 elsewhere; its gradient is 0",
        value=_of_one,
        array=None,
        bounds=lambda a: (0.0, 1.0),
        lower=_top,
        slope=None,
        latex=r"\left[c = \arg\max_k {0}_k\right]",
        words="1 where {0} is largest of the classes and 0 elsewhere",
        result="elementwise",
        folds=False,
    ),
    Primitive(
        "stop",
        1,
        "x, through which no gradient goes back",
        value=_of_one,
        array=None,
        bounds=lambda a: a,
        lower=lambda builder, x, a: builder.emit("stop", x),
        slope=None,
        latex=r"\operatorname{{stop}}\left({0}\right)",
        words="{0}, taken as a number,",
        parity="odd",
    ),
)

CLASS_OPERATIONS: dict[str, Primitive] = {operation.name: operation for operation in _TABLE}
"""Every operation over classes by name, and ``stop``: what a space has where it says so."""
