"""Images that stay in their files until a training step needs them: ImageNet, and folders in its layout.

Everything else of lossforge decodes a data set once and keeps it in memory, or on the disk. What is read here is a
folder for each class below ``train`` and ``val`` (or ``test``), of any size, and each image is decoded, cut and
flipped anew for each step (the usual recipe: an area of 8 to 100 % of the image in a ratio of 3:4 to 4:3, resized to
``task.resize``, mirrored half of the time). Scored are the middles of images whose shorter side is 256/224 as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lossforge.data.class_folders import labelled_files
from lossforge.data.decoding import open_image
from lossforge.data.places import data_folder
from lossforge.data.torchvision_sets import told_as_data_error
from lossforge.data.tree import read_tree
from lossforge.errors import DataError
from lossforge.seeding import derive_seed
from lossforge.spaces.base_folder import from_base

if TYPE_CHECKING:
    from lossforge.spaces.schema import TaskSection

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
"""Of ImageNet's training images, by channel, in [0, 1]."""
_AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)
_MARGIN = 256 / 224
"""How much longer the shorter side of a scored image is than what is cut from its middle."""
_IMAGENET = "ILSVRC2012_devkit_t12.tar.gz, ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar"


@dataclass(frozen=True, slots=True)
class StreamPart:
    """Image files and their classes, an index ``(N,)`` each."""

    files: tuple[str, ...]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.files)

    def counts(self, classes: int) -> Tensor:
        """Images of each class, ``(classes,)``."""
        return torch.bincount(self.labels, minlength=classes)

    def at(self, places: Tensor) -> StreamPart:
        """The part of these places, in their order."""
        return StreamPart(tuple(self.files[place] for place in places.tolist()), self.labels[places])


@dataclass(frozen=True, slots=True)
class ImageStream:
    """The parts of a streamed task. Without a ``validation`` part nothing can be tuned."""

    names: tuple[str, ...]
    train: StreamPart
    validation: StreamPart | None
    test: StreamPart
    size: int

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a sample, ``(C, H, W)``."""
        return 3, self.size, self.size

    def pooled(self) -> StreamPart:
        """Training and validation parts together."""
        if self.validation is None:
            return self.train
        labels = torch.cat([self.train.labels, self.validation.labels])
        return StreamPart(self.train.files + self.validation.files, labels)


def image_stream(task: TaskSection) -> ImageStream:
    """The files of a task with ``distributed`` workers. Raises DataError where they are not there as they should be."""
    kind, colon, place = task.data.partition(":")
    root = from_base(place) if colon else data_folder() / kind
    return _listed(str(root), task.data, task.validation or 0, task.split_seed, int(task.resize or 0))  # type: ignore[arg-type]


@lru_cache(maxsize=2)
def _listed(root: str, data: str, validation: int, seed: int, size: int) -> ImageStream:
    if not data.startswith("folder:"):
        _extract(Path(root))
    if not Path(root).is_dir():
        raise DataError(
            f"task.data: there is no folder {root}; it is to hold train/ and val/, a folder a class in each"
        )
    tree = read_tree(Path(root))
    if not data.startswith("folder:"):  # beside ImageNet's parts may lie test images without labels
        tree = replace(tree, folders=tuple(one for one in tree.folders if one.name in ("train", "val")), files=())
    found = labelled_files(tree)
    parts = {
        name: StreamPart(tuple(str(path) for path, _ in pairs), torch.tensor([label for _, label in pairs]))
        for name, pairs in found.parts.items()
    }
    test = parts.get("test", parts.get("validation"))
    if test is None:
        raise DataError(
            f"{root}: has no folder 'val' or 'test' beside 'train'; put the images to score losses on there"
        )
    train, held = parts["train"], parts.get("validation") if "test" in parts else None
    if held is not None and validation:
        raise DataError(f"task.validation: {root} has a validation part of its own; leave it out")
    if validation:
        if validation >= len(train):
            raise DataError(f"task.validation: is {validation:,}, and {root} has {len(train):,} training images")
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(derive_seed(seed, "split")))
        held, train = train.at(order[:validation].sort().values), train.at(order[validation:].sort().values)
    return ImageStream(found.names, train, held, test, size)


def _extract(root: Path) -> None:
    """Unpack ImageNet's archives where its folders are not there yet, as torchvision does."""
    missing = [split for split in ("train", "val") if not (root / split).is_dir()]
    if not missing:
        return
    import torchvision.datasets

    files = f"imagenet/ with train/ and val/, a folder a class in each, or with {_IMAGENET} (from image-net.org)"
    with told_as_data_error("imagenet", files, root.parent):
        for split in missing:
            torchvision.datasets.ImageNet(str(root), split=split)


class StreamedImages(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Images ``(3, size, size)``, uint8, with their labels: at ``(place, seed)`` cut and flipped by that seed.

    With a seed below 0 it is the middle of the image.
    """

    def __init__(self, part: StreamPart, size: int) -> None:
        self.part = part
        self.size = size

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, at: tuple[int, int]) -> tuple[Tensor, int]:
        from torchvision.transforms import RandomResizedCrop, functional

        place, seed = at
        file = self.part.files[place]
        try:
            image = open_image(Path(file))[0].convert("RGB")
        except (DataError, ValueError) as error:
            raise DataError(f"{file}: cannot be read as an image ({error}); mend or remove it") from None
        if seed < 0:
            image = functional.resize(image, round(self.size * _MARGIN), antialias=True)
            image = functional.center_crop(image, [self.size, self.size])
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                corner = RandomResizedCrop.get_params(image, list(_AREA), list(_RATIO))
                mirrored = bool(torch.rand(()) < 0.5)
            image = functional.resized_crop(image, *corner, size=[self.size, self.size], antialias=True)
            image = functional.hflip(image) if mirrored else image
        return functional.pil_to_tensor(image), int(self.part.labels[place])


def loader(
    part: StreamPart, size: int, batches: Sequence[list[tuple[int, int]]], processes: int, *, pin: bool = False
) -> torch.utils.data.DataLoader[tuple[Tensor, int]]:
    """Batches of images and labels, each a list of what `StreamedImages` takes, decoded by so many processes."""
    return torch.utils.data.DataLoader(
        StreamedImages(part, size),
        batch_sampler=batches,
        num_workers=processes,
        pin_memory=pin,
    )


def as_input(x: Tensor, device: torch.device) -> Tensor:
    """Bytes ``(B, 3, H, W)`` as the network takes them: float32, by ImageNet's mean and deviation."""
    x = x.to(device, non_blocking=True).float().div_(255)
    mean, deviation = (torch.tensor(value, device=device).view(3, 1, 1) for value in (MEAN, DEVIATION))
    return (x - mean).div_(deviation)
