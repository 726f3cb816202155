"""Where a search ends: after so many generations, trainings or hours, always at the end of a generation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lossforge.store.stages import Stage

if TYPE_CHECKING:
    from lossforge.spaces.schema import SearchSpace
    from lossforge.store.ledger import Ledger


def used_up(space: SearchSpace, state: Mapping[str, object] | None, ledger: Ledger) -> str:
    """The key of the budget that a search has used up, by its checkpoint and ledger; "" where it may go on.

    A budget of hours, or of trainings, ends before a generation that would not fit, by the mean of those before it; the
    checkpoint keeps the seconds, so that a search that was killed there ends at the same generation.
    """
    if state is None:
        return ""
    done = int(str(state["generation"])) + 1
    strategy = state.get("strategy")
    if isinstance(strategy, Mapping) and strategy.get("exhausted"):
        return "fusion.orders"
    if done >= space.budget.generations:
        return "budget.generations"
    spent = search_trainings(ledger, done - 1)
    if space.budget.trainings and spent * (done + 1) > space.budget.trainings * done:
        return "budget.trainings"
    if space.budget.hours and Clock.kept(state).next_end > 3600 * space.budget.hours:
        return "budget.hours"
    return ""


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds that a search has taken until its last checkpoint, and seconds of each of its generations."""

    seconds: float = 0.0
    each: float = 0.0
    generations: int = 0

    @classmethod
    def kept(cls, state: Mapping[str, object] | None) -> Clock:
        """As a checkpoint has it; zeros where it has none."""
        if state is None or "seconds" not in state:
            return cls()
        return cls(float(str(state["seconds"])), float(str(state["each"])), int(str(state["generation"])) + 1)

    @property
    def next_end(self) -> float:
        """When another generation would end."""
        return self.seconds + self.each

    def left(self, space: SearchSpace) -> float:
        """Seconds that the budget of hours leaves, 1 at least; 0 where there is none."""
        return max(1.0, 3600 * space.budget.hours - self.seconds) if space.budget.hours else 0.0

    def to_keep(self, elapsed: float, searched: float, generations: int) -> dict[str, object]:
        """What a checkpoint keeps, ``elapsed`` seconds later, of which ``searched`` were generations' own."""
        each = (self.each * self.generations + searched) / generations
        return {"seconds": round(self.seconds + elapsed, 3), "each": round(each, 3)}


def search_trainings(ledger: Ledger, generation: int) -> int:
    """Trainings of candidates until the end of a generation."""
    return ledger.training_count(Stage.SEARCH, generation)
