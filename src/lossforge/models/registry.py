"""Networks by name, and by the import path of a function of the user's own.

``width`` is the one dial of size: at 16, the default, every network has the size that its source gives. Where
``scales`` is false that is its only size, and another width is refused. The networks of the module ``headed`` have one
number of weights, and images that are smaller than 16 × ``width`` pixels are enlarged to that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lossforge.errors import ModelError, offered
from lossforge.models.activations.registry import USUAL, is_usual, make_activation, replace_relu
from lossforge.models.imported import Shape, build_imported, check_takes_activation, import_function

if TYPE_CHECKING:
    from torch import nn

PUBLISHED_WIDTH = 16
"""The width at which a network is as published."""


@dataclass(frozen=True, slots=True)
class NamedModel:
    """One known network.

    ``smallest`` is the least height and width of a sample that it takes, ``weights`` their number at width 16 for
    10 classes and colour images of 32×32 (or of ``smallest``, where that is more). ``dense``: it gives a class for
    every pixel. The function ``lossforge.models.MODULE:NAME`` builds it from ``(shape, classes, width)``.
    """

    name: str
    module: str
    smallest: int
    weights: int
    summary: str
    source: str
    scales: bool = True
    dense: bool = False
    activation: str = USUAL
    """Its activation as published; where that is ReLU, another can take its place."""

    @property
    def takes(self) -> str:
        """The samples that it takes, in words."""
        if self.smallest == 1:
            return "samples of any shape"
        masks = ", with a class for every pixel" if self.dense else ""
        return f"images of {self.smallest}×{self.smallest} or more{masks}"

    @property
    def takes_activation(self) -> bool:
        """Whether ``task.activation`` may name another than the published one."""
        return self.activation == USUAL

    def check(self, width: int) -> None:
        """Raise ModelError for a width that it does not have."""
        if not self.scales and width != PUBLISHED_WIDTH:
            raise ModelError(
                f"task.width: '{self.name}' has one size, its published one; leave width out (it is {PUBLISHED_WIDTH} "
                f"then), not {width}"
            )

    def check_takes(self, activation: str) -> None:
        """Raise ModelError for an activation that it does not take."""
        if not is_usual(activation) and not self.takes_activation:
            raise ModelError(
                f"task.activation: '{self.name}' has {self.activation}, as published, and takes no other; leave it "
                "out, or take a network with ReLU: lossforge list models"
            )

    def build(self, shape: Shape, classes: int, width: int, *, dense: bool, activation: str = USUAL) -> nn.Module:
        """The network, its weights drawn from torch's global generator. Raises ModelError where it does not fit."""
        self.check(width)
        self.check_takes(activation)
        if dense != self.dense:
            gives, wants = ("every pixel", "every sample") if self.dense else ("every sample", "every pixel")
            raise ModelError(f"task.model: '{self.name}' gives a class for {gives}, and the data has one for {wants}")
        if min(shape[1:]) < self.smallest:
            size = f"{self.smallest}×{self.smallest}"
            tabular = "; for samples that are no images there is 'mlp'" if shape[1:] == (1, 1) else ""
            raise ModelError(f"task.model: '{self.name}' takes images of {size} or more, not {shape}{tabular}")
        network: nn.Module = import_function(f"lossforge.models.{self.module}:{self.name}")(shape, classes, width)
        if not is_usual(activation):
            replace_relu(network, partial(make_activation, activation))
        return network


_HE = "He et al. 2016"
_NGL = "Körber 2024"

MODELS: dict[str, NamedModel] = {
    model.name: model
    for model in (
        NamedModel("small_cnn", "small_cnn", 4, 10_266, "two convolutions and a linear head", "lossforge"),
        NamedModel("mlp", "mlp", 1, 855_050, "two hidden layers of 16 × width units", "Rumelhart et al. 1986"),
        NamedModel("mlp_12_8", "mlp", 1, 37_070, "hidden layers of 12 and 8 units", "Keras's defaults", scales=False),
        NamedModel("resnet8", "residual", 4, 75_290, "CIFAR form, one block a stage", _HE),
        NamedModel("resnet20", "residual", 4, 269_722, "CIFAR form, three blocks a stage", _HE),
        NamedModel("resnet18", "adapted", 8, 11_173_962, "CIFAR stem up to 64×64", _HE, scales=False),
        NamedModel("resnet50", "adapted", 8, 23_520_842, "CIFAR stem up to 64×64", _HE, scales=False),
        NamedModel("inception_small", "inception_small", 8, 1_651_114, "Inception for CIFAR", "Zhang et al. 2017"),
        NamedModel("inception_v3", "adapted", 75, 21_806_058, "no auxiliary head", "Szegedy et al. 2016", scales=False),
        NamedModel("inception_v3_ngl", "headed", 4, 22_061_226, "enlarged to 16 × width, NGL's head", _NGL),
        NamedModel("resnet50_ngl", "headed", 4, 23_783_690, "enlarged to 16 × width, NGL's head", _NGL),
        NamedModel("vgg16", "adapted", 8, 14_728_266, "BatchNorm, small head up to 64×64", "Simonyan 2015"),
        NamedModel(
            "mobilenet_v3",
            "adapted",
            8,
            1_528_106,
            "small; a finer stem up to 64×64",
            "Howard et al. 2019",
            activation="hardswish",
        ),
        NamedModel(
            "convnext_tiny",
            "adapted",
            16,
            27_824_362,
            "patches of 2×2 up to 64×64",
            "Liu et al. 2022",
            activation="gelu",
        ),
        NamedModel(
            "vit_small",
            "vit",
            4,
            21_342_346,
            "patches of 2 to 16 pixels, by size",
            "Touvron et al. 2021",
            activation="gelu",
        ),
        NamedModel(
            "deeplab_v3",
            "deeplab",
            16,
            39_628_362,
            "ResNet-50, dilated; a finer stem up to 64×64",
            "Chen et al. 2017",
            dense=True,
        ),
        NamedModel("unet", "unet", 16, 1_942_730, "four levels, BatchNorm", "Ronneberger et al. 2015", dense=True),
    )
}
"""Every network by name."""


def check_model(name: str, width: int) -> None:
    """Raise ModelError where ``name`` is no network, cannot be imported, or does not have this width."""
    if ":" in name:
        import_function(name)
    else:
        _named(name).check(width)


def check_activation(activation: str, model: str) -> None:
    """Raise ModelError where it is no activation, or the network does not take it; of the network nothing else."""
    make_activation(activation)
    if ":" in model:
        check_takes_activation(model, activation)
    elif model in MODELS:
        MODELS[model].check_takes(activation)


def build_model(
    name: str,
    shape: Shape,
    classes: int,
    width: int,
    seed: int,
    *,
    dense: bool = False,
    activation: str = USUAL,
) -> nn.Module:
    """A network for samples of ``shape``, ``(C, H, W)``, with weights that depend on ``seed`` alone.

    It gives logits ``(B, classes)``, or ``(B, classes, H, W)`` where ``dense``. ``activation`` takes ReLU's place; see
    `lossforge.models.activations.registry.make_activation`. Raises ModelError where it does not fit.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if ":" in name:
            return build_imported(name, shape, classes, width, dense=dense, activation=activation)
        return _named(name).build(shape, classes, width, dense=dense, activation=activation)


def _named(name: str) -> NamedModel:
    if name not in MODELS:
        others = offered(name, MODELS, "your own: package.module:function")
        raise ModelError(f"task.model: '{name}' is not a network{others}")
    return MODELS[name]
