"""DeepGlobe Land Cover (Demir et al. 2018): satellite images with masks of colours, as segmentation and as scenes."""

from __future__ import annotations

from pathlib import Path

import numpy

from lossforge.data.decode_files import decode_files
from lossforge.data.mask_colours import ColourTable, MaskReading, by_colours, read_class_table
from lossforge.data.published_pairs import Pairs, check_pairs, count_masks, read_pairs
from lossforge.data.samples import Form, RawData
from lossforge.data.torchvision_sets import told_as_data_error
from lossforge.data.tree import read_tree
from lossforge.errors import DataError
from lossforge.spaces.mask_keys import CLASS_TABLE

_FILES = (
    "deepglobe/ with train/, in it ID_sat.jpg and ID_mask.png, and class_dict.csv (of the archive from "
    "https://www.kaggle.com/datasets/balraj98/deepglobe-land-cover-classification-dataset), or with "
    "training_data/images/ and training_data/masks/"
)
_FOLDERS = ("deepglobe", "deepglobe-land-cover-classification-dataset", "DeepGlobe", "deepglobe_land_cover")
_COLOURS = (
    ("urban_land", (0, 255, 255)),
    ("agriculture_land", (255, 255, 0)),
    ("rangeland", (255, 0, 255)),
    ("forest_land", (0, 255, 0)),
    ("water", (0, 0, 255)),
    ("barren_land", (255, 255, 255)),
    ("unknown", (0, 0, 0)),
)
_PURE_FROM = 128
"""Its publisher: values of masks may not be pure 0 and 255; when they become labels, make them so at this value."""


def read_land_cover(place: str, form: Form) -> RawData:
    """Masks of seven classes, ``unknown`` among them. Only the training part has masks in the usual layout."""
    with told_as_data_error("deepglobe", _FILES, Path(place)):
        root, parts = _found(Path(place))
        _refuse_whole(form, "deepglobe")
        return read_pairs(parts, root, form, "deepglobe", _reading(root, form), large=True)


def read_scenes(place: str, form: Form) -> RawData:
    """The class of an image is the one that most pixels of its whole mask have; unused classes are left out."""
    with told_as_data_error("deepglobe_scenes", _FILES, Path(place)):
        root, parts = _found(Path(place))
        _refuse_whole(form, "deepglobe_scenes")
        reading = _reading(root, form)
        counts = count_masks(parts, root, "deepglobe", reading)
        used = numpy.unique(counts["train"].largest)
        if len(used) < 2:
            raise ValueError(f"every training image is mostly {reading.names[used[0]]}; there must be two classes")
        notes = []
        numbered = {}
        for part, pairs in parts.items():
            own = counts[part].largest
            known = numpy.isin(own, used)
            if not known.all():
                notes.append(f"{int((~known).sum())} images of the {part} part are mostly what no training image is")
            places = zip(pairs, numpy.searchsorted(used, own).tolist(), known.tolist(), strict=True)
            numbered[part] = [(image, number) for (image, _), number, taken in places if taken]
        samples, told = decode_files(numbered, form, root, check_pairs(parts, "deepglobe_scenes"), large=True)
        names = tuple(reading.names[number] for number in used.tolist())
        both = counts["train"]
        if "test" in counts:
            both = type(both)(*(numpy.concatenate(pair) for pair in zip(both, counts["test"], strict=True)))
        return RawData(samples["train"], samples.get("test"), names, notes=(*told, *notes, both.told(reading.names)))


def _refuse_whole(form: Form, name: str) -> None:
    """Raise DataError where images are to be taken as large as they are."""
    if form.size is None:
        raise DataError(f"task.resize: images of '{name}' are 2448×2448; say what they are resized to, such as 256")


def _reading(root: Path, form: Form) -> MaskReading:
    table = root / CLASS_TABLE
    named = read_class_table(table) if table.is_file() else _COLOURS
    return by_colours(ColourTable(named, _PURE_FROM, form.nearest_colour))


def _found(place: Path) -> tuple[Path, dict[str, Pairs]]:
    """The set's folder, and the pairs of its parts; ``test`` only where it has masks."""
    roots = [place / name / below for name in (*_FOLDERS, "") for below in ("", "data")]
    for root in roots:
        if (root / "training_data" / "images").is_dir():
            folders = {"train": root / "training_data", "test": root / "test_data"}
            parts = {
                part: _pairs(folder / "images", folder / "masks")
                for part, folder in folders.items()
                if part == "train" or (folder / "masks").is_dir()
            }
            return root, parts
        if (root / "train").is_dir() and next((root / "train").glob("*_sat.*"), None) is not None:
            return root, {"train": _pairs(root / "train", root / "train")}
    raise FileNotFoundError(f"there are no images ID_sat.jpg in {roots[0] / 'train'}")


def _pairs(images: Path, masks: Path) -> Pairs:
    """Images and masks of equal names, but for ``_sat`` and ``_mask``."""
    by_name = {file.stem.removesuffix("_mask"): file for file in read_tree(masks).images if _is_mask(file, images)}
    pictured = {file.stem.removesuffix("_sat"): file for file in read_tree(images).images if not _is_mask(file, masks)}
    alone = sorted(set(by_name) ^ set(pictured))
    if alone:
        name = alone[0]
        missing = masks / f"{name}_mask.png" if name in pictured else images / f"{name}_sat.jpg"
        raise FileNotFoundError(f"there is no file {missing}")
    return [(pictured[name], by_name[name]) for name in sorted(pictured)]


def _is_mask(file: Path, other: Path) -> bool:
    """Whether a file is a mask by its name; all of a folder of masks alone are."""
    return file.stem.endswith("_mask") if file.parent == other else file.parent.name == "masks"
