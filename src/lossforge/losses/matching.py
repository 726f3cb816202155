"""The scale at which a loss trains: one number for each loss and number of classes, in training and export alike."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy

from lossforge.expression.formula import parse_formula
from lossforge.expression.interpreter import Interpreter
from lossforge.losses.compiled import LossSpec
from lossforge.losses.drop_in import STAGES, cross_entropy_norm, matched_scale, rounded_scale, start_probe
from lossforge.losses.heads import HEADS, SOFTMAX, Head


def matched_scales(losses: Sequence[LossSpec], classes: int, head: Head = SOFTMAX) -> list[float | None]:
    """As `lossforge.losses.drop_in.matched_scale` gives them, for many losses in one call of the interpreter.

    Each is what the loss is multiplied by so that its gradient on the logits of the head's start probe has the norm of
    plain cross-entropy's; None where that gradient is zero or not finite. A loss's own label smoothing counts.
    """
    # A sweep of cross-entropy, smoothed or not, waits for no kernel to be compiled.
    standard = head.cross_entropy_formula
    single = {loss: _alone(loss, classes, head) for loss in losses if loss.is_term or loss.formula == standard}
    formulas = tuple(loss for loss in dict.fromkeys(losses) if loss not in single)
    found = single | dict(zip(formulas, _of_formulas(formulas, classes, head), strict=True))
    return [found[loss] for loss in losses]


@lru_cache(maxsize=256)
def _of_formulas(losses: tuple[LossSpec, ...], classes: int, head: Head) -> list[float | None]:
    if not losses:
        return []
    # As columns: what is one neuron is two logits to the programs, of which the gradients are each other's negative.
    columns = HEADS[head.program]
    logits, target = (part.numpy() for part in start_probe(classes, columns))
    parsed = [parse_formula(loss.formula) for loss in losses]
    interpreter = Interpreter(parsed, [one.label_smoothing for one in losses], head=head.program)
    count = len(target)
    gradient = numpy.empty((len(losses), *logits.shape))
    values = numpy.empty((len(losses), count))
    means = [loss.class_mean and not one.of_sample for loss, one in zip(losses, parsed, strict=True)]
    shares = numpy.array([classes if mean else 1 for mean in means])
    stages = STAGES if "progress" in interpreter.needs else STAGES[:1]
    found, sizes = [], numpy.zeros(len(losses))
    for stage in stages:
        interpreter.run_arrays(logits[None], target[None], values, gradient, numpy.empty((0, *logits.shape)), stage)
        with numpy.errstate(over="ignore", invalid="ignore"):
            found.append(numpy.sqrt(numpy.square(gradient).sum((1, 2))) / count / shares)
            sizes = numpy.maximum(sizes, numpy.abs(values.mean(1) / shares))
    norms = found[0] if len(found) == 1 else numpy.sqrt(numpy.square(found).mean(0))
    wanted = _wanted(classes, columns)
    return [rounded_scale(wanted, norm, mean) for norm, mean in zip(norms.tolist(), sizes.tolist(), strict=True)]


@lru_cache(maxsize=64)
def _wanted(classes: int, head: Head) -> float:
    return cross_entropy_norm(classes, head)


@lru_cache(maxsize=64)
def _alone(loss: LossSpec, classes: int, head: Head) -> float | None:
    if loss == LossSpec(head.cross_entropy_formula):
        return 1.0
    return matched_scale(loss.build(head=head.name), classes)
