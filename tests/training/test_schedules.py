"""The schedule that looks at losses: torch's own, lane by lane, whatever a loss is multiplied with or added to."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import optim

from lossforge.spaces.schema import RecipeSection
from lossforge.training.schedules import plateau_rates, schedule_values

LOSSES = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=30)


def recipe(**keys: Any) -> RecipeSection:
    return RecipeSection(schedule="plateau", **keys)


def rates(losses: list[list[float]], peaks: list[float], **keys: Any) -> list[float]:
    """Rates after epochs, each with a loss for every lane."""
    return plateau_rates(torch.tensor(peaks), [torch.tensor(one) for one in losses], recipe(**keys)).tolist()


@settings(deadline=None, max_examples=50)
@given(lanes=st.lists(LOSSES, min_size=1, max_size=3), epochs=st.integers(1, 4))
def test_each_lane_goes_as_torchs_own_schedule(lanes: list[list[float]], epochs: int) -> None:
    length = min(map(len, lanes))
    peaks = [0.01 * (1 + lane) for lane in range(len(lanes))]
    wanted = []
    for losses, peak in zip(lanes, peaks, strict=True):
        optimizer = optim.SGD([torch.zeros(1)], lr=peak)
        follower = optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=0.2, patience=epochs - 1, threshold=1e-6, threshold_mode="abs", min_lr=1e-4
        )
        for loss in losses[:length]:
            follower.step(loss)
        wanted.append(optimizer.param_groups[0]["lr"])
    found = rates([[lane[epoch] for lane in lanes] for epoch in range(length)], peaks, plateau_epochs=epochs)
    assert found == pytest.approx(wanted, rel=1e-5)


def test_a_loss_three_times_as_large_and_higher_has_the_same_rates() -> None:
    generator = torch.Generator().manual_seed(1)
    falling = 2 * 0.8 ** torch.arange(60, dtype=torch.float64) + 1e-5 * torch.randn(60, generator=generator).double()
    curve = [torch.stack([loss, 3 * loss + 100, 0.01 * loss - 7]) for loss in falling]
    found = plateau_rates(torch.full((3,), 0.01, dtype=torch.float64), curve, recipe())
    assert len(set(found.tolist())) == 1
    assert float(found[0]) < 0.01


def test_a_rate_below_the_floor_is_not_raised_to_it() -> None:
    flat = [[1.0, 1.0]] * 40
    assert rates(flat, [0.01, 0.00001], plateau_floor=0.001) == pytest.approx([0.001, 0.00001])


def test_between_epochs_it_is_constant() -> None:
    assert schedule_values("plateau", 7) == schedule_values("constant", 7)
