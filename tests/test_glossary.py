"""Every word of the output can be asked for."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from lossforge.errors import LossforgeError
from lossforge.evaluation.records import Outcome
from lossforge.glossary import _ALSO, MEANING, OUTPUT, SOURCE, explained
from lossforge.losses.library import loss
from lossforge.screening.settings import Screen
from lossforge.search.progress import LineProgress
from lossforge.store.stages import Stage


@pytest.mark.parametrize("word", [*Outcome, *Screen, *Stage, *(str(one).replace("_", " ") for one in Outcome)])
def test_what_the_ledger_calls_things_is_explained(word: str) -> None:
    name = word.partition(",")[0]
    assert explained(name)[1].endswith((".", "?"))


def test_the_counts_that_progress_tells_are_made_of_explained_words() -> None:
    progress = LineProgress(print)
    progress.totals = Counter({Outcome.CACHED: 1})
    for word in ("static", "probe", "guards", "descent", "duplicates", "cache", "trained"):
        assert word in progress.counts()
        assert explained(word)


def test_a_word_means_one_thing_and_other_forms_lead_to_it() -> None:
    assert not set(OUTPUT) & set(SOURCE)
    assert not set(_ALSO) & {*OUTPUT, *SOURCE}
    assert set(_ALSO.values()) <= {*OUTPUT, *SOURCE}
    assert explained("Hall_of_Fame") == ("hall of fame", OUTPUT["hall of fame"])
    assert explained("LEADERS")[0] == "finalist"
    assert all(len(text) < 400 for text in {**OUTPUT, **SOURCE}.values())


def test_an_unknown_word_is_answered_with_the_nearest_or_with_all() -> None:
    with pytest.raises(LossforgeError, match=r"'descend' is not in the glossary; did you mean 'descent'\?"):
        explained("descend")
    with pytest.raises(LossforgeError, match=r"\(known: formula, y_pred, "):
        explained("xylophone")


def test_a_formula_means_what_is_said_of_it() -> None:
    import torch

    logits, target = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 3, 1, 1, 2])
    y_pred, y_true = logits.softmax(1), torch.eye(4)[target]
    for text in (MEANING, OUTPUT["formula"]):
        assert "summed over" in text
    expected = (y_true - y_pred).abs().sum(1).mean()
    torch.testing.assert_close(loss("abs(y_true - y_pred)")(logits, target), expected)


def test_the_glossary_is_plain_data() -> None:
    assert json.loads(json.dumps({**OUTPUT, **SOURCE})) == {**OUTPUT, **SOURCE}
