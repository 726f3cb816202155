"""Lists: every row of what there is, and words to find one by."""

from __future__ import annotations

import pytest

from lossforge.errors import LossforgeError
from lossforge.inspection.listings import LISTS, listing, matching
from lossforge.losses.library import ALIASES, GROUPS, LIBRARY


def found(*words: str, what: str = "losses") -> list[str]:
    return [str(next(iter(row.values()))) for row in matching(listing(what), words, what)]


def test_every_loss_is_listed_with_its_group_and_all_that_is_known_of_it() -> None:
    rows = {row["name"]: row for row in listing("losses")}
    assert [*rows] == [*LIBRARY]
    for group, entries in GROUPS.items():
        assert {rows[entry.name]["group"] for entry in entries} == {group}
    assert rows["nce_rce"]["settings"] == {"100 classes": {"a": 10.0, "b": 0.1}}
    assert rows["ldam"]["needs"] == ["class_share"]
    assert (rows["asymmetric"]["head"], rows["focal"]["head"]) == ("sigmoid", "softmax")
    assert "Taylor's factors" in rows["taylorglo"]["note"]


def test_a_group_is_found_by_one_of_its_words() -> None:
    noise = found("noise")
    assert {entry.name for entry in GROUPS["label noise"]} <= {*noise}
    assert len(noise) < len(LIBRARY) / 2
    assert found("Label", "NOISE") == found("label_noise") == found("label noise")


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_another_name_finds_the_loss_alone(alias: str, name: str) -> None:
    assert found(alias) == [name]


@pytest.mark.parametrize("name", LIBRARY)
def test_a_whole_name_finds_the_loss_alone(name: str) -> None:
    assert found(name) == found(name.replace("_", "-")) == [name]


def test_a_parameter_finds_the_losses_that_have_it() -> None:
    assert {name for name, entry in LIBRARY.items() if "q" in entry.parameters} <= {*found("q")}
    assert found("pi1") == ["jensen_shannon"]
    assert found("gamma_neg") == ["adaptive_focal", "asymmetric"]  # the one has gamma, and hard negatives


def test_the_beginning_of_a_word_is_enough_from_three_letters_on() -> None:
    assert "symmetric_ce" in found("symm")
    assert "dice" in found("tver")


def test_what_is_not_there_is_told_with_what_was_probably_meant() -> None:
    with pytest.raises(LossforgeError, match="none of the losses has 'focl'; did you mean 'focal'"):
        found("focl")
    with pytest.raises(LossforgeError, match="none of the losses has 'nothing'; 'lossforge list losses' shows all"):
        found("nothing")
    with pytest.raises(LossforgeError, match="none of the models has 'resnet21'; did you mean 'resnet18' or"):
        found("resnet21", what="models")


@pytest.mark.parametrize("what", LISTS)
def test_without_words_a_list_is_whole(what: str) -> None:
    assert matching(listing(what), (), what) == listing(what)
