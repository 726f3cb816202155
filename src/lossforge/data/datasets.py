"""Data sets by name, split for a task, on the device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy

from lossforge.data.changes import own_data_digest, quick_stamp, unchanged
from lossforge.data.csv_files import MARK, read_csv
from lossforge.data.human_labels import label_file_digest
from lossforge.data.image_files import read_folder, read_masks
from lossforge.data.land_cover import read_land_cover, read_scenes
from lossforge.data.npz_files import read_npz
from lossforge.data.places import data_folder
from lossforge.data.published_masks import read_coco_stuff, read_crack_sources, read_cracks, read_voc2012
from lossforge.data.published_sets import (
    read_colorectal,
    read_five_tomato_leaves,
    read_imagenet,
    read_malaria,
    read_tomato_leaves,
    read_tumours,
)
from lossforge.data.samples import Form, RawData, Samples
from lossforge.data.splits import TaskData
from lossforge.data.torchvision_sets import KNOWN_SETS, Reader, read_tiny_imagenet
from lossforge.errors import DataError, offered
from lossforge.spaces.base_folder import from_base
from lossforge.spaces.schema import TaskSection


@dataclass(frozen=True, slots=True)
class DataSource:
    """One known data set, or one format of a user's own. ``load`` takes the data folder, or the user's path."""

    name: str
    summary: str
    load: Reader


def _digits(place: str, form: Form) -> RawData:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images / 16.0).astype(numpy.float32)[:, None]
    samples = Samples(images, bunch.target.astype(numpy.int64))
    return RawData(samples, None, tuple(map(str, range(10))), ready=True)


_SUMMARIES = {
    "fashion_mnist": "70,000 articles of clothing, 28×28 grey, 10 classes",
    "mnist": "70,000 handwritten digits, 28×28 grey, 10 classes",
    "kmnist": "70,000 handwritten kana, 28×28 grey, 10 classes",
    "cifar10": "60,000 photographs, 32×32, 10 classes",
    "cifar100": "60,000 photographs, 32×32, 100 classes",
    "svhn": "99,289 house numbers, 32×32, 10 classes",
    "stl10": "13,000 photographs, 96×96, 10 classes",
    "flowers102": "8,189 flowers of many sizes, 102 classes; needs task.resize",
    "caltech101": "8,677 objects of many sizes, 101 classes; needs task.resize",
    "dtd": "5,640 textures of many sizes, 47 classes; needs task.resize",
    "eurosat": "27,000 satellite images, 64×64, 10 classes",
    "pcam": "294,912 patches of tissue, 96×96, 2 classes; needs the package h5py",
    "food101": "101,000 dishes of many sizes, 101 classes; needs task.resize",
    "oxford_pets": "7,349 cats and dogs of many sizes, 37 classes; needs task.resize",
}
_PUBLISHED: dict[str, tuple[str, Reader]] = {
    "imagenet": (
        "1,331,167 photographs of many sizes, 1,000 classes; needs task.resize; not downloaded",
        read_imagenet,
    ),
    "malaria": (
        "27,558 stained blood cells of many sizes, 2 classes; needs task.resize; not downloaded",
        read_malaria,
    ),
    "colorectal_histology": ("5,000 patches of tissue, 150×150, 8 classes; not downloaded", read_colorectal),
    "voc2012": (
        "Pascal VOC 2012: 2,913 photographs, masks of 21 classes, 255 ignored; needs task.resize; not downloaded",
        read_voc2012,
    ),
    "coco_stuff": (
        "COCO-Stuff 164k: 123,287 photographs, masks of 171 classes, 255 ignored; needs task.resize; not downloaded",
        read_coco_stuff,
    ),
    "deepglobe": (
        "DeepGlobe Land Cover: 803 satellite images, 2448×2448, masks of 7 classes; needs task.resize; not downloaded",
        read_land_cover,
    ),
    "deepglobe_scenes": (
        "the same images, each of the class that most of its pixels have; needs task.resize; not downloaded",
        read_scenes,
    ),
    "brain_tumour": (
        "brain MRI of many sizes, 3,264 or 7,023 by edition, 4 classes; needs task.resize; not downloaded",
        read_tumours,
    ),
    "tomato_leaf": ("11,000 tomato leaves, 256×256, 10 classes; not downloaded", read_tomato_leaves),
    "tomato_leaf_5": ("5,500 of them: five of the classes; not downloaded", read_five_tomato_leaves),
    "crack_segmentation": (
        "11,200 photographs of roads and walls, 448×448, masks of cracks; not downloaded",
        read_cracks,
    ),
    "crack_sources": (
        "the same photographs by the set that each is from, or noncrack; not downloaded",
        read_crack_sources,
    ),
}
"""Sets that only we read, each with what it is."""

DATASETS: dict[str, DataSource] = {
    source.name: source
    for source in (
        DataSource("digits", "1,797 handwritten digits, 8×8 grey, 10 classes; ships with scikit-learn", _digits),
        *(DataSource(name, _SUMMARIES[name], known.read) for name, known in KNOWN_SETS.items() if name != "imagenet"),
        DataSource("tiny_imagenet", "110,000 photographs, 64×64, 200 classes", read_tiny_imagenet),
        *(DataSource(name, summary, read) for name, (summary, read) in _PUBLISHED.items()),
    )
}
"""Every data set by name."""

BUNDLED = ("digits",)
"""Data sets that are installed with lossforge's packages."""

FORMATS: dict[str, DataSource] = {
    source.name.partition(":")[0]: source
    for source in (
        DataSource("npz:PATH", "your arrays: x_train, y_train (x_val, ... x_test), MedMNIST's, or x and y", read_npz),
        DataSource(
            "folder:PATH",
            "your images: a folder a class; or train/, val/, test/ so; or metadata.csv",
            read_folder,
        ),
        DataSource(f"csv:PATH[{MARK}COLUMN]", "your table, a sample a row; the label is last, or named", read_csv),
        DataSource(
            "masks:PATH",
            "your segmentation pairs: images/ and masks/, X and X_mask, or .npz",
            read_masks,
        ),
    )
}
"""Every format of a user's own data, by what stands before the colon."""


def find_source(data: str) -> tuple[DataSource, str]:
    """The source of ``task.data`` and where it lies. Raises DataError where there is none such."""
    if data in DATASETS:
        return DATASETS[data], str(data_folder())
    kind, colon, place = data.partition(":")
    if not colon or kind not in FORMATS:
        named, formats = [*DATASETS], [source.name for source in FORMATS.values()]
        others = offered(kind, FORMATS) if colon else offered(data, [*named, *formats])
        raise DataError(f"task.data: '{data}' is not a data set{others}")
    if not own_path(data).exists():
        raise DataError(f"task.data: there is nothing at '{own_path(data)}'; '{FORMATS[kind].name}' is a path of yours")
    _, mark, column = place.partition(MARK)
    return FORMATS[kind], f"{own_path(data)}{mark}{column}"


def own_path(data: str) -> Path:
    """The path in ``KIND:PATH``; a relative one starts from the folder that the search was started in."""
    return from_base(data.partition(":")[2].partition(MARK)[0])


def own_digest(data: str) -> str:
    """sha256 of a user's own data; "" for a data set with a name, whose checksum its reader knows."""
    find_source(data)
    return "" if data in DATASETS else own_data_digest(own_path(data), data.partition(":")[0])


def is_unchanged(data: str, digest: str) -> bool:
    """Whether a user's own data are those whose digest a run recorded."""
    find_source(data)
    return unchanged(own_path(data), data.partition(":")[0], digest)


def forget_loaded() -> None:
    """Let `load_task` read everything anew: `quick_stamp` does not notice an image that was written over."""
    _loaded.cache_clear()


def load_task(task: TaskSection, device: str) -> TaskData:
    """Load and split a task's data set. Raises DataError where it is unknown, not to be had, or too small.

    What was loaded is kept, until the user's file changes, or files are added to a folder or removed from it.
    """
    source, place = find_source(task.data)
    stamped = "" if task.data in DATASETS else quick_stamp(own_path(task.data))
    return _loaded(task, device, source.load, place, stamped + label_file_digest(task.noise_file))


@lru_cache(maxsize=4)
def _loaded(task: TaskSection, device: str, load: Reader, place: str, stamped: str) -> TaskData:
    from lossforge.data.prepare import task_data

    form = Form(
        task.image_size,
        task.greyscale,
        drop_index=task.switched_on("drop_index"),
        drop_columns=task.drop_columns,
        keep_missing=task.impute is not None,
        one_hot=task.one_hot,
        own_validation=task.switched_on("own_validation"),
        nested=task.nested,
        skip_broken=task.skip_broken,
        several_labels=task.head == "sigmoid",
        ignore=task.ignored,
        mask_colours=task.mask_colours,
        mask_threshold=task.mask_threshold,
        nearest_colour=task.nearest_colour,
    )
    return task_data(load(place, form), form, task, device)
