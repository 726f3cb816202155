"""What all terms share. It needs torch alone, as all files of this folder do: exports ship them word for word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lossforge.losses.drop_in import DropInLoss


class TermLoss(DropInLoss):
    """A term as a drop-in for ``nn.CrossEntropyLoss``; see `DropInLoss` for the arguments that all share."""

    heads: tuple[str, ...] = ("softmax", "sigmoid", "binary")
    """The heads behind which it means something."""
    headless = ""
    """Why it means nothing behind the others."""

    def __init__(self, call: str, values: Mapping[str, float], *, head: str = "softmax", **arguments: Any) -> None:
        """``call`` is the term as it is written, ``values`` are those of its parameters."""
        self.head = head
        super().__init__(**arguments)
        self.formula = call

    def extra_repr(self) -> str:
        """The call, for printing."""
        return repr(self.formula)
