"""What a user's data look like before they are read as a task: their kind, the sizes of images, a table's words."""

from __future__ import annotations

import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lossforge.data.csv_files import MARK
from lossforge.data.csv_text import read_table
from lossforge.data.datasets import DATASETS, FORMATS
from lossforge.data.decoding import read_placing
from lossforge.data.labels import MISSING, is_number
from lossforge.data.parts import part_named
from lossforge.data.tree import Folder, read_tree
from lossforge.errors import DataError, offered

_LOOKED_AT = 300
"""Image files whose size is read: evenly spread over all of them."""
_WORDS = 50
"""Different texts up to which a table's column holds categories; with more it holds names."""
_MASKS = ("images", "masks")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Heights and widths of image files: the shorter side's median, whether all are alike, and how many are broken."""

    side: int
    alike: bool
    seen: int
    broken: int


def named_with_kind(data: str) -> str:
    """``task.data`` for what a person gave: a known name, ``KIND:PATH``, or a path alone, whose kind is looked up.

    Raises DataError where there is nothing, or nothing that can be read.
    """
    kind, colon, _ = data.partition(":")
    if data in DATASETS or (colon and kind in FORMATS):
        return data
    path = Path(data.partition(MARK)[0])
    if not path.exists():
        raise DataError(f"--data {data}: there is no such file or folder, and no data set of that name{_known(data)}")
    if path.is_dir():
        return f"{'masks' if _has_masks(read_tree(path)) else 'folder'}:{data}"
    ending = path.suffix.lower()
    if ending == ".npz":
        return f"{'masks' if _npz_has_masks(path) else 'npz'}:{data}"
    if ending in (".csv", ".tsv", ".txt", ".data"):
        return f"csv:{data}"
    raise DataError(
        f"--data {data}: is no folder, .csv or .npz file; read are {', '.join(one.name for one in FORMATS.values())}"
    )


def _known(data: str) -> str:
    return offered(data, DATASETS, "or your own: a folder of images, a .csv, an .npz")


def _has_masks(root: Folder) -> bool:
    """Whether images have masks: in a folder beside theirs, or by their names; in parts or not."""
    places = [root, *(folder for folder in root.folders if part_named(folder.name))]
    if any({folder.name.lower() for folder in place.folders} >= set(_MASKS) for place in places):
        return True
    files = [file for place in places for file in place.images]
    marked = sum(file.stem.lower().endswith("_mask") for file in files)
    return bool(files) and 2 * marked == len(files)


def _npz_has_masks(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as file:
            names = {name.removesuffix(".npy").lower() for name in file.namelist()}
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as .npz ({error}); write it with numpy.savez") from None
    return any(name.startswith(("m_", "mask")) or name.endswith(("_m", "_masks")) for name in names)


def image_sizes(data: str) -> Sizes | None:
    """Of the images in a user's folder; None where the data are no image files."""
    kind, _, place = data.partition(":")
    path = Path(place)
    if kind not in ("folder", "masks") or not path.is_dir():
        return None
    files = [file for file in read_tree(path).images_below() if not file.stem.lower().endswith("_mask")]
    found: Counter[tuple[int, int]] = Counter()
    broken = 0
    for file in files[:: max(1, len(files) // _LOOKED_AT)]:
        try:
            found[read_placing(file).size] += 1
        except DataError:
            broken += 1
    if not found:
        return None
    shorter = sorted(min(size) for size in found.elements())
    return Sizes(shorter[len(shorter) // 2], len(found) == 1, found.total() + broken, broken)


def text_columns(data: str) -> tuple[list[str], list[str], bool]:
    """Of a table: columns that hold categories, columns that hold names, and whether a feature is missing somewhere.

    Columns are called as ``task.drop_columns`` calls them: by name, or by number from 1.
    """
    kind, _, place = data.partition(":")
    if kind != "csv":
        return [], [], False
    text, _, wanted = place.partition(MARK)
    table = read_table(Path(text), wanted)
    label = table.find(wanted) if wanted else len(table.names) - 1
    categories: list[str] = []
    names: list[str] = []
    missing = False
    for column in range(len(table.names)):
        if column == label:
            continue
        cells = table.column(column)
        missing = missing or any(cell in MISSING for cell in cells)
        words = {cell for cell in cells if cell not in MISSING and not is_number(cell)}
        if words:
            called = table.names[column] or str(column + 1)
            (categories if len(set(cells)) <= _WORDS else names).append(called)
    return categories, names, missing
