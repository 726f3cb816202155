from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image

from lossforge.data import image_files
from lossforge.data.datasets import _loaded, load_task
from lossforge.errors import DataError
from lossforge.spaces.schema import TaskSection


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (6, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def loaded(path: Path, kind: str = "folder", **keys: Any) -> Any:
    return load_task(TaskSection(data=f"{kind}:{path}", **keys), "cpu")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Ten cats, red and numbered by green; ten dogs, blue."""
    for number in range(10):
        picture(tmp_path / "pets" / "cat" / f"{number}.png", (200, number, 0))
        picture(tmp_path / "pets" / "dog" / "deeper" / f"{number}.bmp", (0, number, 200))
    (tmp_path / "pets" / "notes.txt").write_text("not an image")
    (tmp_path / "pets" / "empty").mkdir()
    return tmp_path / "pets"


def test_a_folder_is_a_class(pets: Path) -> None:
    data = loaded(pets)
    assert (data.names, data.shape) == (("cat", "dog"), (3, 4, 6))
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 3, 5)
    for part in (data.train, data.validation, data.test):
        assert ((part.x[:, 2, 0, 0] == 200).long() == part.y).all()


def test_train_and_test_folders_are_kept_apart(pets: Path) -> None:
    root = pets.parent / "parted"
    pets.rename(pets.parent / "x")
    root.mkdir()
    (pets.parent / "x").rename(root / "train")
    picture(root / "test" / "dog" / "1.png", (0, 77, 200))
    data = loaded(root)
    assert (len(data.train), len(data.validation)) == (16, 4)
    assert (data.test.x[:, 1, 0, 0].tolist(), data.test.y.tolist()) == ([77], [1])
    picture(root / "test" / "bird" / "1.png", (0, 77, 200))
    with pytest.raises(DataError, match="class 'bird' has no folder in"):
        loaded(root)


def test_sizes_that_differ_need_a_size(pets: Path) -> None:
    picture(pets / "dog" / "large.png", (0, 99, 200), (20, 10))
    with pytest.raises(DataError, match=r"images differ in size \(4×6 and 10×20\); set task.resize"):
        loaded(pets)
    assert loaded(pets, resize=5, drop_duplicates=False).shape == (3, 5, 5)
    assert loaded(pets, resize=[3, 7], greyscale=True, drop_duplicates=False).shape == (1, 3, 7)


def test_an_image_is_cut_to_its_middle_and_not_squashed(tmp_path: Path) -> None:
    stripes = numpy.zeros((4, 12, 3), numpy.uint8)
    stripes[:, 4:8] = 255
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(10):
            Image.fromarray(stripes).save(tmp_path / name / f"{number}.png")
    assert (loaded(tmp_path, resize=4, drop_duplicates=False).train.x == 255).all()


def test_a_broken_image_is_named(pets: Path) -> None:
    whole = (pets / "cat" / "3.png").read_bytes()
    for content in (b"", b"no image", whole[: len(whole) // 2]):
        (pets / "cat" / "3.png").write_bytes(content)
        _loaded.cache_clear()
        with pytest.raises(DataError, match=r"3\.png: cannot be read as an image"):
            loaded(pets)


def test_an_image_more_is_noticed(pets: Path) -> None:
    before = loaded(pets)
    assert loaded(pets) is before
    picture(pets / "cat" / "more.png", (200, 99, 0))
    picture(pets / "cat" / "most.png", (200, 99, 0))
    assert len(loaded(pets).train) == 13


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 0 folders with images"):
        loaded(tmp_path)
    picture(tmp_path / "only" / "1.png", (1, 2, 3))
    with pytest.raises(DataError, match="has 1 folders with images"):
        loaded(tmp_path)
    with pytest.raises(DataError, match="there is no such folder"):
        loaded(tmp_path / "only" / "1.png")


def test_what_was_decoded_is_kept_and_mapped(
    pets: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = loaded(pets)
    monkeypatch.setattr(image_files, "_KEPT_FROM", 5)
    for _ in range(2):
        _loaded.cache_clear()
        kept = loaded(pets)
        for name in ("train", "validation", "test"):
            assert torch.equal(getattr(kept, name).x, getattr(plain, name).x)
            assert torch.equal(getattr(kept, name).y, getattr(plain, name).y)
    assert capsys.readouterr().err.count("decoding 20 images") == 1
    assert len(list((data_folder / "decoded").iterdir())) == 2
    picture(pets / "cat" / "3.png", (250, 3, 0))
    _loaded.cache_clear()
    assert 250 in torch.cat(
        [part.x[:, 0, 0, 0] for part in (loaded(pets).train, loaded(pets).validation, loaded(pets).test)]
    )


def test_a_data_folder_that_cannot_be_written_is_done_without(
    pets: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_files, "_KEPT_FROM", 5)
    data_folder.write_text("a file where the folder should be")
    assert len(loaded(pets).train) == 12


@pytest.fixture
def cracks(tmp_path: Path) -> Path:
    root = tmp_path / "cracks"
    for number in range(10):
        picture(root / "images" / f"{number}.png", (number, 0, 0))
        mask = numpy.zeros((4, 6), numpy.uint8)
        mask[0, : number % 2 * 3] = 255
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(root / "masks" / f"{number}.png")
    return root


def test_images_and_masks_are_paired_by_name(cracks: Path) -> None:
    data = loaded(cracks, "masks", train=None)
    assert data.segmentation
    for x, y in zip(data.train.x, data.train.y, strict=True):
        assert int(y.sum()) == int(x[0, 0, 0]) % 2 * 3


def test_pairs_that_do_not_match_are_refused(cracks: Path) -> None:
    picture(cracks / "images" / "alone.png", (0, 0, 0))
    with pytest.raises(DataError, match="'alone' is in one of images and masks only"):
        loaded(cracks, "masks")
    picture(cracks / "masks" / "alone.png", (0, 0, 0))
    with pytest.raises(DataError, match=r"alone\.png: is an image of colours"):
        loaded(cracks, "masks")
    Image.new("L", (9, 9)).save(cracks / "masks" / "alone.png")
    for resize in (None, 4):
        with pytest.raises(DataError, match=r"alone\.png: is 9×9, its image 4×6"):
            loaded(cracks, "masks", resize=resize)
    (cracks / "masks").rename(cracks / "mask")
    with pytest.raises(DataError, match="has no folder 'masks'"):
        loaded(cracks, "masks")
