"""Where a search starts from: known losses, formulas, and other runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lossforge.errors import FormulaError, LossError, SpaceError
from lossforge.expression.tree import Expression
from lossforge.losses.candidates import parse_candidate
from lossforge.losses.library import loss_spec
from lossforge.search.scores import Scores
from lossforge.search.standing import leaders_of, scores_at
from lossforge.spaces.schema import SearchSpace
from lossforge.store.checkpoint import load_checkpoint
from lossforge.store.ledger import Ledger
from lossforge.store.run_folder import RunFolder

_LEADERS = 10
"""Losses that a run gives to begin with."""
_LEARNED = 400
"""Losses of a run that a surrogate learns from, half of them its best."""


def started_from(space: SearchSpace, starts: Sequence[str | Path]) -> SearchSpace:
    """The space with its seeds and what its surrogate has learned from ``starts``: runs' folders, names, formulas.

    Of a run the leaders become seeds that the space can express, and its surrogate learns from what the run judged.
    Raises SpaceError for what is none of the three, or outside the space; StoreError for a damaged run.
    """
    seeds: list[str] = list(space.expression.seeds)
    learned: list[tuple[str, float]] = list(space.evolution.surrogate.learned)
    for start in starts:
        if (Path(start) / "manifest.json").is_file():
            of_run, known = _of_run(RunFolder.open(Path(start)), space)
            seeds += of_run
            learned += known
        else:
            seeds.append(_formula(str(start), space))
    tables = space.model_dump(mode="json")
    tables["expression"]["seeds"] = list(dict.fromkeys(seeds))
    tables["evolution"]["surrogate"]["learned"] = learned
    from lossforge.spaces.load import validate_space

    return validate_space(tables, "seed_from")


def _formula(text: str, space: SearchSpace) -> str:
    try:
        spec = loss_spec(text, head=space.head)
    except (LossError, FormulaError) as error:
        raise SpaceError(
            f"seed_from: '{text}' is no run's folder, no loss of the library and no formula ({error})"
        ) from None
    if spec.is_term:
        raise SpaceError(f"seed_from: '{text}' counts over a batch and is no formula; take another loss")
    return spec.formula


def _of_run(folder: RunFolder, space: SearchSpace) -> tuple[list[str], list[tuple[str, float]]]:
    """The leaders that the space can express, and formulas with gains of what was judged."""
    state, other = load_checkpoint(folder.checkpoint_file), folder.space()
    if state is None or other.head != space.head:
        why = "it has not finished a generation" if state is None else f"its head is {other.head}, not {space.head}"
        raise SpaceError(f"seed_from: {folder.path} cannot be started from: {why}")
    ledger = Ledger(folder.ledger_file, read_only=True)
    try:
        scores = scores_at(ledger, other, int(state["generation"]), leaders=True)
    finally:
        ledger.close()
    leaders = [entry.searched for entry in leaders_of(folder)[:_LEADERS] if _fits(entry.searched, space)]
    return leaders, _judged(scores)


def _judged(scores: Scores) -> list[tuple[str, float]]:
    """The best half, and the latest of the others, in the order judged."""
    keys = [key for key, one in scores.judged.items() if isinstance(parse_candidate(one.formula), Expression)]
    best = set(sorted(keys, key=lambda key: -scores.fitness(key))[: _LEARNED // 2])
    others = [key for key in keys if key not in best][-_LEARNED // 2 :]
    chosen = best | set(others)
    return [(scores.judged[key].formula, round(scores.fitness(key), 6)) for key in keys if key in chosen]


def _fits(formula: str, space: SearchSpace) -> bool:
    tree = parse_candidate(formula)
    if not isinstance(tree, Expression):
        return False
    given = space.expression
    known = {*given.primitives, *given.leaves, *given.define, "constant"}
    within = tree.size <= given.max_size and tree.height <= given.max_height
    return within and {node.op for node in tree.walk()} <= known
