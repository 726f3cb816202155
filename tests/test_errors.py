"""Names that were probably meant."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lossforge.errors import offered, probably_meant

KNOWN = ["task", "recipe", "evolution", "expression", "cifar10", "cifar100", "mnist", "kmnist"]


@given(name=st.sampled_from(KNOWN), place=st.integers(0, 8))
def test_a_name_with_two_letters_exchanged_is_recognised(name: str, place: int) -> None:
    place = min(place, len(name) - 2)
    slip = name[:place] + name[place + 1] + name[place] + name[place + 2 :]
    assert name in probably_meant(slip, KNOWN)


@given(name=st.text(max_size=20), known=st.lists(st.text(max_size=20), max_size=5))
def test_only_known_names_are_offered_and_two_at_most(name: str, known: list[str]) -> None:
    meant = probably_meant(name, known)
    assert len(meant) <= 2
    assert set(meant) <= set(known)
    assert not known or name not in known or meant[0] == name


def test_capitals_and_two_candidates() -> None:
    assert probably_meant("Task", KNOWN) == ["task"]
    assert probably_meant("cifar", KNOWN) == ["cifar10", "cifar100"]
    assert probably_meant("nonsense", KNOWN) == []


def test_without_a_likely_name_all_are_told() -> None:
    assert offered("zzz", ["a", "b"], "a formula works too") == " (known: a, b; a formula works too)"
    assert offered("zzz", [], what="it has") == " (it has: none)"
