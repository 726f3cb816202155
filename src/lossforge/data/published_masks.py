"""Segmentation sets in their publishers' layouts, with masks that hold numbers, or grey levels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy

from lossforge.data.class_names import COCO_STUFF, VOC
from lossforge.data.decode_files import decode_files
from lossforge.data.mask_colours import MaskReading, by_threshold
from lossforge.data.mask_pairs import mask_pairs
from lossforge.data.published_pairs import Pairs, check_pairs, read_pairs
from lossforge.data.samples import Array, Form, RawData
from lossforge.data.torchvision_sets import told_as_data_error
from lossforge.data.tree import Folder, read_tree
from lossforge.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

_VOC = (
    "VOCdevkit/VOC2012/ with JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/ (of "
    "VOCtrainval_11-May-2012.tar, from http://host.robots.ox.ac.uk/pascal/VOC/voc2012/)"
)
_COCO = (
    "coco/ with train2017/ and val2017/ (of train2017.zip and val2017.zip, from https://cocodataset.org) and "
    "stuffthingmaps_trainval2017/ (of stuffthingmaps_trainval2017.zip, from https://github.com/nightrome/cocostuff)"
)
_CRACKS = (
    "crack_segmentation_dataset/ with train/ and test/, each with images/ and masks/ of equal names (of the archive "
    "from https://www.kaggle.com/datasets/lakshaymiddha/crack-segmentation-dataset)"
)
_CRACK_FOLDERS = ("crack_segmentation_dataset", "crack-segmentation-dataset", "crack_segmentation")
_PEOPLE = ("Sylvie", "Eugen")
"""First names of those whom sets among them are called after."""
_CRACK_FROM = 128
"""Masks are JPEGs: from this grey level on a pixel is of a crack."""
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
        return read_pairs(parts, root, form, "voc2012", _numbered(VOC, form))


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
        return read_pairs(parts, root, form, "coco_stuff", _numbered(COCO_STUFF, form))


def read_cracks(place: str, form: Form) -> RawData:
    """Cracks in photographs of roads and walls, gathered from several sets; ``test`` is its test part."""
    with told_as_data_error("crack_segmentation", _CRACKS, Path(place)):
        root, pairs = _crack_pairs(Path(place))
        threshold = _CRACK_FROM if form.mask_threshold is None else form.mask_threshold
        raw = read_pairs(pairs, root, form, "crack_segmentation", by_threshold(threshold, ("background", "crack")))
        return replace(raw, notes=(*raw.notes, _sources(pairs)))


def read_crack_sources(place: str, form: Form) -> RawData:
    """The same photographs, each of the class of the set that it was taken from; ``noncrack`` ones show no crack."""
    with told_as_data_error("crack_sources", _CRACKS, Path(place)):
        root, pairs = _crack_pairs(Path(place))
        key = check_pairs(pairs, "crack_sources")
        names = sorted({source_of(image.stem) for image, _ in pairs["train"]})
        other = next((image for image, _ in pairs["test"] if source_of(image.stem) not in names), None)
        if other is not None:
            raise ValueError(f"{other} is of a source that no training image has")
        numbered = {
            part: [(image, names.index(source_of(image.stem))) for image, _ in own] for part, own in pairs.items()
        }
        samples, notes = decode_files(numbered, form, root, key)
        return RawData(samples["train"], samples["test"], tuple(names), notes=tuple(notes))


def _crack_pairs(place: Path) -> tuple[Path, dict[str, Pairs]]:
    """The set's folder, and the pairs of its training and test parts."""
    bases = [place / name for name in _CRACK_FOLDERS] + [place]
    whole = [base for base in bases if all((base / part / "masks").is_dir() for part in ("train", "test"))]
    root = _there([base / "train" / "masks" for base in whole or bases[:1]]).parent.parent
    # The whole set lies beside its parts once more, in images/ and masks/.
    parts = Folder(root, tuple(one for one in read_tree(root).folders if one.name in ("train", "test")), ())
    return root, mask_pairs(parts, validation=False).parts


def _sources(pairs: dict[str, Pairs]) -> str:
    """Of which set each image is, by the beginning of its name."""
    found = Counter(source_of(image.stem) for part in pairs.values() for image, _ in part)
    told = ", ".join(f"{name} {count:,}" for name, count in sorted(found.items()))
    return f"images by their source, training and test parts together: {told}"


def source_of(name: str) -> str:
    """The set that an image of the crack set was taken from, by the name of its file.

    >>> [source_of(name) for name in ("CFD_001", "Sylvie_Chambon_2", "Volker_DSC01623_0_112", "noncrack_wall_1")]
    ['CFD', 'Sylvie_Chambon', 'Volker', 'noncrack']
    """
    parts = name.replace("-", "_").split("_")
    return "_".join(parts[:2]) if parts[0] in _PEOPLE else parts[0]


def _names(table: Path) -> list[str]:
    if not table.is_file():
        raise FileNotFoundError(f"there is no file {table}")
    return table.read_text(encoding="utf-8").split()


def _there(folders: Sequence[Path]) -> Path:
    found = next((folder for folder in folders if folder.is_dir()), None)
    if found is None:
        raise FileNotFoundError(f"there is no folder {folders[0]}")
    return found


def _numbered(names: Sequence[str], form: Form) -> MaskReading:
    """Masks of 8 bits that hold a class's number, 255 (or what the task ignores) where none counts."""
    ignored = 255 if form.ignore is None else form.ignore

    def values(image: Image, path: Path) -> Array:
        if image.mode not in ("P", "L"):
            raise DataError(
                f"{path}: is an image of colours ({image.mode}); its publisher has a class's number in each pixel"
            )
        found = numpy.asarray(image)
        unknown = found[(found >= len(names)) & (found != ignored)]
        if len(unknown):
            raise DataError(
                f"{path}: holds {unknown[0]}; a class's number is from 0 to {len(names) - 1}, and 255 is none"
            )
        return found

    return MaskReading(values, tuple(names), "")
