"""A folder in ImageNet's layout, of a few small photographs of nothing: each class has a colour of its own."""

from __future__ import annotations

from pathlib import Path

import numpy
from PIL import Image

from lossforge.evaluation.records import Training
from lossforge.evaluation.space_trainings import trainings
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.spaces.schema import RecipeSection, SearchSpace, TaskSection

COLOURS = {"n01440764": (200, 60, 60), "n01443537": (60, 200, 60), "n01484850": (60, 60, 200)}


def imagenet_folder(root: Path, train: int = 16, val: int = 6, noise: int = 60) -> Path:
    """``root`` with train/ and val/, a folder a class, JPEGs of many sizes in each."""
    draw = numpy.random.default_rng(1)
    for part, count in (("train", train), ("val", val)):
        for name, colour in COLOURS.items():
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                height, width = draw.integers(36, 80, 2)
                pixels = numpy.array(colour) + draw.integers(-noise, noise + 1, (height, width, 3))
                image = Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8))
                image.save(folder / f"{name}_{number}.JPEG", quality=90)
    return root


def imagenet_training(
    root: Path,
    workers: int = 2,
    formula: str = CROSS_ENTROPY,
    seed: int = 0,
    model: str = "small_cnn",
    **recipe: object,
) -> Training:
    """A training on such a folder, scored on its val part."""
    space = SearchSpace(
        name="imagenet",
        task=[TaskSection(data=f"folder:{root}", resize=16, model=model, width=4, distributed=workers)],
        recipe=RecipeSection(**{"batch_size": 12, "epochs": 3, "optimizer": "sgd", **recipe}),  # type: ignore[arg-type]
    )
    asked = trainings(space, space.task[0], LossSpec(formula), formula, 0.05, [0], stage="test", part="test")
    return asked[0]
