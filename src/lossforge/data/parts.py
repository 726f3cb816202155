"""Which folder of a user's data set is its training, validation and test part."""

from __future__ import annotations

from collections.abc import Collection

from lossforge.data.tree import METADATA, Folder
from lossforge.errors import DataError

_PARTS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


def part_named(name: str) -> str | None:
    """``train``, ``validation`` or ``test`` where a folder's name says so, in any capitals.

    >>> [part_named(name) for name in ("Training", "val", "valid", "TEST", "training_data")]
    ['train', 'validation', 'validation', 'test', None]
    """
    return _PARTS.get(name.lower())


def find_parts(root: Folder, *, classes: bool, validation: bool) -> tuple[dict[str, Folder], tuple[str, ...]]:
    """The folder of each part, ``{}`` where the set is in no parts; and notes of what beside them is left out.

    Where folders may be ``classes``, one called train may be the vehicle; a ``validation`` part that is not wanted is
    left aside. Raises DataError where two folders claim one
    part, and where there is no training part.
    """
    found: dict[str, Folder] = {}
    notes = []
    for folder in root.folders:
        part = part_named(folder.name)
        if part is None or (part == "validation" and not validation):
            continue
        if part in found:
            raise DataError(
                f"{root.path}: '{found[part].name}' and '{folder.name}' both say that they are the {part} part; give "
                "one folder"
            )
        if folder.images_below():
            found[part] = folder
        else:
            notes.append(f"folder '{folder.name}' holds no images and is left out")
    if not found or (classes and _is_a_class(root, found)):
        return {}, ()
    if "train" not in found:
        raise DataError(
            f"{root.path}: has {listed([folder.name for folder in found.values()])}, and no folder 'train' with images "
            "beside it; put the images for training there"
        )
    for folder in root.with_images():
        if folder not in found.values():
            images = counted(len(folder.images_below()), "image")
            notes.append(f"folder '{folder.name}' ({images}) beside '{found['train'].name}' is no part and is left out")
    if root.images:
        notes.append(f"beside folder '{found['train'].name}' {counted(len(root.images), 'image')} left out")
    return found, tuple(notes)


def _is_a_class(root: Folder, found: dict[str, Folder]) -> bool:
    """Whether ``train`` is the vehicle: a folder of images alone, as other folders beside it are."""
    if set(found) != {"train"} or has_metadata(found["train"]):
        return False
    flat = [folder for folder in root.with_images() if folder.images]
    return found["train"] in flat and len(flat) > 1


def has_metadata(folder: Folder) -> bool:
    """Whether labels lie beside the images of a folder, as a table."""
    return any(file.name.lower() in METADATA for file in folder.files)


def listed(names: Collection[str], most: int = 10) -> str:
    """The first names, quoted, and how many more there are.

    >>> listed(["b", "a", "c"], 2)
    "'b', 'a' and 1 more"
    """
    shown = ", ".join(f"'{name}'" for name in list(names)[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def counted(count: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "image"), counted(2000, "image")
    ('1 image', '2,000 images')
    """
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
