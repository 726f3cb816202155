"""Segmentation sets in their publishers' layouts: masks of 8 bits that hold a class's number, 255 where none counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy

from lossforge.data.changes import stamp
from lossforge.data.class_names import COCO_STUFF, VOC
from lossforge.data.decode_files import decode_files
from lossforge.data.decoded import Report, Work, kept_or_decoded
from lossforge.data.decoding import open_image, read_placing, size_told
from lossforge.data.npz_files import from_masks
from lossforge.data.samples import Array, Form, RawData
from lossforge.data.torchvision_sets import told_as_data_error
from lossforge.data.tree import read_tree
from lossforge.errors import DataError

Pairs = list[tuple[Path, Path]]
"""Image and mask files."""

_VOC = (
    "VOCdevkit/VOC2012/ with JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/ (of "
    "VOCtrainval_11-May-2012.tar, from http://host.robots.ox.ac.uk/pascal/VOC/voc2012/)"
)
_COCO = (
    "coco/ with train2017/ and val2017/ (of train2017.zip and val2017.zip, from https://cocodataset.org) and "
    "stuffthingmaps_trainval2017/ (of stuffthingmaps_trainval2017.zip, from https://github.com/nightrome/cocostuff)"
)
_MAPS = ("stuffthingmaps_trainval2017", "stuffthingmaps_trainvaltest2017", "stuffthingmaps", "annotations")


def read_voc2012(place: str, form: Form) -> RawData:
    """Pascal VOC 2012's segmentation: the images of ``train.txt``, and those of ``val.txt`` as its test part."""
    with told_as_data_error("voc2012", _VOC, Path(place)):
        root = _there([Path(place) / "VOCdevkit" / "VOC2012", Path(place) / "VOC2012"])
        parts = {
            part: [
                (root / "JPEGImages" / f"{name}.jpg", root / "SegmentationClass" / f"{name}.png")
                for name in _names(root / "ImageSets" / "Segmentation" / f"{file}.txt")
            ]
            for part, file in (("train", "train"), ("test", "val"))
        }
        return _pairs(parts, root, form, "voc2012", VOC)


def read_coco_stuff(place: str, form: Form) -> RawData:
    """COCO-Stuff 164k: things and stuff by pixel maps, 0 to 181 with holes; ``val2017`` is its test part."""
    with told_as_data_error("coco_stuff", _COCO, Path(place)):
        bases = [Path(place, *below) for below in (["coco"], ["coco_stuff"], [])]
        root = _there([base for base in bases if any((base / name).is_dir() for name in _MAPS)] or bases[:1])
        maps = _there([root / name for name in _MAPS])
        images = root / "images" if (root / "images").is_dir() else root
        parts = {}
        for part, name in (("train", "train2017"), ("test", "val2017")):
            masks = [file for file in read_tree(_there([maps / name])).images if file.suffix.lower() == ".png"]
            parts[part] = [(images / name / f"{file.stem}.jpg", file) for file in masks]
        return _pairs(parts, root, form, "coco_stuff", COCO_STUFF)


def _names(table: Path) -> list[str]:
    if not table.is_file():
        raise FileNotFoundError(f"there is no file {table}")
    return table.read_text(encoding="utf-8").split()


def _there(folders: Sequence[Path]) -> Path:
    found = next((folder for folder in folders if folder.is_dir()), None)
    if found is None:
        raise FileNotFoundError(f"there is no folder {folders[0]}")
    return found


def _pairs(parts: dict[str, Pairs], root: Path, form: Form, name: str, names: Sequence[str]) -> RawData:
    """Images and masks of both parts; the classes are those that training masks hold, called by ``names``."""
    for part, pairs in parts.items():
        if not pairs:
            raise FileNotFoundError(f"the {part} part has no pair of an image and a mask")
        missing = next((file for pair in pairs for file in pair if not file.is_file()), None)
        if missing is not None:
            raise FileNotFoundError(f"there is no file {missing}")
    key = f"{name} {_stamp(parts)}"
    numbered = {part: [(image, 0) for image, _ in pairs] for part, pairs in parts.items()}
    masks = {part: _masks(pairs, form, root, f"{key} {part}", len(names)) for part, pairs in parts.items()}
    samples, notes = decode_files(numbered, replace(form, skip_broken=False), root, key)
    train, test = ((samples[part].x, masks[part]) for part in ("train", "test"))
    raw = from_masks(train, test, str(root), ignore=form.ignore)
    return replace(raw, names=tuple(names[int(value)] for value in raw.names), notes=(*notes, *raw.notes))


def _stamp(parts: dict[str, Pairs]) -> str:
    """Changes whenever images or masks are added, removed or written over."""
    folders = dict.fromkeys(file.parent for pairs in parts.values() for pair in pairs[:1] for file in pair)
    return " ".join(stamp(read_tree(folder)) for folder in folders)


def _masks(pairs: Pairs, form: Form, root: Path, key: str, classes: int) -> Array:
    """Masks ``(N, H, W)``, uint8; many are kept on disk and mapped, as images are."""
    work = partial(Work, partial(_mask, pairs, form, classes), [mask.name for _, mask in pairs], numpy.uint8, Report())
    samples, report = kept_or_decoded(work, len(pairs), str(root), f"{key} masks {form.size} {form.ignore}")
    for reason in report.broken.values():
        raise DataError(reason)
    return samples.x[:, 0]


def _mask(pairs: Pairs, form: Form, classes: int, index: int) -> tuple[Array, int]:
    """One mask ``(1, H, W)``, cut to the middle and resized as its image is, by the nearest pixel."""
    from PIL import ImageOps
    from PIL.Image import Resampling

    pictured, path = pairs[index]
    try:
        image, _ = open_image(path)
        shown = read_placing(pictured).shown
    except DataError as error:
        raise DataError(f"{path}: cannot be read, or its image ({error})") from None
    if image.mode not in ("P", "L"):
        raise DataError(
            f"{path}: is an image of colours ({image.mode}); its publisher has a class's number in each pixel"
        )
    if image.size != shown:
        raise DataError(
            f"{path}: is {size_told(image.size[::-1])}, its image {size_told(shown[::-1])}; they must be alike"
        )
    values = numpy.asarray(image)
    unknown = values[(values >= classes) & (values != (255 if form.ignore is None else form.ignore))]
    if len(unknown):
        raise DataError(f"{path}: holds {unknown[0]}; a class's number is from 0 to {classes - 1}, and 255 is none")
    if form.size is not None:
        values = numpy.asarray(ImageOps.fit(image, form.size[::-1], Resampling.NEAREST))
    return values[None], 0
