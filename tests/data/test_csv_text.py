"""Encodings, separators, decimal commas and headers of tables, as programs write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lossforge.data.csv_text import Table, read_table
from lossforge.errors import DataError

ROWS = ["5.1,3.5,1", "4.9,3.0,2", "6.2,2.2,1"]


def table(folder: Path, text: str | list[str], label: str = "", encoding: str = "utf-8") -> Table:
    path = folder / "table.csv"
    path.write_bytes((text if isinstance(text, str) else "\n".join(text) + "\n").encode(encoding))
    return read_table(path, label)


@pytest.mark.parametrize(
    "header",
    [
        "a,b,class",
        "0,1,class",
        "0,1,2",
        "1,2,3",
        '"weight, kg","height, cm",class',
        "2019,2020,class",
        "a,2020,class",
        "a,b,1",
        "a,,class",
        "a,b,",
    ],
)
def test_a_first_row_of_names_is_a_header(tmp_path: Path, header: str) -> None:
    found = table(tmp_path, [header, *ROWS])
    assert found.headed
    assert found.rows == [row.split(",") for row in ROWS]
    assert found.lines == [2, 3, 4]


@pytest.mark.parametrize(
    "first", ["?,3.1,1", ",3.1,1", "NA,NA,2", "4.8,nan,1", "4.8,abc,1", "4.8,3.1,?", "0,2,1", "4.8,inf,1", "1e3,-.5,+1"]
)
def test_a_first_row_of_values_is_a_sample(tmp_path: Path, first: str) -> None:
    found = table(tmp_path, [first, *ROWS])
    assert not found.headed
    assert found.rows[0] == first.split(",")


def test_words_are_a_header_where_they_are_no_value_below(tmp_path: Path) -> None:
    weather = ["sunny,hot,no", "rainy,mild,yes", "sunny,mild,yes", "rainy,hot,no"]
    assert table(tmp_path, ["outlook,heat,play", *weather]).headed
    assert not table(tmp_path, weather).headed
    named = ["5.1,3.5,setosa", "4.9,3.0,virginica", "6.2,2.2,virginica"]
    assert not table(tmp_path, named).headed  # a class of one sample
    assert not table(tmp_path, ["0,1,2", "5,3,1", "4,3,2"]).headed
    assert table(tmp_path, ["0,1,species", *named]).headed
    assert table(tmp_path, [",0,1,species", *(f"{place},{row}" for place, row in enumerate(named))]).headed


def test_a_header_that_only_counts_is_told(tmp_path: Path) -> None:
    found = table(tmp_path, ["0,1,2,3", "5.1,3.5,1.4,1", "4.9,3.0,1.5,3"])
    assert found.headed
    assert "(0, 1, 2, 3 ...) counts the columns and is taken for a header" in found.notes[0]


def test_a_label_is_found_by_its_name_and_without_names_by_its_number(tmp_path: Path) -> None:
    assert table(tmp_path, ["a,b,c", *ROWS]).find("b") == 1
    assert table(tmp_path, ROWS, "1").find("1") == 0
    with pytest.raises(DataError, match=r"has no column '4' \(its columns have no names\)"):
        table(tmp_path, ROWS, "4").find("4")
    with pytest.raises(DataError, match="has two columns 'a'"):
        table(tmp_path, ["a,a,c", *ROWS]).find("a")
    # A name says that the first row is a header, whatever is below.
    assert table(tmp_path, ["x,y,z", "x,b,z", "q,b,r"], "z").headed


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_ends_of_lines(tmp_path: Path, encoding: str, end: str) -> None:
    found = table(tmp_path, end.join(["größe,b,class", *ROWS, "", " , ,", ""]), encoding=encoding)
    assert found.names == ["größe", "b", "class"]
    assert found.rows == [row.split(",") for row in ROWS]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_and_quotes(tmp_path: Path, separator: str) -> None:
    rows = [row.replace(",", separator) for row in ROWS]
    header = separator.join(['"a, or A; or a|A"', "b", '"the ""class"""'])
    found = table(tmp_path, [header, *rows])
    assert found.names == ["a, or A; or a|A", "b", 'the "class"']
    assert found.rows == [row.split(",") for row in ROWS]
    assert table(tmp_path, [f"sep={separator}", header, *rows]).rows == found.rows
    assert table(tmp_path, [row + separator for row in rows]).names == ["", "", ""]  # each row ends with one


def test_decimal_commas_are_read_and_told(tmp_path: Path) -> None:
    rows = [row.replace(",", ";").replace(".", ",") for row in ROWS]
    found = table(tmp_path, ["a;b;class", *rows])
    assert found.rows == [row.split(",") for row in ROWS]
    assert found.notes == ("commas within numbers are read as decimal commas",)
    assert table(tmp_path, [row.replace(";", "\t") for row in rows]).rows == found.rows
    with pytest.raises(DataError, match=r"line 2 holds 5,1 and line 3 holds 4\.9; write all numbers with"):
        table(tmp_path, ["a;b;class", "5,1;3;1", "4.9;3;2"])


CELLS = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None, max_examples=60)
@given(
    numbers=st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=2, max_size=8),
    named=st.booleans(),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
@example(numbers=[[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]], named=False, separator=",", encoding="utf-8")
def test_a_table_of_numbers_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[list[float]], named: bool, separator: str, encoding: str
) -> None:
    lines = [separator.join(map(repr, row)) for row in numbers]
    header = [separator.join(["a", "b", "class"])] if named else []
    found = table(tmp_path_factory.mktemp("csv"), header + lines, encoding=encoding)
    assert found.headed == named
    assert [[float(cell) for cell in row] for row in found.rows] == numbers
