"""Labelled images in their publishers' layouts, which torchvision does not read: found in the data folder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from lossforge.data.changes import stamp
from lossforge.data.decode_files import decode_files
from lossforge.data.samples import Form, RawData
from lossforge.data.torchvision_sets import KNOWN_SETS, told_as_data_error
from lossforge.data.tree import Folder, read_tree

_MALARIA = (
    "cell_images/ with Parasitized/ and Uninfected/ (of cell_images.zip, from "
    "https://data.lhncbc.nlm.nih.gov/public/Malaria/cell_images.zip)"
)
_TEXTURES = "Kather_texture_2016_image_tiles_5000"
_TISSUES = ("01_TUMOR", "02_STROMA", "03_COMPLEX", "04_LYMPHO", "05_DEBRIS", "06_MUCOSA", "07_ADIPOSE", "08_EMPTY")
_COLORECTAL = f"{_TEXTURES}/ with 01_TUMOR/ to 08_EMPTY/ (of {_TEXTURES}.zip, from https://zenodo.org/records/53169)"
_IMAGENET = (
    "imagenet/ with train/ and val/, each with a folder nXXXXXXXX/ of .JPEG files for every class (or the three files "
    "ILSVRC2012_devkit_t12.tar.gz, ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar; from image-net.org, where you "
    "must sign in)"
)
_TUMOURS = (
    "brain_tumour/ with Training/ and Testing/, each with glioma/, meningioma/, notumor/ and pituitary/ (of the "
    "archive from https://www.kaggle.com/datasets/masoudnickparvar/brain-tumor-mri-dataset), or with glioma_tumor/, "
    "meningioma_tumor/, no_tumor/ and pituitary_tumor/"
)
_TUMOUR_FOLDERS = ("brain_tumour", "brain_tumor", "brain-tumor-mri-dataset", "Brain-Tumor-Classification-DataSet")
_LEAVES = (
    "tomato/ with train/ and val/, each with ten folders Tomato___NAME/ (of the archive from "
    "https://www.kaggle.com/datasets/kaustubhb999/tomatoleaf)"
)
_LEAF = "Tomato___"
_FIVE_LEAVES = ("Bacterial_spot", "Early_blight", "healthy", "Late_blight", "Leaf_Mold")
_WORDNET = re.compile(r"n\d{8}")


def read_malaria(place: str, form: Form) -> RawData:
    """Malaria cell images (Rajaraman et al. 2018): two classes, in no parts. Some copies hold the folder twice."""
    with told_as_data_error("malaria", _MALARIA, Path(place)):
        classes = ("Parasitized", "Uninfected")
        roots = [Path(place, *["cell_images"] * times) for times in (1, 2, 0)]
        root = _first_with(roots, classes)
        return _one_part(root, {name: name.lower() for name in classes}, form, "malaria")


def read_colorectal(place: str, form: Form) -> RawData:
    """Colorectal histology (Kather et al. 2016): eight kinds of tissue, 150×150, in no parts."""
    with told_as_data_error("colorectal_histology", _COLORECTAL, Path(place)):
        root = _first_with([Path(place, *[_TEXTURES] * times) for times in (1, 2, 0)], _TISSUES)
        return _one_part(root, {name: name[3:].lower() for name in _TISSUES}, form, "colorectal_histology")


def read_tumours(place: str, form: Form) -> RawData:
    """Brain tumours in MRI: three kinds, and none; ``Testing`` is its test part. Both forms get the same names."""
    with told_as_data_error("brain_tumour", _TUMOURS, Path(place)):
        kinds = ("glioma", "meningioma", "notumor", "pituitary")
        older = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
        roots = [Path(place, name) for name in (*_TUMOUR_FOLDERS, "")]
        parts = {"train": "Training", "test": "Testing"}
        both = [own for root in roots for own in (kinds, older) if (root / "Training" / own[0]).is_dir()]
        folders = both[0] if both else kinds
        root = _first_with(roots, [f"{part}/{folder}" for part in parts.values() for folder in folders])
        return _in_parts(root, parts, dict(zip(folders, kinds, strict=True)), form, "brain_tumour")


def read_tomato_leaves(place: str, form: Form) -> RawData:
    """Tomato leaves of PlantVillage, healthy and with nine diseases; ``val`` is its test part."""
    return _leaves(place, form, "tomato_leaf", ())


def read_five_tomato_leaves(place: str, form: Form) -> RawData:
    """Five of the ten: bacterial spot, early blight, healthy, late blight and leaf mold."""
    return _leaves(place, form, "tomato_leaf_5", _FIVE_LEAVES)


def _leaves(place: str, form: Form, name: str, chosen: tuple[str, ...]) -> RawData:
    with told_as_data_error(name, _LEAVES, Path(place)):
        below = ("tomato", "tomato/tomato", "tomatoleaf/tomato", "tomato_leaf", "tomatoleaf", "")
        roots = [Path(place, name) for name in below]
        root = _first_with(roots, ["train", "val"])
        found = [folder.name for folder in read_tree(root / "train").folders if folder.name.startswith(_LEAF)]
        folders = [f"{_LEAF}{one}" for one in chosen] or found
        if len(folders) < 2:
            raise FileNotFoundError(f"{root / 'train'} has no two folders {_LEAF}NAME")
        parts = {"train": "train", "test": "val"}
        _first_with([root], [f"{part}/{folder}" for part in parts.values() for folder in folders])
        names = {folder: folder.removeprefix(_LEAF).replace(" ", "_").lower() for folder in folders}
        return _in_parts(root, parts, names, form, name)


def read_imagenet(place: str, form: Form) -> RawData:
    """ImageNet-1k in a folder a class, or as torchvision unpacks it. Its validation images are its test part."""
    root = Path(place) / "imagenet"
    if (root / "meta.bin").is_file() or not (root / "train").is_dir():
        return KNOWN_SETS["imagenet"].read(place, form)
    with told_as_data_error("imagenet", _IMAGENET, Path(place)):
        tree = read_tree(root)
        parts = {
            part: _by_wordnet(next((one for one in tree.folders if one.name == name), None), root / name)
            for part, name in (("train", "train"), ("test", "val"))
        }
        names = sorted(parts["train"])
        if len(names) < 2 or sorted(parts["test"]) != names:
            other = sorted(set(names) ^ set(parts["test"]))
            raise FileNotFoundError(
                f"train/ and val/ differ in the folders of classes: {', '.join(other[:3]) or 'none'}"
            )
        pairs = {
            part: [(file, number) for number, name in enumerate(names) for file in folders[name].images]
            for part, folders in parts.items()
        }
        samples, notes = decode_files(pairs, form, root, f"imagenet {stamp(tree)}")
        return RawData(samples["train"], samples["test"], _titles(root, names), notes=tuple(notes))


def _by_wordnet(folder: Folder | None, path: Path) -> dict[str, Folder]:
    found = {one.name: one for one in (folder.folders if folder else ()) if _WORDNET.fullmatch(one.name) and one.images}
    if not found:
        flat = ", but images right in it: put each into the folder of its class" if folder and folder.images else ""
        raise FileNotFoundError(f"{path} has no folders nXXXXXXXX with images{flat}")
    return found


def _titles(root: Path, names: list[str]) -> tuple[str, ...]:
    """What the classes are called, by the table that Kaggle ships beside the folders; else their WordNet numbers."""
    table = root / "LOC_synset_mapping.txt"
    lines = table.read_text(encoding="utf-8").splitlines() if table.is_file() else []
    known = {number: title.split(",")[0].strip() for number, _, title in (line.partition(" ") for line in lines)}
    titles = tuple(known.get(name) or name for name in names)
    # Two are called crane, and two maillot.
    return tuple(
        title if titles.count(title) == 1 else f"{title} ({name})" for title, name in zip(titles, names, strict=True)
    )


def _first_with(roots: Iterable[Path], classes: Iterable[str]) -> Path:
    """The first folder that has a folder of each class. Raises FileNotFoundError that names what is missing."""
    missing = {root: [name for name in classes if not (root / name).is_dir()] for root in roots}
    whole = next((root for root, names in missing.items() if not names), None)
    if whole is None:
        nearest = min(missing, key=lambda root: len(missing[root]))
        raise FileNotFoundError(f"there is no folder {nearest / missing[nearest][0]}")
    return whole


def _one_part(root: Path, classes: dict[str, str], form: Form, name: str) -> RawData:
    """Images of a folder for each class, each called as the table says."""
    return _in_parts(root, {"train": ""}, classes, form, name)


def _in_parts(root: Path, parts: dict[str, str], classes: dict[str, str], form: Form, name: str) -> RawData:
    """The same in the folder of each part, ``train`` and maybe ``test``."""
    pairs: dict[str, list[tuple[Path, int]]] = {part: [] for part in parts}
    stamps = [name]
    for part, below in parts.items():
        for number, folder in enumerate(classes):
            tree = read_tree(root / below / folder)
            if not tree.images:
                raise FileNotFoundError(f"{tree.path} holds no images")
            pairs[part] += [(file, number) for file in tree.images]
            stamps.append(stamp(tree))
    samples, notes = decode_files(pairs, form, root, " ".join(stamps))
    return RawData(samples["train"], samples.get("test"), tuple(classes.values()), notes=tuple(notes))
