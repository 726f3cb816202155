"""Where a search ends: after so many generations, trainings or hours, always at the end of a generation."""

from __future__ import annotations

from collections.abc import Mapping
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
    seconds = float(str(state.get("seconds", 0.0)))
    if space.budget.hours and seconds * (done + 1) > 3600 * space.budget.hours * done:
        return "budget.hours"
    return ""


def search_trainings(ledger: Ledger, generation: int) -> int:
    """Trainings of candidates until the end of a generation."""
    return ledger.training_count(Stage.SEARCH, generation)
