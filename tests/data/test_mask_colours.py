"""Masks of colours, and grey masks that a threshold parts: every colour is a class that was named, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from tests.helpers.folders import loaded, picture, save

from lossforge.data.changes import own_data_digest, unchanged
from lossforge.data.mask_colours import ColourTable
from lossforge.data.samples import IGNORED
from lossforge.errors import DataError

COLOURS = {"ground": [0, 0, 0], "water": [0, 0, 255], "tree": [0, 255, 0]}
PAIRS = tuple((name, (red, green, blue)) for name, (red, green, blue) in COLOURS.items())
TABLE = "name,r,g,b\n" + "".join(f"{name},{red},{green},{blue}\n" for name, (red, green, blue) in PAIRS)


def mask_of(number: int) -> Any:
    """Classes ``(H, W)`` in blocks of 8×8, as JPEG has them."""
    return numpy.kron([[number % 3, (number + 1) % 3]], numpy.ones((8, 8), dtype=int))


def colours_of(mask: Any) -> Any:
    return numpy.array([colour for _, colour in PAIRS], dtype=numpy.uint8)[mask]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Twelve images of 8×16 that are red as their number says."""
    for number in range(12):
        picture(tmp_path / "images" / f"{number}.png", (number, 0, 0), (16, 8))
    (tmp_path / "masks").mkdir()
    return tmp_path


def mask_all(root: Path, kind: str = "png", **options: Any) -> None:
    for number in range(12):
        save(root / "masks" / f"{number}.{kind}", colours_of(mask_of(number)), **options)


def expect(data: Any, names: tuple[str, ...] = tuple(COLOURS)) -> None:
    assert data.names == names
    for part in (data.train, data.validation, data.test):
        for x, y in zip(part.x, part.y, strict=True):
            assert y.tolist() == mask_of(int(x[0, 0, 0])).tolist()


def test_colours_are_classes_in_the_tables_order(pairs: Path) -> None:
    mask_all(pairs)
    expect(loaded(pairs, "masks", mask_colours=COLOURS))
    small = loaded(pairs, "masks", mask_colours=COLOURS, resize=[4, 8])
    assert small.train.y.shape[1:] == (4, 8)
    assert small.train.y.unique().tolist() == [0, 1, 2]


@pytest.mark.parametrize("place", [".", "train"])
def test_colours_are_those_of_the_datas_own_table(pairs: Path, place: str) -> None:
    mask_all(pairs)
    if place == "train":
        (pairs / "train").mkdir()
        for kind in ("images", "masks"):
            (pairs / kind).rename(pairs / "train" / kind)
    with pytest.raises(DataError, match=r"task\.mask_colours: there is no 'class_dict\.csv' in .*; put it there"):
        loaded(pairs, "masks", mask_colours="class_dict.csv")
    (pairs / place / "class_dict.csv").write_text(TABLE)
    expect(loaded(pairs, "masks", mask_colours="class_dict.csv"))


def test_the_datas_table_is_of_the_data(pairs: Path) -> None:
    mask_all(pairs)
    before = own_data_digest(pairs, "masks")
    (pairs / "class_dict.csv").write_text(TABLE)
    with_table = own_data_digest(pairs, "masks")
    assert before != with_table
    # A run that began before anybody looked at such tables goes on.
    assert unchanged(pairs, "masks", before)
    first = loaded(pairs, "masks", mask_colours="class_dict.csv")
    (pairs / "class_dict.csv").write_text(TABLE.replace("water", "sea"))
    assert not unchanged(pairs, "masks", with_table)
    assert loaded(pairs, "masks", mask_colours="class_dict.csv").names != first.names


def test_without_their_names_colours_are_refused_with_the_remedy(pairs: Path) -> None:
    mask_all(pairs)
    with pytest.raises(DataError, match=r"is an image of colours \(RGB\).* task\.mask_colours .*class_dict\.csv"):
        loaded(pairs, "masks")


def test_a_palette_of_the_colours_is_read_as_colours(pairs: Path) -> None:
    for number in range(12):
        image = Image.fromarray(mask_of(number).astype(numpy.uint8)).convert("P")
        image.putpalette([value for _, colour in PAIRS for value in colour])
        image.save(pairs / "masks" / f"{number}.png")
    expect(loaded(pairs, "masks", mask_colours=COLOURS))


def test_an_unnamed_colour_is_told_with_file_place_and_remedy(pairs: Path) -> None:
    mask_all(pairs)
    wrong = colours_of(mask_of(3))
    wrong[2:4, 2] = (10, 0, 250)
    save(pairs / "masks" / "3.png", wrong)
    told = (
        r"3\.png: holds the colour \[10, 0, 250\] \(2 pixels\), which no class has \(the nearest is 'water'\); give "
        r"its class in task\.mask_colours, .* task\.nearest_colour = true"
    )
    with pytest.raises(DataError, match=told) as caught:
        loaded(pairs, "masks", mask_colours=COLOURS)
    assert "\n" not in str(caught.value)
    near = loaded(pairs, "masks", mask_colours=COLOURS, nearest_colour=True)
    assert near.names == tuple(COLOURS)


def test_blurred_colours_are_the_nearest_where_that_is_asked_for(pairs: Path) -> None:
    mask_all(pairs, "jpg", quality=60)
    with pytest.raises(DataError, match=r"which no class has; so have \d+ other colours"):
        loaded(pairs, "masks", mask_colours=COLOURS)
    expect(loaded(pairs, "masks", mask_colours=COLOURS, nearest_colour=True))
    expect(loaded(pairs, "masks", mask_colours=COLOURS, mask_threshold=128))


def test_a_class_of_a_colour_may_be_ignored(pairs: Path) -> None:
    mask_all(pairs)
    data = loaded(pairs, "masks", mask_colours=COLOURS, ignore="water")
    assert data.names == ("ground", "tree")
    for x, y in zip(data.train.x, data.train.y, strict=True):
        wanted = numpy.array([0, IGNORED, 1])[mask_of(int(x[0, 0, 0]))]
        assert y.tolist() == wanted.tolist()


def test_a_threshold_makes_two_classes_of_jpegs(pairs: Path) -> None:
    for number in range(12):
        save(pairs / "masks" / f"{number}.jpg", (mask_of(number) == 1).astype(numpy.uint8) * 255, quality=60)
    data = loaded(pairs, "masks", mask_threshold=128)
    assert data.names == ("0", "1")
    for x, y in zip(data.train.x, data.train.y, strict=True):
        assert torch.equal(y, torch.from_numpy(mask_of(int(x[0, 0, 0])) == 1))
    mask_all(pairs, "jpg")
    with pytest.raises(DataError, match=r"is an image of colours \(RGB\), and task\.mask_threshold is for grey ones"):
        loaded(pairs, "masks", mask_threshold=129)


def test_arrays_have_colours_and_thresholds_too(tmp_path: Path) -> None:
    masks = numpy.stack([mask_of(number) for number in range(12)])
    x = numpy.repeat(numpy.arange(12, dtype=numpy.uint8)[:, None, None], 8, 1).repeat(16, 2)
    numpy.savez(tmp_path / "a.npz", x_train=x, m_train=colours_of(masks))
    expect(loaded(tmp_path / "a.npz", "masks", mask_colours=COLOURS))
    numpy.savez(tmp_path / "b.npz", x_train=x, m_train=masks * 100)
    data = loaded(tmp_path / "b.npz", "masks", mask_threshold=128)
    assert torch.equal(data.train.y[0], torch.from_numpy(mask_of(int(data.train.x[0, 0, 0, 0])) == 2))
    with pytest.raises(DataError, match=r"'m_train': is int64 of shape .*; masks of colours .* are uint8, \(N, H, W"):
        loaded(tmp_path / "b.npz", "masks", mask_colours=COLOURS)


NEAREST = ColourTable(PAIRS, nearest=True)


@given(arrays(numpy.uint8, (3, 4, 3)))
def test_the_nearest_colour_is_the_one_of_least_distance(colours: Any) -> None:
    distances = ((colours[..., None, :].astype(int) - numpy.array([own for _, own in PAIRS])) ** 2).sum(-1)
    assert (NEAREST.numbers(colours, "x") == distances.argmin(-1)).all()


@given(st.lists(st.sampled_from(range(3)), min_size=1, max_size=20))
def test_named_colours_are_their_numbers(numbers: list[int]) -> None:
    mask = numpy.array([numbers])
    assert ColourTable(PAIRS).numbers(colours_of(mask), "x").tolist() == mask.tolist()
