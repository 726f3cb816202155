"""What the library knows of one named loss, and how its parameters become a formula."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lossforge.errors import LossError, offered
from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import format_number
from lossforge.expression.vocabulary import EVERY_LEAF
from lossforge.losses.compiled import LossSpec
from lossforge.losses.terms import TERMS, term

OVER_CLASSES = "sum over classes, mean over samples"
OVER_ALL = "mean over samples and classes"
OVER_BATCH = "per class over batch and space, mean over classes"

USUAL_CLASSES = 10
"""The number of classes that default parameters were published for, where they were for one."""


@dataclass(frozen=True, slots=True)
class NamedLoss:
    """One entry of the library. ``make`` takes the parameters and returns the loss's description.

    ``parameters`` has the defaults, those for ten classes; ``settings`` those for other numbers of classes, where
    other ones were published. ``ranges`` says what a parameter may be, as an interval such as ``(0, 1]``. ``head`` is
    what the formula was made for. ``reduction`` says how ``reduction="mean"`` comes about; ``control`` marks a loss
    that is there to be beaten, ``of_ten`` one whose parameters for other numbers of classes could not be read. ``note``
    tells what could be read in the source, what not, and what was chosen.
    """

    name: str
    summary: str
    source: str
    parameters: dict[str, float]
    make: Callable[..., LossSpec]
    ranges: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    note: str = ""
    head: str = "softmax"
    reduction: str = OVER_CLASSES
    control: bool = False
    of_ten: bool = False

    def spec(self, *, classes: float | None = None, **given: float) -> LossSpec:
        """Description with the parameters given, and the defaults of all others, or those for ``classes`` classes.

        Raises LossError for a parameter that the loss does not have, one out of its range, or a number of classes
        that nothing was published for, where the parameters depend on it.
        """
        unknown = sorted(set(given) - set(self.parameters))
        if unknown:
            others = offered(unknown[0], self.parameters, what="it has")
            raise LossError(f"loss '{self.name}' has no parameter '{unknown[0]}'{others}")
        for name, value in given.items():
            self._check(name, value)
        return self.make(**{**self.setting(classes), **given})

    @property
    def needs(self) -> tuple[str, ...]:
        """Which of "progress" and "class_share" have to be told besides logits and target."""
        spec = self.spec()
        nodes = () if spec.is_term else parse_formula(spec.formula).walk()
        return tuple(sorted({EVERY_LEAF[node.op].needs for node in nodes if node.op in EVERY_LEAF} - {""}))

    def setting(self, classes: float | None = None) -> dict[str, float]:
        """Every parameter's value for a number of classes; None: the defaults. Raises LossError; see `spec`."""
        if classes is not None and (isinstance(classes, bool) or not isinstance(classes, (int, float))):
            raise LossError(f"loss '{self.name}': classes must be a whole number, not {classes!r}")
        if classes is None or classes == USUAL_CLASSES or not (self.settings or self.of_ten):
            return dict(self.parameters)
        if classes not in self.settings:
            known = " and ".join(map(str, [USUAL_CLASSES, *self.settings]))
            raise LossError(
                f"loss '{self.name}' has {'settings' if self.settings else 'a setting'} for {known} classes, not for "
                f"{classes:g}: "
                f"give its parameters ({', '.join(self.parameters)})"
            )
        return {**self.parameters, **self.settings[int(classes)]}

    def _check(self, name: str, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise LossError(f"loss '{self.name}': {name} must be a finite number, not {value!r}")
        if name in self.ranges and not _within(value, self.ranges[name]):
            raise LossError(f"loss '{self.name}': {name} must be {_told(self.ranges[name])}, not {value!r}")


def _ends(interval: str) -> tuple[float, float]:
    low, high = interval[1:-1].split(",")
    return float(low), float(high)


def _within(value: float, interval: str) -> bool:
    """Whether an interval such as ``[0, 1)`` has the value; ``whole [1, 9]`` has whole numbers alone."""
    if interval.startswith("whole "):
        return float(value).is_integer() and _within(value, interval.removeprefix("whole "))
    low, high = _ends(interval)
    return (low <= value if interval[0] == "[" else low < value) and (
        value <= high if interval[-1] == "]" else value < high
    )


def _told(interval: str) -> str:
    if interval.startswith("whole "):
        return f"a whole number in {interval.removeprefix('whole ')}"
    low, high = _ends(interval)
    if high == math.inf:
        return f"{low:g} or more" if interval[0] == "[" else f"above {low:g}"
    if low == -math.inf:
        return f"{high:g} or less" if interval[-1] == "]" else f"below {high:g}"
    return f"in {interval}"


def number(value: float) -> str:
    """A number as it stands in a formula, in parentheses where it is negative."""
    text = format_number(float(value))
    return f"({text})" if value < 0 else text


def times(factor: float, text: str) -> str:
    """``factor * text``, where ``text`` is a product, a quotient or less; a factor of 1 is left out."""
    return text if factor == 1 else f"{number(factor)} * {text}"


def formula(text: str) -> LossSpec:
    """The description of a formula, in plain style."""
    return LossSpec(str(parse_formula(text)))


def of_term(
    name: str,
    summary: str,
    source: str,
    reduction: str = OVER_CLASSES,
    *,
    settings: Mapping[int, Mapping[str, float]] | None = None,
    note: str = "",
) -> NamedLoss:
    """The entry of a term of the same name, which checks its parameters itself."""
    defaults = {parameter: about.default for parameter, about in TERMS[name].parameters.items()}

    def make(**given: float) -> LossSpec:
        return LossSpec(str(term(name, **given)))

    return NamedLoss(name, summary, source, defaults, make, settings=settings or {}, note=note, reduction=reduction)
