"""The screens for losses that are no formulas."""

from __future__ import annotations

import pytest

from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import LIBRARY
from lossforge.screening.settings import Screen, ScreenSettings
from lossforge.screening.terms import screen_term

TERMS = [name for name, entry in LIBRARY.items() if entry.spec().is_term]


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_every_term_of_the_library_passes(name: str, classes: int) -> None:
    assert screen_term(LIBRARY[name].spec(), ScreenSettings(classes=(classes,))) == (None, "")


def test_a_term_is_held_to_the_same_thresholds() -> None:
    assert screen_term(LossSpec("dice(e=1.0)"), ScreenSettings(descent_steps=0))[0] == Screen.DESCENT
    by, reason = screen_term(LossSpec("bce()"), ScreenSettings(max_gradient=1.1))
    assert by == Screen.PROBE
    assert "times its usual size (limit 1.1)" in reason
