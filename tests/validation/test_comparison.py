"""What a re-validation says in words, and the marks beside its intervals."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossforge.validation.comparison import (
    LEGEND,
    Comparison,
    how_measured,
    summaries,
    told,
    verdict,
)
from lossforge.validation.verdicts import LEAST_SEEDS, Verdict


def compared(
    gain: float = 1.0, p: float = 0.01, *, seeds: int = 8, rank: int = 1, rival: str = "cross_entropy", task: str = "a"
) -> Comparison:
    return Comparison(
        rank=rank,
        formula=f"y_pred**{rank}",
        size=3,
        rival=rival,
        search_gain=1.0,
        gain=gain,
        low=gain - 1,
        high=gain + 1,
        p=p / 2,
        p_adjusted=p,
        seeds=seeds,
        task=task,
        accuracy=0.9,
        rival_accuracy=0.89,
        learning_rate=0.01,
        rival_learning_rate=0.01,
    )


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (compared(1.0, 0.049), Verdict.BETTER),
        (compared(-1.0, 0.049), Verdict.WORSE),
        (compared(1.0, 0.05), Verdict.NOT_SEPARABLE),
        (compared(-1.0, 1.0), Verdict.NOT_SEPARABLE),
        (compared(1.0, 0.0, seeds=LEAST_SEEDS), Verdict.BETTER),
        (compared(1.0, 0.0, seeds=LEAST_SEEDS - 1), Verdict.NOT_SEPARABLE),
        (compared(-1.0, 0.0, seeds=2), Verdict.NOT_SEPARABLE),
        (compared(1.0, float("nan")), Verdict.NOT_SEPARABLE),
    ],
)
def test_better_and_worse_need_seeds(row: Comparison, expected: Verdict) -> None:
    assert verdict(row) is expected
    assert f"with {LEAST_SEEDS} seeds or more" in LEGEND


UP, DOWN, OPEN = (1.0, 0.01), (-1.0, 0.01), (1.0, 0.5)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (
            [UP, UP, OPEN, OPEN, DOWN],
            "2 of 5 are better than cross-entropy; 1 is worse; of the others nothing is shown",
        ),
        ([UP, DOWN, DOWN], "1 of 3 is better than cross-entropy; 2 are worse"),
        ([UP, UP], "2 of 2 are better than cross-entropy"),
        ([OPEN] * 5, "none is better than cross-entropy; none is worse"),
        ([DOWN, OPEN, OPEN], "none is better than cross-entropy; 1 of 3 is worse; of the others nothing is shown"),
        ([DOWN, DOWN], "none is better than cross-entropy; 2 of 2 are worse"),
    ],
)
def test_one_sentence_says_how_many_are_better(found: list[tuple[float, float]], sentence: str) -> None:
    assert summaries([compared(*one, rank=rank) for rank, one in enumerate(found, 1)]) == [sentence]


def test_each_task_and_rival_has_a_sentence() -> None:
    rows = [
        compared(*UP, task="digits"),
        compared(*DOWN, task="digits", rival="label_smoothing"),
        compared(*OPEN, task="masks"),
        compared(*OPEN, task="masks", rival="label_smoothing"),
    ]
    assert summaries(rows) == [
        "digits: 1 of 1 is better than cross-entropy",
        "digits: none is better than label smoothing; 1 of 1 is worse",
        "masks: none is better than cross-entropy; none is worse",
        "masks: none is better than label smoothing; none is worse",
    ]
    assert summaries([]) == []
    assert summaries([compared(*UP, rival="-y_true * y_pred")]) == ["1 of 1 is better than -y_true * y_pred"]


def test_few_seeds_are_told_to_be_too_few() -> None:
    (sentence,) = summaries([compared(5.0, 0.0, seeds=2)])
    assert sentence == "2 seeds are too few to call any better than cross-entropy, or worse; validate with 4 or more"


@given(
    st.lists(
        st.builds(
            compared,
            st.floats(-5, 5),
            st.floats(0, 1),
            rank=st.integers(1, 9),
            rival=st.sampled_from(["cross_entropy", "ngl"]),
            task=st.sampled_from(["a", "b"]),
        )
    )
)
def test_programs_are_told_each_verdict_and_its_sentence(rows: list[Comparison]) -> None:
    answers = told(rows)
    assert [answer["formula"] for answer in answers] == [row.formula for row in rows]
    assert [answer["verdict"] for answer in answers] == [verdict(row).value for row in rows]
    assert {answer["summary"] for answer in answers} == set(summaries(rows))


def test_what_was_measured_is_said_as_it_was() -> None:
    usual = compared()
    told = how_measured([usual, compared(rank=2)])
    assert "points of test accuracy with 95 % interval, 8 paired fresh seeds" in told
    assert "at its own best learning rate (cross_entropy 0.01)" in told
    own = replace(usual, metric="score", learning_rate=1.0, rival_learning_rate=1.0)
    told = how_measured([replace(own, unseen=False)])
    assert "the training's own score, on the same data as in the search" in told
    assert not any(word in told for word in ("test", "accuracy", "learning rate"))
    assert "for its test part" in how_measured([own])
    assert "no learning rate tuned (cross_entropy 0.01)" in how_measured([replace(usual, tuned=False)])
    assert "where lossforge trains (cross_entropy 0.01)" in how_measured([usual, replace(own, task="own")])
