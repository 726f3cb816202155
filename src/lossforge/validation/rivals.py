"""The rivals of a re-validation: those of the space, and others that a person names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lossforge.errors import FormulaError, LossError
from lossforge.losses.library import loss_spec

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


def _separated(text: str) -> Iterator[str]:
    """What stands between commas that are in no brackets."""
    depth, begin = 0, 0
    for place, character in enumerate(f"{text},"):
        depth += _BRACKETS.get(character, 0)
        if character == "," and (depth <= 0 or place == len(text)):
            yield text[begin:place].strip()
            begin = place + 1
