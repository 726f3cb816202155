"""Labels: which are the same class, which are none, and that their order is nobody's accident."""

from __future__ import annotations

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossforge.data.labels import as_labels, as_plain, from_labels, labels_of_text
from lossforge.errors import DataError


def read(cells: list[str]) -> list[int] | list[str]:
    found: list[int] | list[str] = labels_of_text(cells, lambda place: f"line {place + 1}", "a.csv", "name it").tolist()
    return found


def test_numbers_of_one_value_are_one_class() -> None:
    assert read(["1", "1.0", " 01", "1e0", "+1", "-0", "0.0"]) == [1, 1, 1, 1, 1, 0, 0]
    assert read(["1", "1.0", "one", "2.50", "2.5"]) == ["1", "1", "one", "2.5", "2.5"]


@pytest.mark.parametrize("missing", ["", "  ", "?", "nan", "NaN", "NA", "N/A", "null", "<NA>", "#N/A"])
@pytest.mark.parametrize("others", [["0", "1"], ["cat", "dog"]])
def test_a_missing_label_is_no_class(missing: str, others: list[str]) -> None:
    with pytest.raises(DataError, match=r"a\.csv: line 3 has no label.*; give it one, or take it out"):
        read([*others, missing])


def test_none_is_a_class_among_words_and_missing_among_numbers() -> None:
    assert read(["None", "Mild"]) == ["None", "Mild"]
    with pytest.raises(DataError, match=r"line 2 has no label \('None'\)"):
        read(["1", "None"])


@pytest.mark.parametrize("wrong", ["0.5", "inf", "-Infinity", "1e30", "1e999999", "12345678901234567890123"])
def test_numbers_that_number_no_class_are_refused(wrong: str) -> None:
    with pytest.raises(DataError, match=r"not whole numbers \(line 2 has '.*'\).*; name it"):
        read(["1", wrong])


def test_large_numbers_stay_apart() -> None:
    assert read(["100000000000000001", "100000000000000002"]) == [100000000000000001, 100000000000000002]


@given(st.lists(st.sampled_from(["1", "1.0", "2", "-3", "yes", "no", "None", "x y"]), min_size=2), st.randoms())
def test_classes_do_not_depend_on_the_order_of_rows(cells: list[str], random: object) -> None:
    if len({as_plain(cell) for cell in cells}) < 2 or all(cell in ("None", "1", "1.0", "2", "-3") for cell in cells):
        return
    order = list(range(len(cells)))
    random.shuffle(order)  # type: ignore[attr-defined]
    x = numpy.zeros((len(cells), 1, 1, 1), numpy.float32)
    one = from_labels((x, numpy.asarray(read(cells))), "a.csv")
    other = from_labels((x, numpy.asarray(read([cells[place] for place in order]))), "a.csv")
    assert one.names == other.names
    assert one.train.y[order].tolist() == other.train.y.tolist()


@pytest.mark.parametrize("dtype", [numpy.uint8, numpy.int64, numpy.uint64, numpy.float32, bool, str, "S"])
@pytest.mark.parametrize("column", [True, False])
def test_labels_of_every_type(dtype: object, column: bool) -> None:
    y = numpy.asarray([0, 1, 1, 0]).astype(dtype)  # type: ignore[call-overload]
    if dtype is str:
        assert y.dtype.kind == "U"
    assert as_labels(y[:, None] if column else y, 4, "y").tolist() == [0, 1, 1, 0]


def test_words_are_labels() -> None:
    words = numpy.asarray(["cat", "dög", "cat"])
    for y in (words, words[:, None], numpy.char.encode(words, "utf-8")):
        assert as_labels(y, 3, "y").tolist() == ["cat", "dög", "cat"]
    with pytest.raises(DataError, match="no UTF-8 text"):
        as_labels(numpy.asarray([b"\xff", b"a"]), 2, "y")
    with pytest.raises(DataError, match="sample 1 has no label"):
        as_labels(numpy.asarray(["cat", ""]), 2, "y")


@pytest.mark.parametrize("dtype", [numpy.uint8, numpy.float64, bool])
def test_one_hot_rows_are_labels(dtype: type) -> None:
    assert as_labels(numpy.eye(5)[[4, 0, 2]].astype(dtype), 3, "y").tolist() == [4, 0, 2]


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (numpy.asarray([0, numpy.inf]), "holds inf, which is no whole number; a label is"),
        (numpy.asarray([0, numpy.nan]), "holds nan, which is no whole number; a label is"),
        (numpy.asarray([0, 1e30]), r"holds 1e\+30, which is no whole number within ±9,007,199,254,740,992"),
        (numpy.asarray([0, 0.25], numpy.float32), "holds 0.25, which is no whole number; "),
        (numpy.asarray([0, 2**64 - 1], numpy.uint64), r"holds 18446744073709551615, which is no .* within ±9,223,3"),
        (numpy.asarray([[1, 1, 0], [0, 0, 1]]), r"several labels for a sample, or none \(1 of 2 rows; row 0 has 2\)"),
        (
            numpy.asarray([[0, 1], [0, 0]]),
            r"row 1 has 0\); to train all of them, set task\.head = .sigmoid.; for one class a sample keep one",
        ),
        (numpy.asarray([[0.2, 0.8], [0.5, 0.5]]), "look like probabilities; give each sample one label"),
        (numpy.asarray([[1, 7], [2, 9]]), "rows that are not one-hot"),
        (numpy.asarray([[["a"]], [["b"]]]), r"has shape \(2, 1, 1\); it must be \(2,\)"),
        (numpy.asarray([1, 2, 3]), r"has shape \(3,\); it must be \(2,\)"),
        (numpy.asarray(["2020-01-01", "2020-01-02"], "datetime64[D]"), "holds datetime64"),
    ],
)
def test_what_is_no_label_is_refused_and_never_wrapped(
    array: numpy.ndarray[tuple[int], numpy.dtype], told: str
) -> None:
    with pytest.raises(DataError, match=told):
        as_labels(array, 2, "a.npz: 'y_train'")


def test_parts_of_which_one_has_words_only_are_of_one_kind() -> None:
    x = numpy.zeros((3, 1, 1, 1), numpy.float32)
    raw = from_labels(
        (x, as_labels(numpy.asarray(["1", "2", "other"]), 3, "y")),
        "a.npz",
        validation=(x[:1], as_labels(numpy.asarray([2]), 1, "y")),
        test=(x[:2], as_labels(numpy.asarray(["1", "1"]), 2, "y")),
    )
    assert raw.names == ("1", "2", "other")
    assert raw.validation is not None
    assert raw.test is not None
    assert (raw.train.y.tolist(), raw.validation.y.tolist(), raw.test.y.tolist()) == ([0, 1, 2], [1], [0, 0])
