"""DeepLabV3: torchvision's network, and the same at another width."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import torch
from tests.helpers.cohorts import request_of
from torchvision.models.segmentation import deeplabv3_resnet50

from lossforge.evaluation.evaluate import evaluate
from lossforge.models.deeplab import deeplab_v3
from lossforge.spaces.schema import RecipeSection, TaskSection


def test_at_the_published_width_it_is_torchvisions() -> None:
    own = deeplab_v3((3, 72, 80), 5, 16).eval()
    theirs = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=5).eval()
    state = theirs.state_dict()
    own.load_state_dict(dict(zip(own.state_dict(), state.values(), strict=True)))
    x = torch.rand(1, 3, 72, 80, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(own(x), theirs(x)["out"])


@pytest.mark.parametrize(("side", "shrunk"), [(32, 2), (72, 8)])
def test_features_are_finer_for_small_images(side: int, shrunk: int) -> None:
    network = deeplab_v3((1, side, side), 3, 1)
    x = torch.rand(2, 1, side, side)
    assert network.backbone(x).shape == (2, 128, side // shrunk, side // shrunk)  # type: ignore[operator]
    assert network(x).shape == (2, 3, side, side)


def test_it_is_trained_on_masks_as_any_network(tmp_path: Path) -> None:
    rng = numpy.random.default_rng(0)
    x = rng.integers(0, 100, (40, 16, 16), dtype=numpy.uint8)
    masks = numpy.zeros_like(x)
    for image, mask in zip(x, masks, strict=True):
        side = rng.integers(5, 11)
        image[:, :side] += 150
        mask[:, :side] = 1
    numpy.savez(tmp_path / "halves.npz", x_train=x, m_train=masks)
    task = TaskSection(data=f"masks:{tmp_path / 'halves.npz'}", model="deeplab_v3", width=1)
    request = request_of(task, RecipeSection(batch_size=6), learning_rate=0.01, epochs=12, seeds=(1, 2))
    result = evaluate(request, "cpu")
    assert max(value or 0 for value in result.accuracies) > 0.8
