from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lossforge.data.augmentation import Preparation
from lossforge.data.datasets import load_task
from lossforge.errors import DataError
from lossforge.spaces.schema import AugmentationSection, TaskSection

ROWS = [f"{i * 0.5},{-i},7,{'yes' if i % 3 else 'no'}" for i in range(30)]


def write(folder: Path, lines: list[str]) -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def loaded(data: str) -> Any:
    return load_task(TaskSection(data=f"csv:{data}"), "cpu")


def test_the_last_column_is_the_label(tmp_path: Path) -> None:
    data = loaded(str(write(tmp_path, ROWS)))
    assert (data.shape, data.names) == ((3, 1, 1), ("no", "yes"))
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 4, 8)
    for part in (data.train, data.validation, data.test):
        for x, y in zip(part.x[:, :, 0, 0].tolist(), part.y.tolist(), strict=True):
            assert x[0] == -x[1] / 2
            assert y == (x[1] % 3 != 0)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_header_and_a_named_column_are_found(tmp_path: Path, separator: str) -> None:
    path = write(
        tmp_path, [line.replace(",", separator) for line in ["class,a,b", *(f"{i % 4},{i},1" for i in range(20))]]
    )
    data = loaded(f"{path}#label=class")
    assert data.names == ("0", "1", "2", "3")
    assert sorted(int(x) % 4 for x in data.train.x[:, 0, 0, 0]) == sorted(data.train.y.tolist())
    assert data.shape == (2, 1, 1)


def test_features_are_standardised_by_the_training_part(tmp_path: Path) -> None:
    data = loaded(str(write(tmp_path, ROWS)))
    inputs = Preparation(AugmentationSection(), data.scale, data.shape)(data.train.x)[:, :, 0, 0]
    assert torch.allclose(inputs.mean(0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(inputs.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-5)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "is empty"),
        (["a", "b"], "has one column"),
        (["a,b,class"], "has no rows below its header"),
        (["1,2,0", "1,2"], "row 2 has 2 columns, the first row 3"),
        (["a,b,class", "1,2,0", "1,,1"], "row 3, column 'b' holds nothing; a feature must be a finite number"),
        (["1,2,0", "1,x,1"], "row 2, column 2 holds 'x'"),
        (["1,2,0", "1,inf,1"], "row 2, column 2 holds 'inf'"),
        (["1,2,0", "1,nan,1"], "row 2, column 2 holds 'nan'"),
        (["1,2,0", "1,1e300,1"], "row 2, column 2 holds '1e300'"),
        (["1,2,0", "1,3,"], "row 2 has no label"),
        (["1,2,0.5", "1,3,1.5"], "the labels are not whole numbers; name their column"),
        (["1,2,0", "1,3,0"], "every sample has the same label"),
        (['1,2,"0', "1,3,0"], "cannot be read as .csv"),
    ],
)
def test_a_malformed_table_is_refused(tmp_path: Path, lines: list[str], told: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match=told) as caught:
        loaded(str(path))
    assert str(path) in str(caught.value)


def test_an_unknown_column_names_those_there_are(tmp_path: Path) -> None:
    path = write(tmp_path, ["a,b,class", "1,2,0", "1,2,1"])
    with pytest.raises(DataError, match=r"has no column 'kind' \(its first row is a, b, class\)"):
        loaded(f"{path}#label=kind")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"\xff\xfe1,2\n")
    with pytest.raises(DataError, match="save it as UTF-8"):
        loaded(str(path))


def test_what_is_for_images_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, ROWS)
    with pytest.raises(DataError, match=r"task\.resize: is for images"):
        load_task(TaskSection(data=f"csv:{path}", resize=8), "cpu")
    with pytest.raises(DataError, match=r"task\.augmentation: is for images"):
        Preparation(AugmentationSection(flip=True), None, (3, 1, 1))
