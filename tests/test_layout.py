"""Tables at every width: numbers, names and operands stay whole, and nothing is lost."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.trees import law, trees

from lossforge.expression.tree import format_formula
from lossforge.layout import Column, Line, facts, table, wrapped

TOKEN = re.compile(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?|[A-Za-z_]\w*")
NUMBERS = st.floats(-99, 99).map(lambda value: f"{value:+.2f}")
INTERVALS = st.tuples(NUMBERS, NUMBERS, NUMBERS).map(lambda three: f"{three[0]} [{three[1]}, {three[2]}] *")
FORMULAS = trees(max_leaves=12).map(format_formula)
WIDTHS = st.sampled_from([40, 60, 80, 120, 100_000]) | st.integers(20, 200)


def text_of(lines: list[Line]) -> list[str]:
    return ["".join(part for part, _ in line) for line in lines]


@law(60)
@given(formula=FORMULAS, width=WIDTHS)
def test_a_wrapped_formula_has_every_token_whole_and_in_order(formula: str, width: int) -> None:
    lines = wrapped(formula, width)
    assert TOKEN.findall("\n".join(lines)) == TOKEN.findall(formula)
    assert "".join("".join(lines).split()) == "".join(formula.split())
    for line in lines:
        assert len(line) <= width or not re.search(r" |\((?!\(|$)", line)


@law(60)
@given(rows=st.lists(st.tuples(FORMULAS, INTERVALS, NUMBERS), min_size=1, max_size=4), width=WIDTHS)
def test_a_table_shows_every_cell_and_breaks_no_number(rows: list[tuple[str, str, str]], width: int) -> None:
    columns = [
        Column("rank"),
        Column("formula", "formula"),
        Column("size"),
        Column("gain in search"),
        Column("against cross entropy"),
        Column("against label smoothing"),
    ]
    cells = [
        [str(rank), formula, "7", gain, interval, interval] for rank, (formula, interval, gain) in enumerate(rows, 1)
    ]
    lines = text_of(table(columns, cells, width))
    whole = "\n".join(lines)
    for row in cells:
        for cell in (row[0], *row[2:]):
            assert cell in whole
    tokens = sorted(TOKEN.findall(whole))
    for row in cells:
        for token in TOKEN.findall(row[1]):
            assert token in tokens
    widest = max(len(INTERVAL) for INTERVAL in (cell[4] for cell in cells)) + 30
    if width > widest:
        pieces = [piece for row in cells for piece in re.findall(r"[^( ]*\(+|[^( ]+", row[1])]
        assert max(map(len, lines)) <= max(width, max(map(len, pieces)) + 8)
    if width == 100_000:
        assert len(lines) == 1 + len(rows)


@pytest.mark.parametrize(
    ("width", "first", "lines"),
    [
        (100, ["rank", "formula", "gain in search", "seeds"], 2),
        (60, ["rank", "gain in search", "seeds"], 4),
        (26, ["1"], 6),
    ],
    ids=["beside", "apart", "blocks"],
)
def test_the_formula_leaves_the_row_before_the_row_is_broken(width: int, first: list[str], lines: int) -> None:
    columns = [Column("rank"), Column("formula", "formula"), Column("gain in search"), Column("seeds")]
    rows = [["1", "-min(max(abs(y_pred), -1.63), sqrt(sqrt(y_true)))", "+3.05", "12"]]
    found = text_of(table(columns, rows, width))
    assert re.split(r" {2,}", found[0]) == first
    assert len(found) == lines
    assert lines < 6 or "  gain in search  +3.05" in found


def test_text_is_wrapped_in_its_own_column() -> None:
    columns = [Column("name"), Column("summary", "text")]
    lines = text_of(table(columns, [["digits", "handwritten digits, eight by eight"], ["b", "two"]], 34))
    assert lines == [
        "name    summary",
        "digits  handwritten digits, eight",
        "        by eight",
        "b       two",
    ]


def test_facts_hang_below_their_name() -> None:
    assert text_of(facts([("a name", "one two three"), ("b", "")], 15)) == [
        "a name  one two",
        "        three",
        "b       ",
    ]
