"""Land cover, brain tumours, tomato leaves and cracks in their publishers' layouts, on small files written here."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from tests.helpers.known_sets import save

from lossforge.data.datasets import forget_loaded, load_task
from lossforge.data.examine import describe
from lossforge.data.samples import IGNORED
from lossforge.errors import DataError
from lossforge.evaluation.feasibility import check_fit
from lossforge.inspection.doctor import examine_data
from lossforge.spaces.schema import TaskSection

COVER = {
    "urban_land": (0, 255, 255),
    "agriculture_land": (255, 255, 0),
    "rangeland": (255, 0, 255),
    "forest_land": (0, 255, 0),
    "water": (0, 0, 255),
    "barren_land": (255, 255, 255),
    "unknown": (0, 0, 0),
}
NAMES = tuple(COVER)
SIDE = 14
IMAGES = 28


def cover_of(number: int) -> Any:
    """Classes ``(H, W)``: three quarters of one, and a quarter of the next; of unknown only ever a corner."""
    first = number % 6
    mask = numpy.full((SIDE, SIDE), first)
    mask[: SIDE // 2, : SIDE // 2] = (first + 1) % 6
    mask[-2:, -2:] = 6 if number % 7 == 0 else first
    return mask


def coloured(mask: Any) -> Any:
    return numpy.array([COVER[name] for name in NAMES], dtype=numpy.uint8)[mask]


def seen(mask: Any) -> Any:
    """An image that shows its classes as grey levels."""
    return numpy.repeat((30 * mask + 20).astype(numpy.uint8)[:, :, None], 3, 2)


def write_table(folder: Path) -> None:
    lines = [f"{name},{','.join(map(str, colour))}" for name, colour in COVER.items()]
    (folder / "class_dict.csv").write_text("\n".join(["name,r,g,b", *lines]) + "\n")


def write_cover(root: Path) -> None:
    """The flat layout; ``valid`` and ``test`` have no masks."""
    folder = root / "deepglobe"
    for number in range(IMAGES):
        mask = cover_of(number)
        # Its publisher warns that values may not be pure 0 and 255.
        impure = numpy.where(coloured(mask) > 0, 250, 4).astype(numpy.uint8)
        save(folder / "train" / f"{100 + number}_sat.jpg", seen(mask))
        save(folder / "train" / f"{100 + number}_mask.png", impure)
    save(folder / "valid" / "7_sat.jpg", seen(cover_of(0)))
    save(folder / "test" / "8_sat.jpg", seen(cover_of(0)))
    (folder / "metadata.csv").write_text("image_id,split,sat_image_path,mask_path\n")
    write_table(folder)


def write_other_cover(root: Path, below: str = "deepglobe/data") -> None:
    for part, numbers in (("training_data", range(18)), ("test_data", range(18, IMAGES))):
        for number in numbers:
            save(root / below / part / "images" / f"{number}_sat.jpg", seen(cover_of(number)))
            save(root / below / part / "masks" / f"{number}_mask.png", coloured(cover_of(number)))


def write_tumours(root: Path, older: bool = False, folder: str = "brain_tumour") -> None:
    for part, count in (("Training", 5), ("Testing", 2)):
        for label, name in enumerate(("glioma", "meningioma", "notumor", "pituitary")):
            own = {"notumor": "no_tumor"}.get(name, f"{name}_tumor") if older else name
            for place in range(count):
                image = numpy.full((9 + place, 11, 3), 60 * label + 10, dtype=numpy.uint8)
                file = f"gg ({place + 1}).jpg" if older else f"{part[:2]}-{name[:2]}_{place:04d}.jpg"
                save(root / folder / part / own / file, image)


LEAVES = (
    "Bacterial_spot",
    "Early_blight",
    "Late_blight",
    "Leaf_Mold",
    "Septoria_leaf_spot",
    "Spider_mites Two-spotted_spider_mite",
    "Target_Spot",
    "Tomato_Yellow_Leaf_Curl_Virus",
    "Tomato_mosaic_virus",
    "healthy",
)


def write_leaves(root: Path, folder: str = "tomato") -> None:
    for part, count in (("train", 4), ("val", 2)):
        for label, name in enumerate(LEAVES):
            for place in range(count):
                image = numpy.full((16, 16, 3), 25 * label + 4, dtype=numpy.uint8)
                file = f"0a{place} b___GCREC_Bact.Sp 3{place}.JPG"
                save(root / folder / part / f"Tomato___{name}" / file, image)


SOURCES = ("CFD_001", "Volker_DSC01", "cracktree200_6192", "Sylvie_Chambon_11", "noncrack_noncrack_concrete_1")


def write_cracks(root: Path, folder: str = "crack_segmentation_dataset") -> None:
    for part, times in (("train", 4), ("test", 1)):
        for place in range(times):
            for source in SOURCES:
                mask = numpy.zeros((32, 32), dtype=numpy.uint8)
                if not source.startswith("non"):
                    mask[8:20, 4 + place : 14 + place] = 255
                name = f"{source}_{part}{place}.jpg"
                save(root / folder / part / "images" / name, seen(5 - mask // 60))
                save(root / folder / part / "masks" / name, mask)
    # All of them once more, beside the parts.
    for kind in ("images", "masks"):
        shutil.copytree(root / folder / "train" / kind, root / folder / kind)


WRITERS: dict[str, Callable[[Path], None]] = {
    "deepglobe": write_cover,
    "deepglobe_scenes": write_cover,
    "brain_tumour": write_tumours,
    "tomato_leaf": write_leaves,
    "tomato_leaf_5": write_leaves,
    "crack_segmentation": write_cracks,
    "crack_sources": write_cracks,
}


def loaded(name: str, **keys: Any) -> Any:
    return load_task(TaskSection(data=name, **({"resize": SIDE} | keys)), "cpu")


def parts_of(data: Any) -> tuple[Any, ...]:
    return data.train, data.validation, data.test


def class_of(part: Any) -> Any:
    """What the grey level of each pixel of an image ``(N, H, W)`` says that it shows, in `cover_of`'s numbers."""
    return ((part.x[:, 0].float() - 20) / 30).round().long()


def test_land_cover_is_read_from_its_colours(data_folder: Path) -> None:
    write_cover(data_folder)
    data = loaded("deepglobe")
    assert data.segmentation
    assert data.names == NAMES
    assert sum(map(len, parts_of(data))) == IMAGES
    for part in parts_of(data):
        assert (class_of(part) == part.y).double().mean() > 0.95  # the images are JPEGs
    assert loaded("deepglobe", resize=7).train.y.shape[1:] == (7, 7)
    check_fit(TaskSection(data="deepglobe", resize=16, model="unet", width=2))


def test_land_cover_without_its_table_or_in_the_other_layout_is_the_same(data_folder: Path) -> None:
    write_cover(data_folder)
    (data_folder / "deepglobe" / "class_dict.csv").unlink()
    assert loaded("deepglobe").names == NAMES
    shutil.rmtree(data_folder)
    forget_loaded()
    write_other_cover(data_folder)
    data = loaded("deepglobe")
    assert data.names == NAMES
    assert (len(data.train) + len(data.validation), len(data.test)) == (18, IMAGES - 18)


def test_unknown_may_be_left_out_of_land_cover(data_folder: Path) -> None:
    write_cover(data_folder)
    data = loaded("deepglobe", ignore="unknown")
    assert data.names == NAMES[:6]
    assert any((part.y == IGNORED).any() for part in parts_of(data))
    with pytest.raises(DataError, match=r"task\.ignore: 'sea' is no class of 'deepglobe'; its classes are urban_land"):
        loaded("deepglobe", ignore="sea")


@pytest.mark.parametrize("write", [write_cover, write_other_cover])
def test_a_scene_is_of_its_largest_class(data_folder: Path, write: Callable[[Path], None]) -> None:
    write(data_folder)
    data = loaded("deepglobe_scenes")
    assert not data.segmentation
    assert data.names == NAMES[:6]
    assert sum(map(len, parts_of(data))) == IMAGES
    for part in parts_of(data):
        wanted = class_of(part)[:, SIDE // 2 : -2].flatten(1).mode(1).values
        assert torch.equal(part.y, wanted)


@pytest.mark.parametrize("name", ["deepglobe", "deepglobe_scenes"])
def test_both_ways_of_counting_land_cover_are_told(data_folder: Path, name: str) -> None:
    write_cover(data_folder)
    masks = [cover_of(number) for number in range(IMAGES)]
    occurs = [sum((mask == number).any() for mask in masks) for number in range(7)]
    largest = [sum(numpy.bincount(mask.ravel()).argmax() == number for mask in masks) for number in range(7)]
    told = " ".join(row["told"] for row in examine_data(name, str(data_folder), 4) if row["check"] == "reading")
    for place, cover in enumerate(NAMES):
        assert f"{cover} {occurs[place]} / {largest[place]}" in told
    assert f"in all {sum(occurs)} / {IMAGES}" in told


def test_masks_of_land_cover_are_decoded_once(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lossforge.data.decoded._LARGE_KEPT_FROM", 5)
    write_cover(data_folder)
    first, scenes = loaded("deepglobe"), loaded("deepglobe_scenes")
    forget_loaded()

    def refuse(*args: object) -> None:
        raise AssertionError("nothing is to be decoded again")

    monkeypatch.setattr("lossforge.data.published_pairs._mask", refuse)
    assert torch.equal(loaded("deepglobe").train.y, first.train.y)
    assert loaded("deepglobe").notes == first.notes
    assert torch.equal(loaded("deepglobe_scenes").train.y, scenes.train.y)


@pytest.mark.parametrize(("older", "folder"), [(False, "brain_tumour"), (True, "brain_tumour"), (False, ".")])
def test_brain_tumours_have_one_name_in_both_forms(data_folder: Path, older: bool, folder: str) -> None:
    write_tumours(data_folder, older, folder)
    data = loaded("brain_tumour", greyscale=True)
    assert data.names == ("glioma", "meningioma", "notumor", "pituitary")
    assert (len(data.train) + len(data.validation), len(data.test)) == (20, 8)
    for part in parts_of(data):
        assert torch.equal(part.x[:, 0].float().mean((1, 2)).sub(10).div(60).round().long(), part.y)


@pytest.mark.parametrize("folder", ["tomato", "tomato/tomato", "."])
def test_tomato_leaves_are_ten_folders_or_five_of_them(data_folder: Path, folder: str) -> None:
    write_leaves(data_folder, folder)
    data = loaded("tomato_leaf")
    assert data.classes == 10
    assert {"spider_mites_two-spotted_spider_mite", "healthy", "tomato_mosaic_virus"} < set(data.names)
    assert (len(data.train) + len(data.validation), len(data.test)) == (40, 20)
    five = loaded("tomato_leaf_5")
    assert five.names == ("bacterial_spot", "early_blight", "healthy", "late_blight", "leaf_mold")
    assert (len(five.train) + len(five.validation), len(five.test)) == (20, 10)
    own = torch.tensor([LEAVES.index(name) for name in ("Bacterial_spot", "Early_blight", "healthy", "Late_blight")])
    for place, label in enumerate(own):
        assert (five.train.x[five.train.y == place].float().mean().sub(4).div(25).round()) == label


def test_cracks_begin_at_128_and_keep_their_parts(data_folder: Path) -> None:
    write_cracks(data_folder)
    data = loaded("crack_segmentation", resize=None)
    assert data.names == ("background", "crack")
    assert (len(data.train) + len(data.validation), len(data.test)) == (20, 5)
    counts = data.test.y.flatten(1).sum(1)
    assert sorted(counts.tolist())[0] == 0  # a picture without a crack
    assert abs(counts[counts > 0].double().mean() - 120) < 8  # compression blurs the outline
    notes = " ".join(row[2] for row in describe(data))
    assert "CFD 5, Sylvie_Chambon 5, Volker 5, cracktree200 5, noncrack 5" in notes
    assert loaded("crack_segmentation", resize=None, mask_threshold=250).test.y.sum() < data.test.y.sum()


def test_a_photograph_of_a_crack_is_of_its_source(data_folder: Path) -> None:
    write_cracks(data_folder)
    data = loaded("crack_sources", resize=None)
    assert data.names == ("CFD", "Sylvie_Chambon", "Volker", "cracktree200", "noncrack")
    for part in parts_of(data):
        light = part.x.flatten(1).float().max(1).values - part.x.flatten(1).float().min(1).values
        assert torch.equal(light < 40, part.y == 4)
    assert loaded("crack_sources", positive=["noncrack"]).names == ("rest", "noncrack")


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_absent_one_sentence_says_what_to_put_where(name: str, data_folder: Path) -> None:
    with pytest.raises(DataError) as caught:
        loaded(name)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"task.data: '{name}' is not whole in {data_folder} ")
    assert "; put " in message
    assert message.endswith("or name another folder with --data-dir or LOSSFORGE_DATA")


def remove(pattern: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        next(iter(sorted(root.rglob(pattern)))).unlink()

    return change


def remove_folder(pattern: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        shutil.rmtree(next(iter(sorted(root.rglob(pattern)))))

    return change


def red(root: Path) -> None:
    path = sorted(root.rglob("*_mask.png"))[0]
    image = Image.open(path).convert("RGB")
    image.putpixel((3, 2), (255, 0, 0))
    image.save(path)


def table(text: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        next(root.rglob("class_dict.csv")).write_text(text)

    return change


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("deepglobe", red, r"100_mask\.png: holds the colour \[255, 0, 0\] \(1 pixels\), which no class has"),
        ("deepglobe", remove("*_mask.png"), "there is no file .*100_mask.png"),
        ("deepglobe", remove("*_sat.jpg"), "there is no file .*8_sat.jpg|there is no file .*100_sat.jpg"),
        ("deepglobe", table("name,red\nwater,3\n"), "has the columns name, red; they must be name, r, g, b"),
        ("deepglobe", table("name,r,g,b\nwater,3,4\n"), "line 2 is 'water,3,4'; it must be a name and three numbers"),
        ("deepglobe", table("name,r,g,b\na,1,1,1\nb,1,1,1\n"), r"line 3 \(b,1,1,1\) repeats a name or a colour"),
        ("brain_tumour", remove_folder("Testing/notumor"), "Testing/notumor"),
        ("tomato_leaf", remove_folder("val/*healthy"), "val/Tomato___healthy"),
        ("crack_segmentation", remove("test/masks/CFD*"), "'CFD_001_test0' is in one of images and masks only"),
    ],
)
def test_what_is_not_whole_is_told(data_folder: Path, name: str, change: Callable[[Path], None], told: str) -> None:
    WRITERS[name](data_folder)
    if "8_sat" in told:
        shutil.rmtree(data_folder / "deepglobe" / "test")
    change(data_folder)
    with pytest.raises(DataError, match=told) as caught:
        loaded(name)
    assert "\n" not in str(caught.value)


def test_land_cover_is_resized_or_refused(data_folder: Path) -> None:
    write_cover(data_folder)
    for name in ("deepglobe", "deepglobe_scenes"):
        with pytest.raises(DataError, match=r"task\.resize: images of .* are 2448×2448"):
            loaded(name, resize=None)
