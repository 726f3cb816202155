"""What each parameter of the adaptive focal loss does to the gradient, over the course of a training."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lossforge.losses.library import loss

LOGITS = torch.tensor([[3.0, 0.0, -1.0], [-2.0, 1.0, 0.5], [0.0, 0.0, 0.0]], dtype=torch.float64)
TARGET = torch.tensor([0, 0, 2])
P_TRUE = torch.softmax(LOGITS, 1)[torch.arange(3), TARGET]


def gradient(progress: float | None = None, **parameters: float) -> Tensor:
    criterion = loss("adaptive_focal", reduction="sum", **{"hard_negative_threshold": 1.0, **parameters})
    if progress is not None:
        criterion.progress = progress
    z = LOGITS.clone().requires_grad_()
    return torch.autograd.grad(criterion(z, TARGET), z)[0]


def focal(gamma: float) -> Tensor:
    z = LOGITS.clone().requires_grad_()
    return torch.autograd.grad(loss("focal", gamma=gamma, reduction="sum")(z, TARGET), z)[0]


def test_without_its_parameters_it_is_focal_loss() -> None:
    torch.testing.assert_close(gradient(), focal(2.0))


def test_difficulty_lengthens_the_gradient_of_hard_samples_and_turns_none() -> None:
    torch.testing.assert_close(gradient(difficulty_weight=2.0), focal(2.0) * (1 + 2 * (1 - P_TRUE))[:, None])


def test_hard_negatives_are_wrong_classes_above_the_threshold() -> None:
    added = gradient(hard_negative_threshold=0.5) - focal(2.0)
    # Only the second sample has one, its class 1.
    torch.testing.assert_close(added[[0, 2]], torch.zeros(2, 3, dtype=torch.float64))
    assert (added[1] > 0).tolist() == [False, True, False]
    torch.testing.assert_close(added[1].sum(), torch.zeros((), dtype=torch.float64))


@pytest.mark.parametrize("progress", [0.0, 0.25, 1.0])
def test_the_focal_part_decays_to_what_it_weighs_at_the_end(progress: float) -> None:
    torch.testing.assert_close(gradient(progress, focal_weight_decay=0.5), focal(2.0) * 0.5**progress)
    both = gradient(progress, focal_weight_decay=0.5, hard_negative_threshold=0.3)
    hard = gradient(hard_negative_threshold=0.3) - focal(2.0)
    torch.testing.assert_close(both, focal(2.0) * 0.5**progress + hard)


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_gamma_falls(progress: float) -> None:
    torch.testing.assert_close(gradient(progress, adaptive_gamma=1.0), focal(2.0 * (1 - progress)))


def test_the_epochs_scale_the_whole() -> None:
    torch.testing.assert_close(gradient(0.5, epoch_scaling_factor=0.2), focal(2.0) * 1.1)


def test_how_far_it_is_is_in_its_state_alone_and_in_a_sum() -> None:
    for text in ("adaptive_focal(adaptive_gamma=1)", "adaptive_focal(adaptive_gamma=1) + dice"):
        criterion, again = loss(text), loss(text)
        with pytest.raises(ValueError, match="how far the training is"):
            criterion(LOGITS, TARGET)
        criterion.progress = 0.75
        again.load_state_dict(criterion.state_dict())
        assert again.progress == 0.75
        assert again(LOGITS, TARGET) == criterion(LOGITS, TARGET)
