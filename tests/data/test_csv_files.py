from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lossforge.data.augmentation import Preparation
from lossforge.data.csv_files import read_csv
from lossforge.data.datasets import load_task
from lossforge.data.samples import Form
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
        (["1,2,0", "1,2"], "line 2 has 2 columns, the first row 3"),
        (["a,b,class", "1,2,0", "1,,1"], "line 3, column 'b' holds nothing; a feature must be a finite number"),
        (["1,2,0", "1,x,1"], "line 2, column 2 holds 'x'"),
        (["1,2,0", "1,inf,1"], "line 2, column 2 holds 'inf'"),
        (["1,2,0", "1,nan,1"], "line 2, column 2 holds 'nan'"),
        (["1,2,0", "1,1e300,1"], "line 2, column 2 holds '1e300'"),
        (["1,2,0", "1,3,"], "line 2 has no label"),
        (["1,2,0.5", "1,3,1.5"], r"the labels are not whole numbers \(line 1 has '0.5'\); .*; name their column"),
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
    for content in (b"1,2,\xe9t\xe9\n", "1,2,0\n1,3,1\n".encode("utf-16-le"), b"\xff\xfe1,2"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="save it as UTF-8"):
            loaded(str(path))


def test_what_is_for_images_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, ROWS)
    with pytest.raises(DataError, match=r"task\.resize: is for images"):
        load_task(TaskSection(data=f"csv:{path}", resize=8), "cpu")
    with pytest.raises(DataError, match=r"task\.augmentation: is for images"):
        Preparation(AugmentationSection(flip=True), None, (3, 1, 1))


def test_a_column_that_only_counts_the_rows_is_left_out_and_told(tmp_path: Path) -> None:
    for name, first in (("", 0), ("id", 1), ("Unnamed: 0", 0), (None, 1), ("#", 1)):
        rows = [f"{place + first},{value}" for place, value in enumerate(ROWS)]
        path = write(tmp_path, ([] if name is None else [f"{name},a,b,c,class"]) + rows)
        data = loaded(str(path))
        assert data.shape == (3, 1, 1)
        (told,) = (note for note in data.notes if "is left out" in note)
        assert "(task.drop_index = false keeps it)" in told
        kept = load_task(TaskSection(data=f"csv:{path}", drop_index=False), "cpu")
        assert kept.shape == (4, 1, 1)


def test_a_column_that_names_the_rows_is_left_out_and_one_that_may_say_something_is_not(tmp_path: Path) -> None:
    rows = [f"{(place * 7) % 30},{place},{value}" for place, value in enumerate(ROWS)]
    data = loaded(str(write(tmp_path, ["row_id,day,a,b,c,class", *rows])))
    assert [name for name, _ in data.columns] == ["day", "a", "b", "c"]
    assert [note.partition(" and ")[0].partition(";")[0] for note in data.notes] == [
        "column 'row_id' has another value in every row",
        "column 'day' counts the rows",
    ]
    chosen = load_task(TaskSection(data=f"csv:{tmp_path / 'table.csv'}", drop_columns=("day", "c")), "cpu")
    assert [name for name, _ in chosen.columns] == ["a", "b"]
    with pytest.raises(DataError, match="has no column 'days'"):
        load_task(TaskSection(data=f"csv:{tmp_path / 'table.csv'}", drop_columns=("days",)), "cpu")


def test_a_table_of_nothing_but_an_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no feature beside its label"):
        loaded(str(write(tmp_path, ["id,class", *(f"{place},{place % 2}" for place in range(20))])))


GAPS = ["a,city,b,class", *(f"{'' if i % 5 == 1 else i},{'AB?'[i % 3]},{i % 4 or 'NA'},{i % 2}" for i in range(40))]


def test_missing_values_are_refused_with_their_place_and_the_key(tmp_path: Path) -> None:
    path = write(tmp_path, GAPS)
    with pytest.raises(DataError, match=r"line 3, column 'a' holds nothing; .* set task\.impute = \"median\""):
        loaded(str(path))
    with pytest.raises(DataError, match=r"line 2, column 'city' holds 'A'; .* set task\.one_hot = true"):
        load_task(TaskSection(data=f"csv:{path}", impute="mean"), "cpu")


@pytest.mark.parametrize("how", ["mean", "median", "most_frequent"])
def test_missing_values_are_filled_from_the_training_part_alone(tmp_path: Path, how: str) -> None:
    path = write(tmp_path, GAPS)
    data = load_task(TaskSection(data=f"csv:{path}", impute=how, one_hot=True, drop_duplicates=False), "cpu")
    assert data.columns == (("a", 1), ("city", 3), ("b", 1))
    assert any(note == "missing values that are filled from the training part (task.impute): 18" for note in data.notes)
    # Every known number of column a is another: what occurs twice is what was filled in.
    known = [float(x) for x in data.train.x[:, 0, 0, 0]]
    (filled,) = {x for x in known if known.count(x) > 1}
    own = [x for x in known if x in range(40) and int(x) % 5 != 1 and x != filled] + (
        [filled] if filled in range(40) and int(filled) % 5 != 1 else []
    )
    expected = {"mean": statistics.fmean(own), "median": statistics.median(own), "most_frequent": min(own)}[how]
    assert filled == pytest.approx(expected)
    for part in (data.validation, data.test):
        assert filled in part.x[:, 0, 0, 0].tolist()


def test_categories_become_features_in_an_order_of_their_own(tmp_path: Path) -> None:
    rows = [f"{['c10', 'c9', 'Z'][i % 3]},{i % 3},{i},{i % 2}" for i in range(40)]
    path = write(tmp_path, ["kind,code,a,class", *rows])
    data = load_task(TaskSection(data=f"csv:{path}", one_hot=("kind", "code")), "cpu")
    assert data.columns == (("kind", 3), ("code", 3), ("a", 1))
    for x in data.train.x[:, :, 0, 0].tolist():
        number = int(x[6])
        kind = ("c10", "c9", "Z")[number % 3]
        assert x[:3] == [float(name == kind) for name in ("Z", "c10", "c9")]
        assert x[3:6] == [float(place == number % 3) for place in range(3)]
    with pytest.raises(DataError, match=r"column 'a' has 40 different values in 40 rows, too many for task\.one_hot"):
        load_task(TaskSection(data=f"csv:{path}", one_hot=("kind", "a")), "cpu")


def test_a_split_does_not_depend_on_the_seed_of_hashes(tmp_path: Path) -> None:
    rows = [f"{i % 7 / 8},{['red', 'green', 'blue', 'violet'][i % 4]},{'ABCDE'[i % 5]}" for i in range(60)]
    path = write(tmp_path, ["a,colour,class", *rows])
    script = (
        "import sys; from lossforge.data.datasets import load_task; from lossforge.spaces.schema import TaskSection\n"
        "data = load_task(TaskSection(data=sys.argv[1], one_hot=True, drop_duplicates=False), 'cpu')\n"
        "print(data.names, [(part.x.tolist(), part.y.tolist()) for part in (data.train, data.validation, data.test)])"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", script, f"csv:{path}"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert told[0] == told[1]
    assert told[0].startswith("('A', 'B', 'C', 'D', 'E')")


def test_labels_of_one_value_are_one_class(tmp_path: Path) -> None:
    rows = [f"{i / 2},{('0', '1', '1.0', '0.0')[i % 4]}" for i in range(40)]
    data = loaded(str(write(tmp_path, rows)))
    assert data.names == ("0", "1")
    assert sorted(set(data.train.y.tolist())) == [0, 1]
    for x, y in zip(data.train.x.flatten().tolist(), data.train.y.tolist(), strict=True):
        assert y == (int(2 * x) % 4 in (1, 2))


FLOAT32 = st.floats(-(2.0**126), 2.0**126, width=32)


@settings(deadline=None, max_examples=25)
@given(numbers=st.lists(st.tuples(FLOAT32, FLOAT32, FLOAT32), min_size=4, max_size=12))
def test_any_table_of_finite_numbers_is_read_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[tuple[float, ...]]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    lines = [",".join([*map(repr, row), str(place % 2)]) for place, row in enumerate(numbers)]
    path.write_text("\n".join(["a,b,c,class", *lines]), encoding="utf-8")
    raw = read_csv(str(path), Form())
    assert raw.train.x[:, :, 0, 0].tolist() == [list(row) for row in numbers]
    assert raw.train.y.tolist() == [place % 2 for place in range(len(numbers))]
