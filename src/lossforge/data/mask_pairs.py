"""Layouts of a user's segmentation pairs: ``images/`` and ``masks/``, or masks beside their images; in parts or not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lossforge.data.parts import find_parts, listed, part_named
from lossforge.data.tree import Folder
from lossforge.errors import DataError

LAYOUTS = (
    "read are images/ and masks/ with the same names in them; images with their masks beside them, such as img_1.tif "
    "and img_1_mask.tif; and train/, val/ and test/ with either"
)
_ENDING = "_mask"


@dataclass(slots=True)
class MaskPairs:
    """Image and mask files of each part, ``train`` at least; and notes for the user."""

    parts: dict[str, list[tuple[Path, Path]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def mask_pairs(root: Folder, *, validation: bool = True) -> MaskPairs:
    """Find the pairs. Raises DataError where an image has no mask, or a mask no image."""
    folders, notes = find_parts(root, classes=False, validation=validation)
    parts = {part: _pairs(folder) for part, folder in (folders or {"train": root}).items()}
    return MaskPairs(parts, list(notes))


def _pairs(folder: Folder) -> list[tuple[Path, Path]]:
    """Pairs of one part, sorted by name."""
    kinds = {name: _named(folder, name) for name in ("images", "masks")}
    given = {name: found for name, found in kinds.items() if found is not None}
    if len(given) == 2:
        images, masks = (_by_name(found, found.images_below()) for found in given.values())
        for found in given.values():
            _refuse_parts_within(found, folder)
        masks = _of_images(masks, images)
        what = "in one of images and masks only"
    else:
        files = folder.images_below()
        masked = [file for file in files if file.stem.lower().endswith(_ENDING)]
        if given or not masked:
            seen = listed([each.name for each in folder.folders]) or "no folders"
            missing = next((name for name in kinds if name not in given), "images")
            raise DataError(f"{folder.path}: has no folder '{missing}' (it has {seen}); {LAYOUTS}")
        images = _by_name(folder, (file for file in files if file not in set(masked)))
        masks = _of_images(_by_name(folder, masked), {})
        what = "an image without a mask, or a mask without an image"
    alone = sorted(set(images) ^ set(masks))
    if alone or not images:
        told = f"{listed(alone)} is {what}" if len(alone) == 1 else f"{listed(alone)} are each {what}"
        raise DataError(
            f"{folder.path}: {told if alone else 'there are no images'}; every image needs a mask of the same name: "
            f"{LAYOUTS}"
        )
    return [(images[name], masks[name]) for name in sorted(images)]


def _named(folder: Folder, name: str) -> Folder | None:
    found = [each for each in folder.folders if each.name.lower() == name]
    if len(found) > 1:
        raise DataError(f"{folder.path}: has {listed([each.name for each in found])}; give one folder '{name}'")
    return found[0] if found else None


def _of_images(masks: dict[str, Path], images: dict[str, Path]) -> dict[str, Path]:
    """Masks by the names of their images: those without ``_mask``, in any capitals, where no image is called so."""
    found: dict[str, Path] = {}
    for name, file in masks.items():
        marked = name not in images and name.lower().endswith(_ENDING)
        pictured = name[: -len(_ENDING)] if marked else name
        if pictured in found:
            raise DataError(f"{file}: is a mask of '{pictured}', as {found[pictured].name} is; keep one of them")
        found[pictured] = file
    return found


def _by_name(folder: Folder, files: Iterable[Path]) -> dict[str, Path]:
    """Files by their place below the folder, without their endings."""
    found: dict[str, Path] = {}
    for file in files:
        name = file.relative_to(folder.path).with_suffix("").as_posix()
        if name in found:
            raise DataError(f"{folder.path}: '{found[name].name}' and '{file.name}' have one name; keep one of them")
        found[name] = file
    return found


def _refuse_parts_within(found: Folder, folder: Folder) -> None:
    """Raise DataError where the parts lie in ``images/`` and ``masks/``, not about them."""
    inner = [each.name for each in found.with_images() if part_named(each.name)]
    if inner:
        raise DataError(
            f"{found.path}: holds {listed(inner)}; a part holds its images and masks: make it "
            f"{folder.path / inner[0] / found.name}"
        )
