"""What is said of each loss over all its rivals."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lossforge.validation.comparison import Comparison, told
from lossforge.validation.sentences import collapse_sentences, loss_sentences
from lossforge.validation.verdicts import Verdict


def compared(gain: float, p: float, rival: str = "cross_entropy", *, rank: int = 1, seeds: int = 8) -> Comparison:
    return Comparison(
        rank=rank,
        formula="y_pred",
        size=3,
        rival=rival,
        search_gain=1.0,
        gain=gain,
        low=gain - 1,
        high=gain + 1,
        p=p,
        p_adjusted=p,
        seeds=seeds,
        task="a",
        accuracy=0.9,
        rival_accuracy=0.89,
        learning_rate=0.01,
        rival_learning_rate=0.01,
        tested_on=497,
    )


FIRST, NEAR = compared(2.0, 0.001), compared(0.2, 0.5, "mean_absolute_error")


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([FIRST, compared(1.5, 0.01, "ngl")], "better than every known loss that it met (2)"),
        (
            [FIRST, replace(NEAR, seeds_needed=123, cosine=0.931)],
            "better than cross-entropy, not separable from mean absolute error (+0.20; about 123 seeds would separate "
            "them, or show them equivalent, cosine of the gradients 0.93)",
        ),
        (
            [FIRST, NEAR],
            "better than cross-entropy, not separable from mean absolute error (+0.20; 10,000 seeds would not separate "
            "them, fewer may show them equivalent)",
        ),
        (
            [FIRST, replace(NEAR, p_equivalent=0.01)],
            "better than cross-entropy, equivalent to mean absolute error (within 0.5 points)",
        ),
        ([FIRST, compared(-2.0, 0.01, "ngl")], "better than cross-entropy, worse than ngl"),
        (
            [replace(compared(0.8, 0.4), seeds_needed=60)],
            "no better than cross-entropy: not separable from cross-entropy (+0.80; about 60 seeds would separate "
            "them)",
        ),
        ([compared(-3.0, 0.001)], "worse than cross-entropy"),
        (
            [replace(FIRST, low_images=-0.2, high_images=4.2, images_needed=1900), compared(1.5, 0.01, "ngl")],
            "better than every known loss that it met (2) on these 497 test images (about 1,900 would settle it for "
            "others)",
        ),
        (
            [replace(FIRST, low_images=-0.2, high_images=4.2)],
            "better than cross-entropy on these 497 test images (with other images it may not be; more seeds are "
            "needed too)",
        ),
        ([replace(FIRST, low_images=0.1, high_images=4.2)], "better than cross-entropy"),
    ],
)
def test_each_loss_has_a_sentence(rows: list[Comparison], sentence: str) -> None:
    assert loss_sentences(rows) == [f"rank 1: {sentence}"]


def test_losses_of_which_the_same_is_said_share_one_and_tasks_are_named() -> None:
    rows = [replace(row, rank=rank) for rank in (1, 2) for row in (FIRST, compared(1.5, 0.001, "ngl"))]
    assert loss_sentences(rows) == ["ranks 1, 2: better than every known loss that it met (2)"]
    both = [*rows, *(replace(row, task="b") for row in rows[:2])]
    assert loss_sentences(both)[1] == "b, rank 1: better than every known loss that it met (2)"
    assert loss_sentences([]) == []


def test_with_too_few_seeds_nothing_is_said() -> None:
    assert loss_sentences([compared(5.0, 0.0, seeds=3)]) == []


def test_programs_are_told_the_same() -> None:
    answers = told([FIRST, NEAR])
    assert [answer["verdict"] for answer in answers] == ["better", "not_separable"]
    assert {answer["loss_verdict"] for answer in answers} == {"better_than_cross_entropy"}
    assert {answer["nearest_known"] for answer in answers} == {"mean_absolute_error"}


def test_networks_that_predict_one_class_are_told_and_never_equivalent() -> None:
    row = replace(FIRST, gain=0.0, p=1.0, p_adjusted=1.0, p_equivalent=0.0)
    assert row.verdict is Verdict.EQUIVALENT
    collapsed = replace(row, collapsed=8, rival_collapsed=8)
    assert collapsed.verdict is Verdict.NOT_SEPARABLE
    (told_of,) = collapse_sentences([collapsed])
    assert told_of.startswith("a: 8 of 8 networks of rank 1; cross-entropy each predict one class only")
    assert collapse_sentences([replace(row, collapsed=1)]) == []


def test_worse_on_these_images_alone_is_said() -> None:
    row = replace(compared(-2.0, 0.001), low_images=-4.0, high_images=0.5, images_needed=900)
    (sentence,) = loss_sentences([row])
    assert sentence == (
        "rank 1: worse than cross-entropy on these 497 test images (about 900 would settle it for others)"
    )
