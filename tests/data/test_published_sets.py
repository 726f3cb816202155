"""Data sets in their publishers' layouts, on small files that are written here."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from tests.helpers.cohorts import request_of
from tests.helpers.known_sets import LABELS, TEST, TRAIN, photographs, save

from lossforge.data.class_names import COCO_STUFF, VOC
from lossforge.data.datasets import DATASETS, forget_loaded, load_task
from lossforge.data.examine import describe
from lossforge.data.samples import IGNORED
from lossforge.errors import DataError
from lossforge.evaluation.evaluate import evaluate
from lossforge.evaluation.feasibility import check_fit
from lossforge.spaces.mask_keys import MASK_SETS
from lossforge.spaces.schema import RecipeSection, TaskSection

RNG = numpy.random.default_rng(5)
VALUES = {"voc2012": (0, 7, 15, 255), "coco_stuff": (0, 92, 181, 255)}


def write_malaria(root: Path, times: int = 1) -> None:
    folder = root.joinpath(*["cell_images"] * times)
    for place, (label, image) in enumerate(photographs(LABELS["train"])):
        save(folder / ("Parasitized", "Uninfected")[label] / f"C{place}_cell_{place}.png", image)
    (folder / "Parasitized" / "Thumbs.db").write_bytes(b"\0")


def write_tissues(root: Path) -> None:
    folder = root / "Kather_texture_2016_image_tiles_5000"
    names = ("TUMOR", "STROMA", "COMPLEX", "LYMPHO", "DEBRIS", "MUCOSA", "ADIPOSE", "EMPTY")
    for label, name in enumerate(names):
        for place in range(5):
            image = numpy.full((150, 150, 3), 30 * label + place, dtype=numpy.uint8)
            save(
                folder / f"{label + 1:02d}_{name}" / f"{place:X}_CRC-Prim-HE-01_{place:03d}.tif_Row_1_Col_1.tif", image
            )


def write_imagenet(root: Path, part: str = "both") -> None:
    for own, name in (("train", "train"), ("test", "val")):
        for place, (label, image) in enumerate(photographs(LABELS[own])):
            wnid = ("n01440764", "n01443537")[label]
            save(root / "imagenet" / name / wnid / f"{wnid}_{place}.JPEG", image)


def pair(number: int, values: tuple[int, ...]) -> tuple[Any, Any]:
    """An image of 20×24 whose halves are grey as their class says, and its mask with a frame of the last value."""
    own = numpy.array(values[:-1])
    mask = numpy.full((20, 24), own[number % len(own)], dtype=numpy.uint8)
    mask[:, 12:] = own[(number + 1) % len(own)]
    image = numpy.repeat(80 * numpy.searchsorted(own, mask)[:, :, None] + 20, 3, 2).astype(numpy.uint8)
    mask[0], mask[:, 0] = values[-1], values[-1]
    return image, mask


def palette_of(mask: Any) -> Image.Image:
    image = Image.new("P", mask.shape[::-1])
    image.putpalette([number * step % 256 for number in range(256) for step in (37, 91, 149)])
    image.frombytes(mask.tobytes())
    return image


def write_voc(root: Path) -> None:
    folder = root / "VOCdevkit" / "VOC2012"
    (folder / "SegmentationClass").mkdir(parents=True)
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    for file, numbers in (("train", range(12)), ("val", range(12, 18))):
        names = [f"2007_{number:06d}" for number in numbers]
        (folder / "ImageSets" / "Segmentation" / f"{file}.txt").write_text("\n".join(names) + "\n")
        for number, name in zip(numbers, names, strict=True):
            image, mask = pair(number, VALUES["voc2012"])
            save(folder / "JPEGImages" / f"{name}.jpg", image)
            palette_of(mask).save(folder / "SegmentationClass" / f"{name}.png")
    save(folder / "JPEGImages" / "2008_000001.jpg", image)  # of another task: it has no mask


def write_coco(root: Path, folder: str = "coco", maps: str = "stuffthingmaps_trainval2017") -> None:
    for part, numbers in (("train2017", range(12)), ("val2017", range(12, 18))):
        for number in numbers:
            image, mask = pair(number, VALUES["coco_stuff"])
            save(root / folder / part / f"{number:012d}.jpg", image)
            save(root / folder / maps / part / f"{number:012d}.png", mask)


WRITERS: dict[str, Callable[[Path], None]] = {
    "malaria": write_malaria,
    "colorectal_histology": write_tissues,
    "imagenet": write_imagenet,
    "voc2012": write_voc,
    "coco_stuff": write_coco,
}


def loaded(name: str, **keys: Any) -> Any:
    return load_task(TaskSection(data=name, **({"resize": 8} | keys)), "cpu")


@pytest.mark.parametrize("times", [1, 2, 0])
def test_malaria_is_two_folders_whose_own_folder_may_be_there_twice(data_folder: Path, times: int) -> None:
    write_malaria(data_folder, times)
    data = loaded("malaria")
    assert data.names == ("parasitized", "uninfected")
    assert len(data.train) + len(data.validation) + len(data.test) == TRAIN
    assert ((data.train.x.float().mean((1, 2, 3)) > 125) == data.train.y).all()


def test_where_the_folder_is_there_twice_and_whole_nothing_is_read_twice(data_folder: Path) -> None:
    write_malaria(data_folder, 1)
    write_malaria(data_folder, 2)
    data = loaded("malaria")
    assert len(data.train) + len(data.validation) + len(data.test) == TRAIN


def test_colorectal_histology_is_eight_folders_of_tiff(data_folder: Path) -> None:
    write_tissues(data_folder)
    data = loaded("colorectal_histology", resize=None)
    assert data.shape == (3, 150, 150)
    assert data.names == ("tumor", "stroma", "complex", "lympho", "debris", "mucosa", "adipose", "empty")
    assert (data.train.x[:, 0, 0, 0] // 30 == data.train.y).all()


def test_imagenet_is_a_folder_a_class_and_val_is_its_test_part(data_folder: Path) -> None:
    write_imagenet(data_folder)
    data = loaded("imagenet")
    assert data.names == ("n01440764", "n01443537")
    assert (len(data.train) + len(data.validation), len(data.test)) == (TRAIN, TEST)
    assert ((data.test.x.float().mean((1, 2, 3)) > 125) == data.test.y).all()
    table = "n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\n"
    (data_folder / "imagenet" / "LOC_synset_mapping.txt").write_text(table)
    forget_loaded()
    assert loaded("imagenet").names == ("tench", "goldfish")


@pytest.mark.parametrize("name", ["voc2012", "coco_stuff"])
def test_masks_are_numbers_and_255_does_not_count(data_folder: Path, name: str) -> None:
    WRITERS[name](data_folder)
    names = VOC if name == "voc2012" else COCO_STUFF
    data = loaded(name, resize=[20, 24])
    assert data.segmentation
    assert data.names == tuple(names[value] for value in VALUES[name][:-1])
    assert (len(data.train) + len(data.validation), len(data.test)) == (12, 6)
    for part in (data.train, data.validation, data.test):
        assert (part.y[:, 0] == IGNORED).all()
        assert (part.y[:, 1:, 1:] >= 0).all()
        wanted = 80 * part.y[:, 1:, 1:].numpy() + 20
        assert abs(part.x[:, 0, 1:, 1:].numpy().astype(int) - wanted)[:, :, 13:].mean() < 4
    assert any(row[0] == "ignored" for row in describe(data))
    small = loaded(name, resize=8)
    assert small.train.y.shape[1:] == (8, 8)
    check_fit(TaskSection(data=name, resize=16, model="unet", width=2))


def refuse(*args: object) -> None:
    raise AssertionError("nothing is to be decoded again")


def test_many_masks_are_decoded_once_and_mapped(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_coco(data_folder)
    first = loaded("coco_stuff")
    monkeypatch.setattr("lossforge.data.decoded._KEPT_FROM", 5)
    for _ in range(2):
        forget_loaded()
        kept = loaded("coco_stuff")
        for part, other in ((kept.train, first.train), (kept.test, first.test)):
            assert torch.equal(part.x, other.x)
            assert torch.equal(part.y, other.y)
        monkeypatch.setattr("lossforge.data.published_pairs._mask", refuse)
    # A mask that is written over is read anew.
    monkeypatch.undo()
    monkeypatch.setenv("LOSSFORGE_DATA", str(data_folder))
    monkeypatch.setattr("lossforge.data.decoded._KEPT_FROM", 5)
    for path in sorted(data_folder.rglob("stuffthing*/val2017/*.png")):
        save(path, numpy.zeros((20, 24), dtype=numpy.uint8))
    forget_loaded()
    assert int(loaded("coco_stuff").test.y.abs().sum()) == 0


def test_coco_is_found_under_other_names_too(data_folder: Path) -> None:
    write_coco(data_folder, "coco_stuff", "stuffthingmaps_trainvaltest2017")
    assert loaded("coco_stuff").classes == 3


def test_a_network_learns_voc_in_mean_iou_and_ignores_the_void(data_folder: Path) -> None:
    write_voc(data_folder)
    task = TaskSection(data="voc2012", resize=16, model="unet", width=2)
    assert (task.measure, task.ignored, task.masks) == ("mean_iou", 255, True)
    recipe = RecipeSection(batch_size=4)
    # Some networks have found nothing after these 80 steps.
    result = evaluate(request_of(task, recipe, learning_rate=0.03, epochs=40, seeds=(1, 2, 3)), "cpu")
    assert max(value or 0 for value in result.accuracies) > 0.8
    assert len(result.metrics[0]["class_iou"]) == 3


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


def remove_folder(root: Path) -> None:
    shutil.rmtree(next(root.rglob("03_*")))


def colours(root: Path) -> None:
    path = sorted(root.rglob("SegmentationClass/*.png"))[0]
    Image.open(path).convert("RGB").save(path)


def other_size(root: Path) -> None:
    path = sorted(root.rglob("SegmentationClass/*.png"))[0]
    Image.open(path).resize((12, 10)).save(path)


def other_number(root: Path) -> None:
    path = sorted(root.rglob("stuffthing*/train2017/*.png"))[0]
    save(path, numpy.full((20, 24), 200, dtype=numpy.uint8))


def flat(root: Path) -> None:
    for file in sorted((root / "imagenet" / "val").rglob("*.JPEG")):
        file.rename(root / "imagenet" / "val" / file.name)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("voc2012", remove("SegmentationClass/*.png"), "there is no file .*SegmentationClass.2007_000000.png"),
        ("voc2012", remove("train.txt"), "train.txt"),
        ("voc2012", colours, r"2007_000000\.png: is an image of colours \(RGB\)"),
        ("voc2012", other_size, r"2007_000000\.png: is 10×12, its image 20×24"),
        ("coco_stuff", remove("train2017/*.jpg"), "there is no file .*000000000000.jpg"),
        ("coco_stuff", other_number, "holds 200; a class's number is from 0 to 181"),
        ("colorectal_histology", remove_folder, "03_COMPLEX"),
        ("imagenet", flat, "val has no folders nXXXXXXXX with images, but images right in it"),
    ],
)
def test_what_is_not_whole_is_told(data_folder: Path, name: str, change: Callable[[Path], None], told: str) -> None:
    WRITERS[name](data_folder)
    change(data_folder)
    with pytest.raises(DataError, match=told) as caught:
        loaded(name)
    assert "\n" not in str(caught.value)


def test_sets_of_masks_are_known_to_the_schema() -> None:
    assert set(MASK_SETS) <= set(DATASETS)
    for name, ignored in MASK_SETS.items():
        assert TaskSection(data=name).masks
        assert TaskSection(data=name).ignored == ignored
        assert TaskSection(data=name, ignore="unknown" if name == "deepglobe" else 0).ignored in ("unknown", 0)
        assert "ignore" not in TaskSection(data=name).identity()
    assert not {name for name in DATASETS if TaskSection(data=name).masks} ^ set(MASK_SETS)
    assert len(VOC) == 21
    assert (len(COCO_STUFF), COCO_STUFF[0], COCO_STUFF[91], COCO_STUFF[181]) == (182, "person", "banner", "wood")
