"""A sum, term by term: what each weighs near a uniform start, and the weights at which all weigh the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from lossforge.errors import LossError
from lossforge.expression.tree import format_number
from lossforge.losses.compiled import LossSpec
from lossforge.losses.drop_in import cross_entropy_norm, rounded_scale, start_norm
from lossforge.losses.fusions import Call, Fusion, Part
from lossforge.losses.heads import HEADS
from lossforge.losses.library import named_sum, sum_spec


@dataclass(frozen=True, slots=True)
class Share:
    """One loss of a sum: its text, weight, and share of the lengths of all weighted gradients near a uniform start.

    ``matched`` is what to multiply the loss by for a gradient as long as cross-entropy's there.
    """

    loss: str
    weight: float
    share: float
    matched: float


def part_spec(part: Part, head: str) -> LossSpec:
    """Description of a part alone, without its weight."""
    return sum_spec(Fusion((Part(1.0, part.loss),)), head=head)


def shares_of(text: str, classes: int, head: str = "softmax") -> list[Share]:
    """Each loss of a sum in which losses of the library stand by name; empty for anything else.

    Raises LossError where a part has no gradient near a uniform start.
    """
    found = named_sum(text)
    if found is None:
        return []
    scales = scales_of(found, classes, head)
    lengths = [abs(part.weight) / scale for part, scale in zip(found.parts, scales, strict=True)]
    return [
        Share(str(Part(1.0, part.loss)), part.weight, length / sum(lengths), scale)
        for part, length, scale in zip(found.parts, lengths, scales, strict=True)
    ]


def scales_of(fusion: Fusion, classes: int, head: str) -> list[float]:
    """What to multiply each part by so that its gradient near a uniform start is as long as cross-entropy's.

    Not rounded, so that two sums which are one loss remain one.
    """
    return [_scale(part_spec(part, head), str(Part(1.0, part.loss)), classes, head) for part in fusion.parts]


@lru_cache(maxsize=1024)
def _scale(spec: LossSpec, text: str, classes: int, head: str) -> float:
    wanted = cross_entropy_norm(classes, HEADS[head])
    norm, value = start_norm(spec.build(head=head), classes)
    if rounded_scale(wanted, norm, value) is None:
        raise LossError(
            f"{text} has no gradient near a uniform start for {classes} classes, so it cannot be matched in scale; "
            "leave it out, or do not match"
        )
    return wanted / norm


DIGITS = 9
"""Significant digits of a weight."""


def weight_of(value: float) -> float:
    """A weight as it is written."""
    return float(f"{value:.{DIGITS}g}")


def matched(fusion: Fusion, classes: Sequence[int], head: str = "softmax") -> Fusion:
    """The sum with the weights that make it one of losses whose gradients are alike near a uniform start.

    Its own weights then say how much each counts. For several numbers of ``classes`` the geometric mean is taken.
    """
    by_classes = [scales_of(fusion, count, head) for count in dict.fromkeys(classes)]
    parts = []
    for part, *scales in zip(fusion.parts, *by_classes, strict=True):
        product = 1.0
        for scale in scales:
            product *= scale ** (1 / len(scales))
        parts.append(Part(weight_of(part.weight * product), part.loss))
    return replace(fusion, parts=tuple(parts))


def named(fusion: Fusion) -> str:
    """The losses' names alone, as a table has them, with the parameters that were given.

    >>> named(Fusion((Part(2.0, Call("focal")), Part(0.5, Call("dice", (("e", 1.0),))))))
    'focal + dice(e=1)'
    """

    def text(loss: Call) -> str:
        written = ", ".join(f"{name}={format_number(value)}" for name, value in loss.parameters)
        return f"{loss.name}({written})" if written else loss.name

    alone = " + ".join(text(part.loss) if isinstance(part.loss, Call) else f"({part.loss})" for part in fusion.parts)
    return alone if fusion.weighting is None else fusion.weighting.around([alone])
