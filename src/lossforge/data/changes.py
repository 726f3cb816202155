"""Whether a user's data are what they were: stamps that are cheap, digests that are certain."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from lossforge.data.decoding import Depth, read_header, read_placing
from lossforge.data.parts import part_named
from lossforge.data.places import content_digest, files_below
from lossforge.data.tree import METADATA, Folder, files_read, is_left_behind, read_tree
from lossforge.errors import DataError
from lossforge.spaces.mask_keys import CLASS_TABLE

_READING = "lossforge images 2"
"""Goes up whenever the same files are read as other samples."""
_ONCE_READ = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


def stamp(root: Folder) -> str:
    """Changes whenever a file that is read of a folder of images is written, added, removed or replaced; cheap."""
    digest = hashlib.sha256(_READING.encode())
    for file in files_read(root):
        try:
            state = file.stat()
            told = f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_dev} {state.st_ino}"
        except OSError:
            told = "cannot be read"
        digest.update(f"{file.absolute()}\0{told}\n".encode())
    return digest.hexdigest()


def quick_stamp(path: Path) -> str:
    """Changes whenever the file is written, or a file is added to a folder of images or removed; cheaper.

    Of a folder it looks at the folders in it, and at those in its parts, so that one image written over goes unnoticed.
    """
    places = [path]
    if path.is_dir():
        first = _inside(path)
        second = [inner for each in first if part_named(each.name) for inner in _inside(each)]
        places += first + second
    states = [(place, place.stat()) for place in places if place.exists()]
    return "\n".join(f"{place}\0{state.st_size}\0{state.st_mtime_ns}" for place, state in states)


def _inside(folder: Path) -> list[Path]:
    """Folders right in a folder, and tables of labels."""
    try:
        seen = [each for each in sorted(folder.iterdir()) if not is_left_behind(each.name)]
    except OSError:  # reading it will say so
        return []
    return [each for each in seen if each.is_dir() or each.name.lower() in (*METADATA, CLASS_TABLE)]


def own_data_digest(path: Path, kind: str, *, tables: bool = True) -> str:
    """sha256 of a file's content; of a folder of images, of the names and contents of the files that are read.

    Beside masks that is the table of their colours too, unless ``tables`` is false: older versions knew of none.
    """
    if kind not in ("folder", "masks") or not path.is_dir():
        return content_digest(path)
    digest = hashlib.sha256(_READING.encode())
    tree = read_tree(path)
    named = [file for folder in tree.below() for file in folder.files if file.name == CLASS_TABLE]
    for file in [*files_read(tree), *(sorted(named) if tables and kind == "masks" else ())]:
        try:
            content = content_digest(file)
        except OSError:  # a link to nothing, or a file that may not be read: a broken image
            content = ""
        digest.update(f"{file.relative_to(path).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def unchanged(path: Path, kind: str, recorded: str) -> bool:
    """Whether data have the digest that a run recorded, maybe an older one's, which hashed every file in a folder."""
    if recorded in (own_data_digest(path, kind), own_data_digest(path, kind, tables=False)):
        return True
    return path.is_dir() and content_digest(path) == recorded and _was_read_so(read_tree(path))


def _was_read_so(root: Folder) -> bool:
    """Whether older versions read the same samples from a folder: plain images of bytes, in the layouts that they knew.

    They followed no links, read hidden images, knew ``train`` and ``test`` in small letters, and turned no image.
    """
    parts = [(part_named(folder.name), folder.name) for folder in root.folders]
    if any(part in ("train", "test") and name != part for part, name in parts):
        return False
    files = files_read(root)
    before = [file for file in files_below(root.path) if file.suffix.lower() in _ONCE_READ]
    return files == before and _plain(files)


def _plain(files: Iterable[Path]) -> bool:
    try:
        return all(read_header(file).depth == Depth.BYTES and read_placing(file).turn == 1 for file in files)
    except DataError:
        return False
