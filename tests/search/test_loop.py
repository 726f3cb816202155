"""What a search makes of its space."""

from __future__ import annotations

from tests.conftest import SMOKE

from lossforge.search.loop import screen_settings
from lossforge.spaces.load import load_space


def test_the_screens_get_what_the_space_says() -> None:
    usual = screen_settings(load_space(SMOKE, []))
    assert (usual.guards, usual.label_smoothing) == (True, 0.0)
    changed = screen_settings(load_space(SMOKE, ["screening.guards=false", "recipe.label_smoothing=0.1"]))
    assert (changed.guards, changed.label_smoothing) == (False, 0.1)
