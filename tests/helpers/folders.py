"""Small folders of images in the layouts that people have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
from PIL import Image

from lossforge.data.class_folders import LabelledFiles, labelled_files
from lossforge.data.datasets import load_task
from lossforge.data.splits import TaskData
from lossforge.data.tree import read_tree
from lossforge.spaces.schema import TaskSection


def touch(root: Path, *names: str) -> None:
    """Empty files: which are images is told by their endings, and layouts look no further."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found_in(root: Path, *, nested: bool = False) -> LabelledFiles:
    return labelled_files(read_tree(root), nested=nested)


def told(root: Path, found: LabelledFiles) -> dict[str, list[str]]:
    """Of each part, ``CLASS: path``."""
    return {
        part: [f"{found.names[label]}: {path.relative_to(root)}" for path, label in pairs]
        for part, pairs in found.parts.items()
    }


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (6, 4)) -> None:
    """An RGB image of one colour; ``size`` is width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def save(path: Path, array: Any, orientation: int = 1, **options: Any) -> None:
    """An array as an image, with an EXIF orientation where it is not 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if orientation != 1:
        exif = Image.Exif()
        exif[274] = orientation
        options["exif"] = exif
    Image.fromarray(numpy.asarray(array)).save(path, **options)


def loaded(path: Path, kind: str = "folder", **keys: Any) -> TaskData:
    """The parts of a task on the user's own data."""
    return load_task(TaskSection(data=f"{kind}:{path}", **keys), "cpu")
