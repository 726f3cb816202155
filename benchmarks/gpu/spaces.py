"""The task that is trained on: CIFAR-10's proxy of `search_spaces/cifar10.toml`, at full width."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu.parts import ROOT, Settings
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.spaces.load import load_space
from lossforge.spaces.schema import SearchSpace

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTHS = {"resnet8": 16, "small_cnn": 16, "mlp": 16}
"""Networks at the width of their source."""
FORMULAS = (
    CROSS_ENTROPY,
    "exp(y_pred) - y_true * log(y_pred)",
    "square(y_true - y_pred) - y_true * log(y_pred)",
    "-y_true * log(y_pred) + 0.1 * tanh(2.0 * y_pred)",
)
"""Losses that learn: networks of a cohort take turns with them."""
_FEW, _MANY = (200, 40), (25_000, 5_000)
"""Random images for training and for testing, in a dry run and else."""


def images_file(settings: Settings) -> Path:
    """The images: those that were given, or random ones with a pattern a class, written when first asked for."""
    if settings.npz:
        return Path(settings.npz).resolve()
    path = Path(settings.work) / "random.npz"
    if not path.exists():
        import numpy

        draw = numpy.random.default_rng(0)
        patterns = draw.integers(0, 128, (10, 32, 32, 3), dtype=numpy.uint8)

        def drawn(number: int) -> tuple[NDArray[Any], NDArray[Any]]:
            y = numpy.arange(number) % 10
            return patterns[y] + draw.integers(0, 128, (number, 32, 32, 3), dtype=numpy.uint8), y

        (x_train, y_train), (x_test, y_test) = map(drawn, _FEW if settings.dry else _MANY)
        written = path.with_suffix(".part.npz")
        numpy.savez(written, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
        written.replace(path)
    return path


def counts(settings: Settings) -> tuple[int, int]:
    """Training and test images that there are."""
    import numpy

    with numpy.load(images_file(settings)) as arrays:
        return len(arrays["y_train"]), len(arrays["y_test"])


def cifar_space(settings: Settings, network: str = "resnet8", *changes: str, whole: bool = False) -> SearchSpace:
    """The shipped space with our images, and a network of its full width; all small in a dry run.

    With ``whole`` it trains on all training images but a few, and a re-validation on all.
    """
    width = 4 if settings.dry else WIDTHS[network]
    train, test = counts(settings)
    if settings.dry:
        train, test = min(train, 160), min(test, 60)
    few = min(10_000, train * 4 // 5), min(2_500, train // 5)
    parts = (train - train // 10, train // 10) if whole else few
    given = [
        f"task.data=npz:{images_file(settings)}",
        f"task.model={network}",
        f"task.width={width}",
        f"task.train={parts[0]}",
        f"task.validation={parts[1]}",
        f"task.test={test}",
        "execution.workers=1",
        f"execution.device={settings.device}",
        *(["recipe.batch_size=16"] if settings.dry else []),
    ]
    return load_space(ROOT / "search_spaces" / "cifar10.toml", [*given, *changes])
