from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from tests.helpers.folders import loaded, picture, save

from lossforge.data import decoded
from lossforge.data.datasets import forget_loaded, own_digest
from lossforge.errors import DataError


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Ten cats, red and numbered by green; ten dogs, blue."""
    for number in range(10):
        picture(tmp_path / "pets" / "cat" / f"{number}.png", (200, number, 0))
        picture(tmp_path / "pets" / "dog" / f"{number}.bmp", (0, number, 200))
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


def test_broken_images_are_listed_at_once_and_can_be_left_out(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (pets / "cat" / "3.png").read_bytes()
    contents = {"3.png": b"", "5.png": b"no image", "7.png": whole[: len(whole) // 2]}
    for name, content in contents.items():
        (pets / "cat" / name).write_bytes(content)
    (pets / "dog" / "gone.png").symlink_to(pets / "nowhere.png")
    for kept_from in (100, 5):  # decoded into memory, and kept on disk
        monkeypatch.setattr(decoded, "_KEPT_FROM", kept_from)
        forget_loaded()
        with pytest.raises(DataError, match="4 of 21 files cannot be read as an image") as caught:
            loaded(pets)
        for told in ("cat/3.png (empty)", "cat/5.png (not an image)", "cat/7.png (", "dog/gone.png (there is no"):
            assert told in str(caught.value)
        for _ in range(2):
            forget_loaded()
            data = loaded(pets, skip_broken=True)
            assert len(data.train) + len(data.validation) + len(data.test) == 17
            assert "4 of 21 files are broken and left out: cat/3.png (empty)" in " ".join(data.notes)
            for part in (data.train, data.validation, data.test):
                assert ((part.x[:, 2, 0, 0] == 200).long() == part.y).all()


def test_many_broken_images_are_counted(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in pets.glob("*/*"):
        file.write_bytes(b"")
    for kept_from in (100, 5):
        monkeypatch.setattr(decoded, "_KEPT_FROM", kept_from)
        with pytest.raises(DataError, match=r"20 of 20 files .*cat/9\.png \(empty\) and 10 more; mend"):
            loaded(pets, skip_broken=True)


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
    with pytest.raises(DataError, match=r"has 1 folders with images \('only'\)"):
        loaded(tmp_path)
    with pytest.raises(DataError, match="there is no such folder; read are"):
        loaded(tmp_path / "only" / "1.png")


def words(root: Path, shift: int = 0) -> None:
    """Images of 16 bits of two classes, none alike."""
    for number in range(20):
        values = numpy.full((4, 6), 1000 + 3000 * number, numpy.uint16) + numpy.uint16(shift)
        save(root / "ab"[number % 2] / f"{number}.png", values)


@pytest.mark.parametrize("kept_from", [100, 5])
def test_sixteen_bits_are_kept_apart_and_not_clipped(
    tmp_path: Path, kept_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded, "_KEPT_FROM", kept_from)
    words(tmp_path)
    for _ in range(2):
        forget_loaded()
        data = loaded(tmp_path, greyscale=True)
        assert data.train.x.dtype == torch.float32
        parts = (data.train, data.validation, data.test)
        found = sorted(round(float(value) * 65535) for part in parts for value in part.x[:, 0, 0, 0])
        assert found == [1000 + 3000 * number for number in range(20)]
    assert loaded(tmp_path, resize=3).shape == (3, 3, 3)


def test_one_image_of_more_bits_makes_all_of_them_numbers_from_0_to_1(pets: Path) -> None:
    save(pets / "cat" / "deep.png", numpy.full((4, 6), 65535, numpy.uint16))
    data = loaded(pets)
    values = torch.cat([part.x[:, :, 0, 0] for part in (data.train, data.validation, data.test)])
    assert (float(values.min()), float(values.max())) == (0, 1)
    assert (values[:, 0] * 255).round().unique().tolist() == [0, 200, 255]
    assert "1 image of 16 bits a pixel, 20 of 8: black is 0 and white 1 in either" in data.notes
    save(pets / "cat" / "float.tif", numpy.full((4, 6), -0.5, numpy.float32))
    with pytest.raises(DataError, match=r"cat/float\.tif holds floating-point numbers .*, and cat/.*\.png bytes or 16"):
        loaded(pets)


def test_floating_point_images_are_kept_as_they_are(tmp_path: Path) -> None:
    for number in range(20):
        save(tmp_path / "ab"[number % 2] / f"{number}.tif", numpy.full((4, 6), number - 7.25, numpy.float32))
    data = loaded(tmp_path, greyscale=True)
    parts = (data.train, data.validation, data.test)
    assert sorted(float(value) for part in parts for value in part.x[:, 0, 0, 0]) == [n - 7.25 for n in range(20)]


def test_a_validation_part_of_its_own_is_used(pets: Path) -> None:
    root = pets.parent / "parted"
    root.mkdir()
    pets.rename(root / "Training")
    for part, first in (("valid", 100), ("Testing", 150)):
        for number in range(first, first + 3):
            picture(root / part / "cat" / f"{number}.png", (200, number, 0))
            picture(root / part / "dog" / f"{number}.png", (0, number, 200))
    data = loaded(root)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [20, 6, 6]
    assert data.names == ("cat", "dog")
    for file in (root / "valid").glob("*/*"):
        picture(file, (200, 100, 0), (9, 9))
    forget_loaded()
    with pytest.raises(DataError, match=r"images of train and validation differ in size \(4×6 and 9×9\)"):
        loaded(root)
    data = loaded(root, own_validation=False)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [16, 4, 6]
    assert "folder 'valid' (6 images) beside 'Training' is no part and is left out" in data.notes


def test_sets_of_links_are_told_apart_and_never_share_what_was_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded, "_KEPT_FROM", 5)
    digests = []
    for number, name in enumerate(("one", "two")):
        words(tmp_path / "store" / name, shift=number)
        (tmp_path / name).mkdir()
        for each in "ab":
            (tmp_path / name / each).symlink_to(tmp_path / "store" / name / each, target_is_directory=True)
        digests.append(own_digest(f"folder:{tmp_path / name}"))
        data = loaded(tmp_path / name, greyscale=True)
        assert {round(float(value) * 65535) % 1000 for value in data.train.x.ravel()} == {number}
    assert digests[0] != digests[1]
    # The link leads elsewhere, to files of the same names and sizes.
    for each in "ab":
        (tmp_path / "one" / each).unlink()
        (tmp_path / "one" / each).symlink_to(tmp_path / "store" / "two" / each, target_is_directory=True)
    forget_loaded()
    data = loaded(tmp_path / "one", greyscale=True)
    assert {round(float(value) * 65535) % 1000 for value in data.train.x.ravel()} == {1}
    assert own_digest(f"folder:{tmp_path / 'one'}") == digests[1]


def test_what_was_decoded_is_kept_and_mapped(
    pets: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = loaded(pets)
    monkeypatch.setattr(decoded, "_KEPT_FROM", 5)
    for _ in range(2):
        forget_loaded()
        kept = loaded(pets)
        for name in ("train", "validation", "test"):
            assert torch.equal(getattr(kept, name).x, getattr(plain, name).x)
            assert torch.equal(getattr(kept, name).y, getattr(plain, name).y)
    assert capsys.readouterr().err.count("decoding 20 images") == 1
    assert len(list((data_folder / "decoded").iterdir())) == 2
    picture(pets / "cat" / "3.png", (250, 3, 0))
    forget_loaded()
    assert 250 in torch.cat(
        [part.x[:, 0, 0, 0] for part in (loaded(pets).train, loaded(pets).validation, loaded(pets).test)]
    )


def test_a_data_folder_that_cannot_be_written_is_done_without(
    pets: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded, "_KEPT_FROM", 5)
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
    picture(cracks / "masks" / "alone.png", (9, 0, 0))
    with pytest.raises(DataError, match=r"alone\.png: is an image of colours"):
        loaded(cracks, "masks")
    Image.new("L", (9, 9)).save(cracks / "masks" / "alone.png")
    for resize in (None, 4):
        with pytest.raises(DataError, match=r"alone\.png: is 9×9, its image 4×6"):
            loaded(cracks, "masks", resize=resize)
    (cracks / "masks").rename(cracks / "mask")
    with pytest.raises(DataError, match="has no folder 'masks'"):
        loaded(cracks, "masks")
