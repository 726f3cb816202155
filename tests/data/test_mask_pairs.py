"""Which mask belongs to which image."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.helpers.folders import touch

from lossforge.data.mask_pairs import mask_pairs
from lossforge.data.tree import read_tree
from lossforge.errors import DataError


def paired(root: Path) -> dict[str, list[tuple[str, str]]]:
    return {
        part: [(str(image.relative_to(root)), str(mask.relative_to(root))) for image, mask in pairs]
        for part, pairs in mask_pairs(read_tree(root)).parts.items()
    }


def test_masks_beside_their_images_are_paired(tmp_path: Path) -> None:
    touch(tmp_path, "p1/img_2.tif", "p1/img_2_mask.tif", "p1/img_10.tif", "p1/img_10_Mask.png", "p2/img_2.jpg")
    touch(tmp_path, "p2/img_2_mask.gif", "p2/._img_2.jpg", "notes.csv")
    assert paired(tmp_path) == {
        "train": [
            ("p1/img_10.tif", "p1/img_10_Mask.png"),
            ("p1/img_2.tif", "p1/img_2_mask.tif"),
            ("p2/img_2.jpg", "p2/img_2_mask.gif"),
        ]
    }


@pytest.mark.parametrize(("images", "masks"), [("images", "masks"), ("Images", "MASKS")])
def test_masks_in_a_folder_of_their_own_are_paired(tmp_path: Path, images: str, masks: str) -> None:
    for part in ("Training", "valid", "test"):
        touch(tmp_path, f"{part}/{images}/1.jpg", f"{part}/{masks}/1.png")
        touch(tmp_path, f"{part}/{images}/x/2.jpg", f"{part}/{masks}/x/2_mask.png", f"{part}/{masks}/Thumbs.db")
    found = paired(tmp_path)
    assert set(found) == {"train", "validation", "test"}
    assert found["validation"] == [
        (f"valid/{images}/1.jpg", f"valid/{masks}/1.png"),
        (f"valid/{images}/x/2.jpg", f"valid/{masks}/x/2_mask.png"),
    ]


def test_an_image_called_mask_has_a_mask_of_that_name(tmp_path: Path) -> None:
    touch(tmp_path, "images/gas_mask.png", "masks/gas_mask.png")
    assert paired(tmp_path)["train"] == [("images/gas_mask.png", "masks/gas_mask.png")]


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (["images/1.png", "masks/2.png"], "'1', '2' are each in one of images and masks only"),
        (["images/1.png", "images/1.jpg", "masks/1.png"], "'1.jpg' and '1.png' have one name"),
        (["images/1.png", "masks/1.png", "masks/1_mask.png"], "1_mask.png: is a mask of '1', as 1.png is"),
        (["1.png", "1_mask.png", "1_mask_1.png"], "'1_mask_1' is an image without a mask"),
        (["1_mask.png"], "'1' is an image without a mask, or a mask without an image"),
        (["images/1.png", "label/1.png"], r"has no folder 'masks' \(it has 'images', 'label'\); read are images/ and"),
        (["1.png", "2.png"], r"has no folder 'images' \(it has no folders\)"),
        (["images/train/1.png", "masks/train/1.png"], "images: holds 'train'; a part holds its images and masks"),
        (["train/1.png", "train/1_mask.png", "test/2.png"], "test: has no folder 'images'"),
    ],
)
def test_what_cannot_be_paired_is_refused(tmp_path: Path, names: list[str], fault: str) -> None:
    touch(tmp_path, *names)
    with pytest.raises(DataError, match=fault):
        mask_pairs(read_tree(tmp_path))
