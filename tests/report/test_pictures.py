"""What pages and picture files are made of: ticks, cut lines, formulas, files."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossforge.export.latex import latex, latex_by_class
from lossforge.expression.branches import class_functions
from lossforge.expression.formula import parse_formula
from lossforge.report.chart import Chart, ticks
from lossforge.report.loss_picture import Shown, triangle
from lossforge.report.loss_words import in_words
from lossforge.report.mathml import mathml
from lossforge.report.picture import Picture
from lossforge.report.styles import MARKS


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_lie_inside_evenly_and_are_few(low: float, span: float) -> None:
    found = ticks(low, low + span)
    slack = 1e-6 * (span + abs(low))
    assert 1 <= len(found) <= 7
    assert all(low - slack <= one <= low + span + slack for one in found)
    steps = [second - first for first, second in pairwise(found)]
    assert all(math.isclose(step, steps[0], rel_tol=1e-3, abs_tol=slack) for step in steps)


def test_a_line_is_cut_at_the_edge_and_breaks_at_what_is_no_number() -> None:
    picture = Picture("x", "x")
    chart = Chart(picture, (0, 4), (0, 1))
    chart.line([0, 1, 2, 3, 4], [0.5, 1.5, math.nan, 0.2, 0.4], "own")
    first, second = (mark.points for mark in picture.marks)
    assert first[-1] == chart.place(0.5, 1.0)
    assert second == (chart.place(3, 0.2), chart.place(4, 0.4))


@pytest.mark.parametrize(
    "formula",
    [
        "-y_true * log(y_pred)",
        "square(exp(y_pred)) / sqrt(abs(y_true - 0.25)) - 1e-7",
        "aq(tanh(y_pred), max(sin(y_pred), y_true))",
        "max_c(y_pred) + sum_c(y_pred * y_true) - stop(y_pred)",
        "double(y_pred) where double(x) = 2 * x",
    ],
)
def test_formulas_are_typeset_whole(formula: str) -> None:
    tree = parse_formula(formula)
    texts = [latex(tree)] + ([] if tree.crosses_classes else [latex_by_class(class_functions(tree))])
    for text in texts:
        found = ElementTree.fromstring(mathml(text))
        assert not set("\\{}&") & set("".join(found.itertext()).replace("{", "", text.count("cases") // 2))


def test_every_style_of_a_mark_is_drawn_to_files(tmp_path: Path) -> None:
    picture = Picture("all", "1 < 2")
    for place, (name, style) in enumerate(MARKS.items()):
        y = 5.0 + 5 * place
        if style.kind == "text":
            picture.text(5, y, "$a_1", name, turned=True)
        elif style.kind == "line":
            picture.arrow((0, y), (9, y), name)
        else:
            picture.dot(5, y, 2, name)
            picture.box(20, y, 3, 2, name, "said")
    vector, pixels = picture.save(tmp_path)
    assert ElementTree.parse(vector).getroot().get("aria-label") == "1 < 2"
    assert pixels.read_bytes().startswith(b"\x89PNG")


def test_words_say_what_the_gradient_does() -> None:
    standard = Shown.of("-y_true * log(y_pred)", "softmax", 10)
    robust = Shown.of("-y_true * y_pred", "softmax", 10)
    assert standard is not None
    assert robust is not None
    assert all("about as hard" in sentence for sentence in in_words(standard))
    assert "ignored" in in_words(robust)[2] or "left alone" in in_words(robust)[2]
    assert Shown.of("sign(y_pred)", "softmax", 10) is None


def test_arrows_of_cross_entropy_point_to_the_true_class() -> None:
    shown = Shown.of("-y_true * log(y_pred)", "softmax", 3)
    assert shown is not None
    picture = triangle(shown, "x")
    assert picture is not None
    shafts = [mark.points for mark in picture.marks if mark.style == "arrow" and len(mark.points) == 2]
    assert len(shafts) > 50
    assert all(end[1] < start[1] for start, end in shafts)
