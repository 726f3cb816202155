"""Tiny data sets in the formats that torchvision reads, written by the tests that read them."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from scipy.io import savemat

RNG = numpy.random.default_rng(2)
CLASSES = 2
TRAIN, TEST = 30, 10
LABELS = {"train": numpy.arange(TRAIN) % CLASSES, "test": numpy.arange(TEST) % CLASSES}


def colours(labels: Any, *shape: int) -> Any:
    """Noise that is darker than 100 for class 0 and lighter than 150 for class 1; ``shape`` follows N."""
    noise = RNG.integers(0, 100, (len(labels), *shape), dtype=numpy.uint8)
    return noise + (150 * labels).astype(numpy.uint8).reshape(-1, *[1] * len(shape))


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def save(path: Path, image: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def photographs(labels: Any) -> Any:
    """Images of many sizes."""
    for place, label in enumerate(labels):
        size = (9 + place % 3, 11 + place % 2, 3)
        yield label, colours(numpy.array([label]), *size)[0]


def write_idx(name: str) -> Callable[[Path, pytest.MonkeyPatch], None]:
    def write(root: Path, patch: pytest.MonkeyPatch) -> None:
        raw = root / name / "raw"
        raw.mkdir(parents=True)
        for part, file in (("train", "train"), ("test", "t10k")):
            labels = LABELS[part]
            header = struct.pack(">HBBIII", 0, 8, 3, len(labels), 28, 28)
            (raw / f"{file}-images-idx3-ubyte").write_bytes(header + colours(labels, 28, 28).tobytes())
            header = struct.pack(">HBBI", 0, 8, 1, len(labels))
            (raw / f"{file}-labels-idx1-ubyte").write_bytes(header + labels.astype(numpy.uint8).tobytes())

    return write


def write_cifar(name: str, folder: str, key: str) -> Callable[[Path, pytest.MonkeyPatch], None]:
    def write(root: Path, patch: pytest.MonkeyPatch) -> None:
        import torchvision.datasets

        kind = getattr(torchvision.datasets, name)
        (root / folder).mkdir(parents=True)
        lists = {}
        for part, files in (("train", kind.train_list), ("test", kind.test_list)):
            pieces = numpy.array_split(LABELS[part], len(files))
            lists[part] = []
            for (file, _), labels in zip(files, pieces, strict=True):
                content = {"data": colours(labels, 3072), key: labels.tolist()}
                (root / folder / file).write_bytes(pickle.dumps(content))
                lists[part].append([file, md5(root / folder / file)])
        meta = root / folder / kind.meta["filename"]
        meta.write_bytes(pickle.dumps({kind.meta["key"]: ["dark", "light"]}))
        patch.setattr(kind, "train_list", lists["train"])
        patch.setattr(kind, "test_list", lists["test"])
        patch.setattr(kind, "meta", {**kind.meta, "md5": md5(meta)})

    return write


def write_svhn(root: Path, patch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import SVHN

    root.mkdir(parents=True)
    found = {}
    for part in ("train", "test"):
        labels = LABELS[part]
        path = root / f"{part}_32x32.mat"
        # The file calls the digit 0 ten.
        savemat(
            path, {"X": colours(labels, 32, 32, 3).transpose(1, 2, 3, 0), "y": numpy.where(labels == 0, 10, labels)}
        )
        found[part] = ["http://nowhere", path.name, md5(path)]
    patch.setattr(SVHN, "split_list", found)


def write_stl10(root: Path, patch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import STL10

    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    lists = {}
    for part in ("train", "test"):
        (folder / f"{part}_X.bin").write_bytes(colours(LABELS[part], 3, 96, 96).tobytes())
        (folder / f"{part}_y.bin").write_bytes((LABELS[part] + 1).astype(numpy.uint8).tobytes())
        lists[part] = [[f"{part}_{kind}.bin", md5(folder / f"{part}_{kind}.bin")] for kind in "Xy"]
    (folder / "class_names.txt").write_text("dark\nlight\n")
    patch.setattr(STL10, "train_list", lists["train"])
    patch.setattr(STL10, "test_list", lists["test"])


def write_flowers(root: Path, patch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import Flowers102

    folder = root / "flowers-102"
    labels = numpy.concatenate([LABELS["train"], LABELS["test"]])
    for number, (_, image) in enumerate(photographs(labels), start=1):
        save(folder / "jpg" / f"image_{number:05d}.jpg", image)
    ids = numpy.arange(1, TRAIN + TEST + 1)
    savemat(folder / "imagelabels.mat", {"labels": labels + 1})
    savemat(folder / "setid.mat", {"trnid": ids[:16], "valid": ids[16:TRAIN], "tstid": ids[TRAIN:]})
    files = {kind: (file, md5(folder / file)) for kind, file in (("label", "imagelabels.mat"), ("setid", "setid.mat"))}
    patch.setattr(Flowers102, "_file_dict", {"image": ("102flowers.tgz", ""), **files})
    patch.setattr(Flowers102, "classes", ["dark", "light"])


def write_caltech(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder = root / "caltech101" / "101_ObjectCategories"
    (folder / "BACKGROUND_Google").mkdir(parents=True)
    for place, (label, image) in enumerate(photographs(LABELS["train"])):
        grey = place == 0
        save(folder / ("dark", "light")[label] / f"image_{place // 2 + 1:04d}.jpg", image[..., 0] if grey else image)


def write_dtd(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder = root / "dtd" / "dtd"
    (folder / "labels").mkdir(parents=True)
    names: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for part in ("train", "test"):
        for place, (label, image) in enumerate(photographs(LABELS[part])):
            name = f"{('dark', 'light')[label]}/{part}_{place}.jpg"
            save(folder / "images" / name, image)
            names["val" if part == "train" and place % 3 == 0 else part].append(name)
    for part, lines in names.items():
        (folder / "labels" / f"{part}1.txt").write_text("\n".join(lines) + "\n")


def write_eurosat(root: Path, patch: pytest.MonkeyPatch) -> None:
    for place, label in enumerate(LABELS["train"]):
        image = colours(numpy.array([label]), 64, 64, 3)[0]
        save(root / "eurosat" / "2750" / ("dark", "light")[label] / f"{place}.jpg", image)


def write_food(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder = root / "food-101"
    (folder / "meta").mkdir(parents=True)
    for part in ("train", "test"):
        names: dict[str, list[str]] = {"dark": [], "light": []}
        for place, (label, image) in enumerate(photographs(LABELS[part])):
            kind = ("dark", "light")[label]
            names[kind].append(f"{kind}/{part}{place}")
            save(folder / "images" / kind / f"{part}{place}.jpg", image)
        (folder / "meta" / f"{part}.json").write_text(json.dumps(names))


def write_pets(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder = root / "oxford-iiit-pet"
    (folder / "annotations").mkdir(parents=True)
    for part, file in (("train", "trainval"), ("test", "test")):
        lines = []
        for place, (label, image) in enumerate(photographs(LABELS[part])):
            name = f"{('dark', 'light')[label]}_{part}{place}".replace("_test", "_9").replace("_train", "_")
            save(folder / "images" / f"{name}.jpg", image)
            lines.append(f"{name} {label + 1} 1 1")
        (folder / "annotations" / f"{file}.txt").write_text("\n".join(lines) + "\n")


def write_tiny_imagenet(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder = root / "tiny-imagenet-200"
    lines = []
    for part in ("train", "test"):
        for place, label in enumerate(LABELS[part]):
            image, wnid = colours(numpy.array([label]), 64, 64, 3)[0], ("n01", "n02")[label]
            if part == "train":
                save(folder / "train" / wnid / "images" / f"{wnid}_{place}.JPEG", image)
            else:
                save(folder / "val" / "images" / f"val_{place}.JPEG", image)
                lines.append(f"val_{place}.JPEG\t{wnid}\t0\t0\t62\t62")
    (folder / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")


def write_imagenet(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder = root / "imagenet"
    for part, name in (("train", "train"), ("test", "val")):
        for place, (label, image) in enumerate(photographs(LABELS[part])):
            save(folder / name / ("n01", "n02")[label] / f"{place}.JPEG", image)
    torch.save(({"n01": ("dark", "night"), "n02": ("light",)}, ["n01", "n02"]), folder / "meta.bin")


class ArrayFile:
    """As much of h5py.File as PCAM needs, for one array a file."""

    def __init__(self, path: Path, mode: str = "r") -> None:
        self.path = path

    def __enter__(self) -> ArrayFile:
        return self

    def __exit__(self, *args: object) -> None:
        pass

    def __setitem__(self, key: str, values: Any) -> None:
        with self.path.open("wb") as file:
            numpy.save(file, values)

    def __getitem__(self, key: str) -> Any:
        with self.path.open("rb") as file:
            return numpy.load(file)


def write_pcam(root: Path, patch: pytest.MonkeyPatch) -> None:
    try:
        import h5py
    except ImportError:  # a stand-in that reads and writes .npy
        h5py = SimpleNamespace(File=ArrayFile)
        patch.setitem(sys.modules, "h5py", h5py)
    (root / "pcam").mkdir(parents=True)
    for part in ("train", "test"):
        for kind, values in (("x", colours(LABELS[part], 96, 96, 3)), ("y", LABELS[part].reshape(-1, 1, 1, 1))):
            with h5py.File(root / "pcam" / f"camelyonpatch_level_2_split_{part}_{kind}.h5", "w") as file:
                file[kind] = values


WRITERS: dict[str, tuple[Callable[[Path, pytest.MonkeyPatch], None], tuple[int, int, int]]] = {
    "mnist": (write_idx("MNIST"), (1, 28, 28)),
    "fashion_mnist": (write_idx("FashionMNIST"), (1, 28, 28)),
    "kmnist": (write_idx("KMNIST"), (1, 28, 28)),
    "cifar10": (write_cifar("CIFAR10", "cifar-10-batches-py", "labels"), (3, 32, 32)),
    "cifar100": (write_cifar("CIFAR100", "cifar-100-python", "fine_labels"), (3, 32, 32)),
    "svhn": (write_svhn, (3, 32, 32)),
    "stl10": (write_stl10, (3, 96, 96)),
    "flowers102": (write_flowers, (3, 8, 8)),
    "caltech101": (write_caltech, (3, 8, 8)),
    "dtd": (write_dtd, (3, 8, 8)),
    "eurosat": (write_eurosat, (3, 64, 64)),
    "food101": (write_food, (3, 8, 8)),
    "oxford_pets": (write_pets, (3, 8, 8)),
    "tiny_imagenet": (write_tiny_imagenet, (3, 64, 64)),
    "imagenet": (write_imagenet, (3, 8, 8)),
    "pcam": (write_pcam, (3, 96, 96)),
}
"""How to write each known set, and the shape that its samples then have (resized to 8×8 where they differ)."""

WITHOUT_TEST = {"caltech101", "eurosat"}
