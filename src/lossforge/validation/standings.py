"""Losses over several studies: each one's score in each, those of rivals included."""

from __future__ import annotations

from collections.abc import Sequence

from lossforge.validation.comparison import Comparison


def loss_of(row: Comparison) -> str:
    """What tables call the loss of a row."""
    return row.loss or row.formula


def scores_by_study(rows: Sequence[Comparison]) -> dict[str, list[float]]:
    """Mean score of each loss and rival in every study, by name; those that are not in all studies are left out.

    A loss that was trained on different numbers of seeds beside different rivals has the score of the most.
    """
    studies = list(dict.fromkeys(row.title for row in rows))
    found: dict[str, dict[str, tuple[int, float]]] = {}
    for row in rows:
        for name, score in ((loss_of(row), row.accuracy), (row.rival, row.rival_accuracy)):
            own = found.setdefault(name, {})
            if own.get(row.title, (0, 0.0))[0] < row.seeds:
                own[row.title] = (row.seeds, score)
    return {
        name: [own[study][1] for study in studies] for name, own in found.items() if all(one in own for one in studies)
    }
