"""What to do about a training that failed and that a run cannot do without: cross-entropy's, or a rival's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lossforge.evaluation.records import Outcome

if TYPE_CHECKING:
    from lossforge.spaces.schema import SearchSpace, TaskSection

OUT_OF_MEMORY = "out of memory"
"""In the reason of a training that asked for more memory than it could have."""


def remedy(space: SearchSpace, task: TaskSection, outcome: str, reason: str, run: Path, then: str = "resume") -> str:
    """What helps, as the end of a sentence; ``then`` is what goes on with the ``run``: "resume" or "validate"."""
    onwards = f"'lossforge {then} {run}'"
    if outcome == Outcome.TIMED_OUT:
        return _with(run, "training_seconds", "time", then)
    if OUT_OF_MEMORY in reason:
        if space.budget.training_gigabytes:
            return _with(run, "training_gigabytes", "memory", then)
        return f"free some memory, and type {onwards}; or start a new run with a smaller task"
    path = task.python or (task.model if ":" in task.model else "")
    if path and (task.python or reason.startswith(f"'{path}'")):
        what = "function" if task.python else "network"
        return (
            f"mend what failed in the {what}, and start a new run; or, where its file need not change, type {onwards}"
        )
    if outcome == Outcome.CRASHED:
        return f"see that the machine has memory and disk enough, and type {onwards}"
    return "change the recipe, such as recipe.learning_rate, and start a new run"


def _with(run: Path, key: str, what: str, then: str) -> str:
    validated = f", then 'lossforge validate {run}'" if then == "validate" else ""
    return f"give it more {what} with 'lossforge resume {run} --set budget.{key}=N'{validated}"
