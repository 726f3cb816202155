"""How a search stood at the end of a generation, rebuilt from its ledger, and whether its table tells all of that."""

from __future__ import annotations

import time

from lossforge.errors import StoreError
from lossforge.search.control import control_key
from lossforge.search.generation import judged_from_rows
from lossforge.search.hall_of_fame import LENGTH, Entry, checked_entries, damaged, read_hall_of_fame
from lossforge.search.likeness import families
from lossforge.search.scores import Judged, Scores
from lossforge.spaces.schema import SearchSpace
from lossforge.store.checkpoint import load_checkpoint
from lossforge.store.ledger import Ledger
from lossforge.store.run_folder import RunFolder
from lossforge.store.stages import Stage

_SECONDS = 0.5
"""How long a table that seems to be cut is waited for."""


def scores_at(ledger: Ledger, space: SearchSpace, done: int, *, leaders: bool = False) -> Scores:
    """Scores as they stood at the end of generation ``done``, or once its ``leaders`` had their further seeds.

    Later trainings in the ledger belong to a generation that was cut short; its replay looks them up.
    """
    scores = Scores(space.fitness)
    scores.add_control(ledger.trainings(Stage.CONTROL))
    if done >= 0:
        # The audit's too: what it trained may have been proposed later in a form that passes.
        trainings = [
            row
            for stage in (Stage.SEARCH, Stage.AUDIT)
            for row in ledger.trainings(stage, up_to_generation=done + leaders)
        ]
        candidates = ledger.candidates(up_to_generation=done)
        scores.enter(judged_from_rows(candidates, trainings, space.fitness).values())
    return scores


def leaders_of(folder: RunFolder) -> list[Entry]:
    """The table of a run. Raises StoreError where it is missing, damaged, or shorter than the ledger says.

    A table may have been cut between two rows, as by a copy that was broken off.
    """
    entries = read_hall_of_fame(folder.hall_of_fame_file)
    if len(entries) < LENGTH and len(entries) < (known := _known_length(folder)):
        # Where a search goes on meanwhile, its table is written right after its checkpoint.
        time.sleep(_SECONDS)
        entries = read_hall_of_fame(folder.hall_of_fame_file)
        if len(entries) < known:
            told = f"it is cut off: it has {len(entries)} losses, and the ledger knows of {known}"
            raise damaged(folder.hall_of_fame_file, told)
    return entries


def checked_leaders(folder: RunFolder, space: SearchSpace) -> list[Entry]:
    """`leaders_of`, with every formula checked as by `checked_entries`."""
    leaders_of(folder)
    return checked_entries(folder.hall_of_fame_file, space)


def relatives_of(folder: RunFolder) -> dict[str, list[Judged]]:
    """Of each loss of a run's table, by its key, the judged ones that are like it, best first."""
    state = load_checkpoint(folder.checkpoint_file)
    if state is None:
        return {}
    space = folder.space()
    ledger = Ledger(folder.ledger_file, read_only=True)
    try:
        scores = scores_at(ledger, space, int(state["generation"]), leaders=True)
    finally:
        ledger.close()
    return {
        family.key: [scores.judged[key] for key in family.relatives]
        for family in families(scores, space, control_key(space), LENGTH)
    }


def _known_length(folder: RunFolder) -> int:
    """Losses that the table has, by checkpoint and ledger, at least; 0 where they cannot be asked."""
    try:
        state = load_checkpoint(folder.checkpoint_file)
        if state is None:
            return 0
        space, done = folder.space(), int(state["generation"])
        ledger = Ledger(folder.ledger_file, read_only=True)
    except StoreError:
        return 0
    try:
        found = [scores_at(ledger, space, done, leaders=leaders) for leaders in (False, True)]
    except StoreError:
        return 0
    finally:
        ledger.close()
    return min(len(families(scores, space, control_key(space), LENGTH)) for scores in found)
