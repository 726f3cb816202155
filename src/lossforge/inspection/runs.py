"""Read-only questions about a run: how far it is, and what leads."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossforge.errors import StoreError
from lossforge.store.run_folder import RunFolder

if TYPE_CHECKING:
    from lossforge.search.hall_of_fame import Entry


def run_status(path: Path) -> dict[str, Any]:
    """How far a run is. Raises StoreError where it is missing or damaged."""
    from lossforge.search.audit import audit_report
    from lossforge.search.hall_of_fame import read_hall_of_fame
    from lossforge.store.checkpoint import load_checkpoint
    from lossforge.store.ledger import Ledger
    from lossforge.store.stages import Stage

    folder = RunFolder.open(path)
    space = folder.space()
    state = load_checkpoint(folder.checkpoint_file)
    done = 0 if state is None else int(state["generation"]) + 1
    tally: dict[str, int] = {}
    trainings, audit = 0, None
    if folder.ledger_file.exists():
        ledger = Ledger(folder.ledger_file, read_only=True)
        try:
            tally, trainings = ledger.tally(), ledger.training_count()
            audit = audit_report(ledger.candidates(), ledger.trainings(Stage.AUDIT), ledger.trainings(Stage.CONTROL))
        except StoreError:
            if done:
                raise
        finally:
            ledger.close()
    rates: dict[str, float] = {} if state is None else state.get("learning_rates", {})
    own = {task.title for task in space.task if task.python}  # their rate is their own
    best = read_hall_of_fame(folder.hall_of_fame_file)[:1] if folder.hall_of_fame_file.exists() else []
    return {
        "run": str(path),
        "space": space.name,
        "seed": space.seed,
        "generations_done": done,
        "generations": space.budget.generations,
        "finished": done >= space.budget.generations,
        "candidates": tally,
        "trainings": trainings,
        "audit": None if audit is None else asdict(audit),
        "learning_rates": {title: rate for title, rate in rates.items() if title not in own},
        "best_formula": best[0].formula if best else None,
        "best_gain": best[0].gain if best else None,
        "metric": space.measure,
    }


def leader_seeds(path: Path) -> int:
    """Seeds from which on a loss stands before all that have fewer. Raises StoreError where there is no run."""
    return RunFolder.open(path).space().fitness.finalist_seeds


def run_top(path: Path, number: int) -> list[Entry]:
    """The leaders of a run. Raises StoreError where there is none yet."""
    from lossforge.search.hall_of_fame import read_hall_of_fame

    return read_hall_of_fame(RunFolder.open(path).hall_of_fame_file)[:number]
