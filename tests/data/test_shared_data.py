"""Real images, where the shared data sets lie beside the repository."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from tests.helpers.cohorts import request_of

from lossforge.data.augmentation import Preparation
from lossforge.data.datasets import load_task
from lossforge.data.duplicates import Duplicates
from lossforge.data.examine import duplicates
from lossforge.evaluation.evaluate import evaluate
from lossforge.losses.library import loss_spec
from lossforge.spaces.schema import AugmentationSection, RecipeSection, TaskSection

pytestmark = pytest.mark.shared_data


@pytest.fixture(scope="session")
def shared() -> Path:
    """``shared/data`` beside the repository or above, or what LOSSFORGE_SHARED_DATA names."""
    given = os.environ.get("LOSSFORGE_SHARED_DATA")
    above = [parent / "shared" / "data" for parent in Path(__file__).resolve().parents]
    for folder in [Path(given)] if given else above:
        if (folder / "unpack.py").is_file():
            return folder
    pytest.skip("no shared data sets")


@pytest.fixture(scope="session")
def unpacked(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("shared")

    def unpack(name: str) -> Path:
        subprocess.run([sys.executable, str(shared / "unpack.py"), str(folder), name], check=True, capture_output=True)
        return folder / f"{name}.npz"

    return unpack


def test_fashion_mnist_is_learned(unpacked: Callable[[str], Path]) -> None:
    path = unpacked("fashion_mnist")
    task = TaskSection(data=f"npz:{path}", train=2000, validation=1000, test=1000, augmentation={"flip": True})
    data = load_task(task, "cpu")
    assert (data.shape, data.classes) == ((1, 28, 28), 10)
    assert data.train.x.dtype == torch.uint8
    assert torch.bincount(data.test.y).tolist() == [100] * 10
    recipe = RecipeSection(batch_size=50)
    for part in ("validation", "test"):
        request = request_of(task, recipe, epochs=2, part=part, seconds=120.0)
        (accuracy,) = evaluate(request, "cpu").accuracies
        assert accuracy is not None
        assert accuracy > 0.65


def test_repeated_images_are_counted(unpacked: Callable[[str], Path]) -> None:
    fashion = load_task(TaskSection(data=f"npz:{unpacked('fashion_mnist')}"), "cpu")
    assert (len(fashion.train), len(fashion.validation), len(fashion.test)) == (48_000, 12_000, 10_000)
    assert duplicates(fashion) == Duplicates(0, 0, 0, 0, tests=10_000, validations=12_000)
    with numpy.load(unpacked("cifar100")) as arrays:
        known = {image.tobytes() for image in arrays["x_train"]}
        repeated = sum(image.tobytes() in known for image in arrays["x_test"])
    cifar = load_task(TaskSection(data=f"npz:{unpacked('cifar100')}"), "cpu")
    assert repeated == duplicates(cifar).test == 1
    assert (len(cifar.train), duplicates(cifar).dropped_train) == (3999, 1)


def test_cifar100_is_normalised_and_augmented(unpacked: Callable[[str], Path]) -> None:
    data = load_task(TaskSection(data=f"npz:{unpacked('cifar100')}"), "cpu")
    assert (data.shape, data.classes) == ((3, 32, 32), 100)
    assert (len(data.train), len(data.validation), len(data.test)) == (3999, 1000, 2500)
    assert data.scale is not None
    assert torch.allclose(data.scale.mean, torch.tensor([0.507, 0.487, 0.441]), atol=0.02)
    assert torch.allclose(data.scale.std, torch.tensor([0.267, 0.256, 0.276]), atol=0.02)
    everything = AugmentationSection(
        crop=4, flip=True, rotation=10, brightness=0.2, contrast=0.2, saturation=0.2, cutout=8
    )
    prepare = Preparation(everything, data.scale, data.shape)
    x = prepare(data.train.x[:64], prepare.generators([0]))
    assert x.isfinite().all()
    assert abs(float(x.mean())) < 0.5


def test_cracks_are_pairs_of_images_and_masks(shared: Path) -> None:
    data = load_task(TaskSection(data=f"masks:{shared / 'crackforest.npz'}"), "cpu")
    assert data.segmentation
    assert (data.shape, data.classes) == ((3, 160, 240), 2)
    assert data.train.y.shape[1:] == (160, 240)
    assert (len(data.train) + len(data.validation), len(data.test)) == (78, 40)
    assert 0 < float(data.train.y.float().mean()) < 0.1


def test_a_small_unet_finds_real_cracks(shared: Path) -> None:
    task = TaskSection(
        data=f"masks:{shared / 'crackforest.npz'}", resize=(64, 96), model="unet", width=4, augmentation={"flip": True}
    )
    recipe = RecipeSection(batch_size=4)
    formula = loss_spec("dice").formula
    request = request_of(task, recipe, learning_rate=0.02, epochs=8, formula=formula, seconds=120.0)
    result = evaluate(request, "cpu")
    (value,) = result.accuracies
    assert value is not None
    assert value > 0.55  # without any crack: accuracy 0.98, mean IoU 0.49
    assert value == result.metrics[0]["mean_iou"]


def test_pima_is_a_table(shared: Path) -> None:
    data = load_task(TaskSection(data=f"csv:{shared / 'pima.csv'}"), "cpu")
    assert (data.shape, data.classes, data.names) == ((8, 1, 1), 2, ("0", "1"))
    assert data.train.y.float().mean() == pytest.approx(0.349, abs=0.01)


def test_a_frame_of_real_masks_that_does_not_count_is_out_of_classes_and_scores(shared: Path, tmp_path: Path) -> None:
    arrays = dict(numpy.load(shared / "crackforest.npz"))
    frame = numpy.ones(arrays["m_train"].shape[1:], dtype=bool)
    frame[12:-12, 12:-12] = False
    for name in ("m_train", "m_test"):
        arrays[name] = numpy.where(frame, 255, arrays[name])
    numpy.savez(tmp_path / "framed.npz", **arrays)
    task = TaskSection(
        data=f"masks:{tmp_path / 'framed.npz'}",
        ignore=255,
        resize=(64, 96),
        model="unet",
        width=4,
        augmentation={"flip": True, "rotation": 10.0, "crop": 4},
    )
    data = load_task(task, "cpu")
    assert data.names == ("0", "1")
    assert data.train.ignored == pytest.approx(frame.mean(), abs=0.02)
    recipe = RecipeSection(batch_size=4)
    formula = loss_spec("dice").formula
    result = evaluate(request_of(task, recipe, learning_rate=0.02, epochs=8, formula=formula, seconds=120.0), "cpu")
    (value,) = result.accuracies
    assert value is not None
    assert value > 0.55
    assert len(result.metrics[0]["class_iou"]) == 2
