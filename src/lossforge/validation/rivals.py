"""The rivals of a re-validation: those of the space, and others that a person names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lossforge.errors import FormulaError, LossError
from lossforge.losses.library import loss_spec, named_sum

_BRACKETS = {"(": 1, ")": -1}


def further_rivals(given: str | Iterable[str], head: str = "softmax", *, table: bool = False) -> list[str]:
    """The rivals in texts such as ``"ngl,focal(gamma=3)"``, each once.

    Raises LossError for one that is no loss, or none behind the space's head; see `loss_spec`.

    >>> further_rivals(["ngl, focal(gamma=3)", "max(y_pred, y_true)"])
    ['ngl', 'focal(gamma=3)', 'max(y_pred, y_true)']
    """
    given = [given] if isinstance(given, str) else given
    names = list(dict.fromkeys(name for text in given for name in _separated(text)))
    for name in names:
        try:
            loss_spec(name, head=head, table=table)
        except (FormulaError, LossError) as error:
            raise LossError(f"--rivals: {error}") from None
    return names


def parts_of(formulas: Iterable[str]) -> list[str]:
    """The named losses in sums, each once: what a sum has to be better than. A loss alone is no sum.

    >>> parts_of(["focal + 0.5 * dice(e=2)", "brier", "-y_true * log(y_pred)", "dice(e=2) + brier"])
    ['focal', 'dice(e=2.0)', 'brier']
    """
    sums = [found for text in formulas if (found := named_sum(text)) is not None and len(found.parts) > 1]
    return list(dict.fromkeys(str(called) for one in sums for called in one.calls))


def _separated(text: str) -> Iterator[str]:
    """What stands between commas that are in no brackets."""
    depth, begin = 0, 0
    for place, character in enumerate(f"{text},"):
        depth += _BRACKETS.get(character, 0)
        if character == "," and (depth <= 0 or place == len(text)):
            yield text[begin:place].strip()
            begin = place + 1
