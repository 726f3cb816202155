"""Layouts of a user's labelled images: a folder a class, in parts or not, or a table of labels beside the images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lossforge.data.image_metadata import Label, read_metadata
from lossforge.data.parts import counted, find_parts, has_metadata, listed, part_named
from lossforge.data.tree import METADATA, Folder, is_image
from lossforge.errors import DataError

LAYOUTS = (
    "read are a folder of images for each class; train/, val/ and test/ with such folders; and metadata.csv or "
    "metadata.jsonl (file_name, label) beside images"
)

Pairs = dict[str, list[tuple[Path, Label]]]
"""Image files of each part with their labels."""


@dataclass(slots=True)
class LabelledFiles:
    """Image files of each part, ``train`` at least, each with its class's number; and notes for the user."""

    names: tuple[str, ...] = ()
    parts: dict[str, list[tuple[Path, int]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def labelled_files(root: Folder, *, nested: bool = False, validation: bool = True) -> LabelledFiles:
    """Find the classes and their files. Raises DataError, and never guesses, where folders can be read in two ways."""
    folders, notes = find_parts(root, classes=True, validation=validation)
    found = LabelledFiles(notes=list(notes))
    labels = _of_one_table(root, folders, found.notes) or {
        part: _labelled(folder, root, found.notes, nested=nested)
        for part, folder in (folders or {"train": root}).items()
    }
    _number(labels, {part: folder.path for part, folder in folders.items()} or {"train": root.path}, found)
    return found


def _number(labels: Pairs, places: dict[str, Path], found: LabelledFiles) -> None:
    """Number the classes 0, 1 ... by the training part's. Raises DataError for others, and for fewer than two."""
    if any(isinstance(label, str) for pairs in labels.values() for _, label in pairs):
        labels = {part: [(path, str(label)) for path, label in pairs] for part, pairs in labels.items()}
    number = {label: place for place, label in enumerate(_ordered(labels["train"]))}
    found.names = tuple(map(str, number))
    if len(number) < 2:
        seen = f" ({listed(found.names)})" if found.names else ""
        raise DataError(
            f"{places['train']}: has {len(number)} folders with images{seen}; there must be one for each of two "
            f"classes or more: {LAYOUTS}"
        )
    for part, pairs in labels.items():
        classes = _ordered(pairs)
        if unknown := [str(label) for label in classes if label not in number]:
            raise DataError(
                f"{places[part]}: class {listed(unknown)} has no folder in {places['train']}, where "
                f"{listed(found.names)} are; name them alike in every part"
            )
        if missing := [str(label) for label in number if label not in classes]:
            found.notes.append(f"{places[part].name} has no images of class {listed(missing)}")
        found.parts[part] = [(path, number[label]) for path, label in pairs]


def _ordered(pairs: list[tuple[Path, Label]]) -> list[Label]:
    """Each label once: numbers in their order, then names in theirs."""
    labels = {label for _, label in pairs}
    numbers = sorted(label for label in labels if isinstance(label, int))
    return [*numbers, *sorted(label for label in labels if isinstance(label, str))]


def _of_one_table(root: Folder, folders: dict[str, Folder], notes: list[str]) -> Pairs:
    """The images of each part by one table beside the parts' folders; ``{}`` where the folders say the classes."""
    tables = _tables(root) if folders else []
    if not tables:
        return {}
    if any(has_metadata(folder) or folder.with_images() for folder in folders.values()):
        notes.append(f"{tables[0].name} beside the folders of the parts is not read")
        return {}
    pairs = read_metadata(tables[0], root, notes, needed=True) or []
    parts: Pairs = {part: [] for part in folders}
    for path, label in pairs:
        first = path.relative_to(root.path).parts[0]
        part = part_named(first) or ""
        if part not in parts:
            raise DataError(
                f"{tables[0]}: names '{path.relative_to(root.path)}', which is in none of "
                f"{listed([folder.name for folder in folders.values()])}; keep one table in each of these"
            )
        parts[part].append((path, label))
    return parts


def _tables(folder: Folder) -> list[Path]:
    tables = [file for file in folder.files if file.name.lower() in METADATA]
    if len(tables) > 1:
        raise DataError(f"{folder.path}: has {listed([table.name for table in tables])}; leave one of them")
    return tables


def _labelled(folder: Folder, root: Folder, notes: list[str], *, nested: bool) -> list[tuple[Path, Label]]:
    """Each image file of a part with its label, by the table beside them or by their folders."""
    tables = _tables(folder)
    classes = folder.with_images()
    if tables:
        pairs = read_metadata(tables[0], folder, notes, needed=not classes)
        if pairs is not None:
            return pairs
    images = counted(len(folder.images), "image")
    if folder.images and classes:
        raise DataError(
            f"{folder.path}: holds {images} ('{folder.images[0].name}') and folders with images "
            f"({listed([each.name for each in classes])}); keep the images to be read in folders of their classes "
            "alone, and move the others away"
        )
    if folder.images:
        raise DataError(f"{folder.path}: holds {images} and nothing that says their classes: {LAYOUTS}")
    if not nested:
        for each in classes:
            _refuse_deeper(each, root)
    empty = [each.name for each in folder.folders if each not in classes]
    if empty:
        where = "" if folder is root else f" of {folder.name}"
        notes.append(f"class folder {listed(empty)}{where} holds no images and is left out")
    _tell_of_others(classes, notes)
    return [(file, each.name) for each in classes for file in each.images_below()]


def _refuse_deeper(folder: Folder, root: Folder) -> None:
    """Raise DataError where images lie a level below a class's folder: those folders may be the classes."""
    deeper = folder.with_images()
    if not deeper:
        return
    both = f" beside {counted(len(folder.images), 'image')}" if folder.images else ""
    raise DataError(
        f"{folder.path}: holds folders with images ({listed([each.name for each in deeper])}){both}, a level deeper "
        f"than '{root.name}/CLASS/image'. Where these are the classes or parts, give folder:{folder.path}; where all "
        f"of '{folder.name}' is one class, set task.nested = true; {LAYOUTS}"
    )


def _tell_of_others(classes: Iterable[Folder], notes: list[str]) -> None:
    others = Counter(
        file.suffix.lower() or "no ending"
        for each in classes
        for folder in each.below()
        for file in folder.files
        if not is_image(file)
    )
    if others:
        kinds = ", ".join(f"{ending} {count:,}" for ending, count in sorted(others.items()))
        notes.append(f"{counted(others.total(), 'file')} in class folders left out: no image's ending ({kinds})")
