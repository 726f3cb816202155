"""Rivals that a person names: names and formulas, separated by commas that are in no brackets."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lossforge
from lossforge.errors import LossError
from lossforge.search.progress import Progress
from lossforge.validation.rivals import further_rivals

FORMULA = "max(y_pred, y_true) - y_true"


@given(names=st.lists(st.sampled_from(["ngl", "focal(gamma=3)", FORMULA, "tversky(a=0.1, b=0.2)"]), max_size=6))
def test_one_text_with_commas_is_as_good_as_several_texts(names: list[str]) -> None:
    expected = list(dict.fromkeys(names))
    assert further_rivals(names) == expected
    assert not names or further_rivals([" , ".join(names)]) == expected


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("ngl,focl", "there is no loss named 'focl'"),
        ("ngl,", "the formula is empty"),
        ("", "the formula is empty"),
        ("max(y_pred", "expected ')'"),
        ("y_pred), ngl", "unexpected ')'"),
        ("focal(gama=1)", "has no parameter 'gama'"),
    ],
)
def test_what_is_no_loss_is_told_by_its_name(given: str, told: str) -> None:
    with pytest.raises(LossError, match=r"^--rivals: ") as caught:
        further_rivals([given])
    assert told in str(caught.value)


def test_named_rivals_stand_beside_those_of_the_space(finished_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    progress = Progress()
    rows = lossforge.validate(run, rivals=["ngl,brier", FORMULA], workers=1, progress=progress)
    assert list(dict.fromkeys(row.rival for row in rows)) == [
        "cross_entropy",
        "label_smoothing",
        "ngl",
        "brier",
        FORMULA,
        "generalized_ce",
    ]
    trained = progress.trainings
    assert trained > 0
    lossforge.validate(run, rivals=[FORMULA, "brier"], workers=1, progress=progress)
    assert progress.trainings == trained  # what is recorded is not trained again


def test_an_unknown_rival_is_refused_before_anything_is_trained(finished_run: Path) -> None:
    progress = Progress()
    with pytest.raises(LossError, match="no loss named 'nonsense'"):
        lossforge.validate(finished_run, rivals=["nonsense"], workers=1, progress=progress)
    assert progress.trainings == 0
