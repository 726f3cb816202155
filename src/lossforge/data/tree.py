"""What is to be seen in a folder of the user's: through links, and without what systems and editors leave behind."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lossforge.errors import DataError

_ENDING = re.compile(r"\.(png|jpe?g|jpe|jfif|bmp|gif|p[pgbn]m|tiff?|webp|avif|jp2|tga)", re.IGNORECASE)
METADATA = ("metadata.csv", "metadata.jsonl")
"""Labels of the images beside them, as Hugging Face's image folder has them."""
_LEFT_BEHIND = frozenset(
    ("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "@eadir", "__pycache__", "lost+found")
)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with the folders and files in it, each sorted by name; a link is what it leads to."""

    path: Path
    folders: tuple[Folder, ...]
    files: tuple[Path, ...]

    @property
    def name(self) -> str:
        """The folder's name, or its link's."""
        return self.path.name

    @property
    def images(self) -> tuple[Path, ...]:
        """Image files in the folder itself, told by their endings."""
        return tuple(file for file in self.files if is_image(file))

    def below(self) -> Iterator[Folder]:
        """The folder and all below it."""
        yield self
        for folder in self.folders:
            yield from folder.below()

    def images_below(self) -> list[Path]:
        """Image files in the folder and below, sorted."""
        return sorted(file for folder in self.below() for file in folder.images)

    def with_images(self) -> list[Folder]:
        """Folders right in this one that have images in them or below."""
        return [folder for folder in self.folders if any(below.images for below in folder.below())]


def read_tree(root: Path) -> Folder:
    """What is in a folder. Raises DataError where a link leads to nothing or into a circle, or reading is forbidden."""
    return _read(root, {})


def _read(path: Path, above: dict[tuple[int, int], Path]) -> Folder:
    folders, files = [], []
    try:
        state = path.stat()
        mark = (state.st_dev, state.st_ino)
        if mark in above:
            raise DataError(f"{path}: is a link back to {above[mark]}, in which it lies; remove it")
        above = {**above, mark: path}
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if is_left_behind(entry.name):
                    continue
                inner = path / entry.name
                if entry.is_dir():
                    folders.append(_read(inner, above))
                elif entry.is_file() or (entry.is_symlink() and is_image(inner)):
                    files.append(inner)  # a link to no image is a broken image, and told with the others
                elif entry.is_symlink():
                    raise DataError(f"{inner}: is a link to '{inner.readlink()}', which is not there; remove it")
    except OSError as error:
        raise DataError(f"{path}: cannot be looked into ({error.strerror or error})") from None
    return Folder(path, tuple(folders), tuple(files))


def is_image(file: Path) -> bool:
    """Whether a file's ending is an image's, in any capitals."""
    return _ENDING.fullmatch(file.suffix) is not None


def is_left_behind(name: str) -> bool:
    """Whether a file or folder is none of the user's data: hidden, or an operating system's own."""
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def files_read(root: Folder) -> list[Path]:
    """Every file that may be read of a folder of images: images, and labels beside them; sorted."""
    return sorted(
        file for folder in root.below() for file in folder.files if is_image(file) or file.name.lower() in METADATA
    )
