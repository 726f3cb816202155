"""What all terms share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lossforge.errors import LossError
from lossforge.expression.heads import check_head
from lossforge.losses.drop_in import DropInLoss


class TermLoss(DropInLoss):
    """A term as a drop-in for ``nn.CrossEntropyLoss``; see `DropInLoss` for the arguments that all share."""

    heads: tuple[str, ...] = ("softmax", "sigmoid", "binary")
    """The heads behind which it means something."""
    headless = ""
    """Why it means nothing behind the others."""

    def __init__(self, call: str, values: Mapping[str, float], *, head: str = "softmax", **arguments: Any) -> None:
        """``call`` is the term as it is written, ``values`` are those of its parameters."""
        self.refuse(call.split("(")[0], head)
        self.head = head
        super().__init__(**arguments)
        self.formula = call

    @classmethod
    def refuse(cls, name: str, head: str) -> None:
        """Raise LossError for a head that there is not, or behind which the term ``name`` means nothing."""
        if check_head(head) not in cls.heads:
            raise LossError(f"loss '{name}' cannot have the head '{head}': {cls.headless}")

    def extra_repr(self) -> str:
        """The call, for printing."""
        return repr(self.formula)
