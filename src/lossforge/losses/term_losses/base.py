"""What all terms share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lossforge.losses.drop_in import DropInLoss


class TermLoss(DropInLoss):
    """A term as a drop-in for ``nn.CrossEntropyLoss``; see `DropInLoss` for the arguments that all share."""

    def __init__(self, call: str, values: Mapping[str, float], **arguments: Any) -> None:
        """``call`` is the term as it is written, ``values`` are those of its parameters."""
        super().__init__(**arguments)
        self.formula = call

    def extra_repr(self) -> str:
        """The call, for printing."""
        return repr(self.formula)
