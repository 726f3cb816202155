"""Data sets that torchvision knows: found in the data folder, or downloaded there on first use."""

from __future__ import annotations

import os
import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from lossforge.data.decode_files import ImagePaths
from lossforge.data.decoded import decode
from lossforge.data.places import VARIABLE
from lossforge.data.samples import Form, RawData, Samples, as_images
from lossforge.errors import DataError

_TINY_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
_TINY_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
_TINY = "tiny-imagenet-200"


@dataclass(frozen=True, slots=True)
class KnownSet:
    """One of torchvision's classes: how each part is asked for, and what lies where in the data folder.

    ``train`` may be several parts that belong together. ``arrays``: it holds all its images as one array.
    """

    name: str
    kind: str
    train: tuple[dict[str, Any], ...]
    test: dict[str, Any] | None
    files: str
    arrays: bool = False
    download: bool = True
    below: str = ""

    def read(self, place: str, form: Form) -> RawData:
        """The training and test samples. Raises DataError in one sentence where they are not to be had."""
        root = Path(place) / self.below
        with told_as_data_error(self.name, self.files, Path(place)):
            train = [self._open(root, options) for options in self.train]
            test = self._open(root, self.test) if self.test is not None else None
            samples = [self._samples(one, form, root, f"train {number}") for number, one in enumerate(train)]
            joined = samples[0] if len(samples) == 1 else _joined(samples)
            tested = self._samples(test, form, root, "test") if test is not None else None
            return RawData(joined, tested, _names(train[0], joined))

    def _open(self, root: Path, options: dict[str, Any]) -> Any:
        import torchvision.datasets

        kind = getattr(torchvision.datasets, self.kind)
        try:
            return kind(str(root), **options)
        except RuntimeError:  # not there, or not whole
            if not self.download:
                raise
        with locked(root, self.name):
            return kind(str(root), **options, download=True)

    def _samples(self, opened: Any, form: Form, root: Path, part: str) -> Samples:
        if not self.arrays:
            return decode(opened, form, self.name, f"{self.name} {part} {root.absolute()}")
        labels = opened.targets if hasattr(opened, "targets") else opened.labels
        return Samples(as_images(numpy.asarray(opened.data), self.name), numpy.asarray(labels).astype(numpy.int64))


def _joined(samples: list[Samples]) -> Samples:
    return Samples(numpy.concatenate([one.x for one in samples]), numpy.concatenate([one.y for one in samples]))


def _names(opened: Any, samples: Samples) -> tuple[str, ...]:
    names = getattr(opened, "classes", None) or getattr(opened, "categories", None)
    if not names:
        names = range(int(samples.y.max()) + 1)
    return tuple(name if isinstance(name, str) else name[0] if isinstance(name, tuple) else str(name) for name in names)


@contextmanager
def told_as_data_error(name: str, files: str, folder: Path) -> Iterator[None]:
    """Turn whatever a download or a reader of files raises into one sentence that says what to put where."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old pickles, and images with odd metadata
            yield
    except DataError:
        raise
    except Exception as error:
        reason = (
            textwrap.shorten(str(error).replace(f"{folder}{os.sep}", ""), 160, placeholder=" ...").rstrip(".")
            or type(error).__name__
        )
        raise DataError(
            f"task.data: '{name}' is not whole in {folder} and could not be downloaded or read ({reason}); put {files} "
            f"there, or name another folder with --data-dir or {VARIABLE}"
        ) from None


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Let one process at a time download a data set."""
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{name}.lock"):
        yield


def read_tiny_imagenet(place: str, form: Form) -> RawData:
    """Tiny ImageNet: 200 classes, 64×64. Its labelled validation images are its test part."""
    root = Path(place) / _TINY
    files = f"tiny-imagenet-200.zip (from {_TINY_URL}), or the folder {_TINY} that it holds,"
    with told_as_data_error("tiny_imagenet", files, Path(place)):
        if not root.is_dir():
            from torchvision.datasets.utils import download_and_extract_archive

            with locked(Path(place), "tiny_imagenet"):
                if not root.is_dir():
                    download_and_extract_archive(_TINY_URL, place, md5=_TINY_MD5)
        names = sorted(folder.name for folder in (root / "train").iterdir() if folder.is_dir())
        number = {name: index for index, name in enumerate(names)}
        train = [(file, number[name]) for name in names for file in sorted((root / "train" / name).rglob("*.JPEG"))]
        lines = (root / "val" / "val_annotations.txt").read_text(encoding="utf-8").splitlines()
        rows = [line.split("\t") for line in lines if line.strip()]
        test = [(root / "val" / "images" / row[0], number[row[1]]) for row in rows]
        parts = []
        for part, pairs in (("train", train), ("test", test)):
            images = ImagePaths([path for path, _ in pairs], [label for _, label in pairs])
            parts.append(decode(images, form, "tiny_imagenet", f"tiny_imagenet {part} {root.absolute()}"))
        return RawData(parts[0], parts[1], tuple(names))


_TRAIN_TEST: tuple[tuple[dict[str, Any], ...], dict[str, Any]] = (({"train": True},), {"train": False})
_SPLITS: tuple[tuple[dict[str, Any], ...], dict[str, Any]] = (({"split": "train"},), {"split": "test"})
_WITH_VAL: tuple[tuple[dict[str, Any], ...], dict[str, Any]] = (
    ({"split": "train"}, {"split": "val"}),
    {"split": "test"},
)

_IDX = (
    "{}/raw/ with train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte"
)

KNOWN_SETS = {
    known.name: known
    for known in (
        KnownSet("fashion_mnist", "FashionMNIST", *_TRAIN_TEST, _IDX.format("FashionMNIST"), arrays=True),
        KnownSet("mnist", "MNIST", *_TRAIN_TEST, _IDX.format("MNIST"), arrays=True),
        KnownSet("kmnist", "KMNIST", *_TRAIN_TEST, _IDX.format("KMNIST"), arrays=True),
        KnownSet("cifar10", "CIFAR10", *_TRAIN_TEST, "cifar-10-python.tar.gz", arrays=True),
        KnownSet("cifar100", "CIFAR100", *_TRAIN_TEST, "cifar-100-python.tar.gz", arrays=True),
        KnownSet("svhn", "SVHN", *_SPLITS, "train_32x32.mat and test_32x32.mat", arrays=True),
        KnownSet("stl10", "STL10", *_SPLITS, "stl10_binary.tar.gz", arrays=True),
        KnownSet(
            "flowers102",
            "Flowers102",
            *_WITH_VAL,
            "flowers-102/ with jpg/ (of 102flowers.tgz), imagelabels.mat and setid.mat",
        ),
        KnownSet(
            "caltech101", "Caltech101", ({},), None, "caltech101/ with 101_ObjectCategories/ (of caltech-101.zip)"
        ),
        KnownSet("dtd", "DTD", *_WITH_VAL, "dtd/dtd/ with images/ and labels/ (of dtd-r1.0.1.tar.gz)"),
        KnownSet("eurosat", "EuroSAT", ({},), None, "eurosat/2750/ (of EuroSAT.zip)"),
        KnownSet(
            "pcam",
            "PCAM",
            *_SPLITS,
            "pcam/ with camelyonpatch_level_2_split_train_x.h5, ..._train_y.h5, ..._test_x.h5 and ..._test_y.h5",
        ),
        KnownSet("food101", "Food101", *_SPLITS, "food-101/ with images/ and meta/ (of food-101.tar.gz)"),
        KnownSet(
            "oxford_pets",
            "OxfordIIITPet",
            ({"split": "trainval"},),
            {"split": "test"},
            "oxford-iiit-pet/ with images/ and annotations/ (of images.tar.gz and annotations.tar.gz)",
        ),
        KnownSet(
            "imagenet",
            "ImageNet",
            ({"split": "train"},),
            {"split": "val"},
            "imagenet/ with ILSVRC2012_devkit_t12.tar.gz, ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar (from "
            "image-net.org, where you must sign in)",
            download=False,
            below="imagenet",
        ),
    )
}
"""Every data set of torchvision's that has a name here."""

Reader = Callable[[str, Form], RawData]
