"""LaTeX and words: exactly the tree, and LaTeX that LaTeX can set."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from tests.helpers.trees import law, trees

from lossforge.export.latex import latex, latex_by_class, words
from lossforge.expression.branches import class_functions
from lossforge.expression.formula import parse_formula
from lossforge.expression.primitives import PRIMITIVES
from lossforge.expression.tree import Expression, call, constant, leaf
from lossforge.losses.library import LIBRARY, loss

WRITTEN = {
    "-y_true * log(y_pred)": r"-y \cdot \log \hat{y}",
    "log(y_pred) * y_true": r"\left(\log \hat{y}\right) \cdot y",
    "y_true * log(y_pred) * 2": r"\left(y \cdot \log \hat{y}\right) \cdot 2",
    "-log(y_pred) * y_true": r"\left(-\log \hat{y}\right) \cdot y",
    "-y_true * log(y_pred) + 1": r"-y \cdot \log \hat{y} + 1",
    "1 - y_true * log(y_pred)": r"1 - y \cdot \log \hat{y}",
    "y_pred + log(y_pred)": r"\hat{y} + \log \hat{y}",
    "log(y_true) * y_pred": r"\log\left|y\right| \cdot \hat{y}",
    "y_pred - -2": r"\hat{y} - \left(-2\right)",
    "y_pred + -2": r"\hat{y} + \left(-2\right)",
    "y_pred - -y_true": r"\hat{y} - \left(-y\right)",
    "y_pred - -y_true * 2": r"\hat{y} - \left(-y \cdot 2\right)",
    "y_pred - -log(y_pred)": r"\hat{y} - \left(-\log \hat{y}\right)",
    "y_pred - 0.00000015": r"\hat{y} - 1.5 \cdot 10^{-7}",
    "(y_true - y_pred)**2": r"\left(y - \hat{y}\right)^{2}",
    "y_pred - (y_true - 1)": r"\hat{y} - \left(y - 1\right)",
    "y_pred - y_true - 1": r"\hat{y} - y - 1",
    "(y_pred + 1) * y_true": r"\left(\hat{y} + 1\right) \cdot y",
    "y_pred * -2": r"\hat{y} \cdot \left(-2\right)",
    "-(y_pred + 1)": r"-\left(\hat{y} + 1\right)",
    "-(y_pred * 2)": r"-\left(\hat{y} \cdot 2\right)",
    "y_true / (y_pred + 1)": r"\frac{y}{\hat{y} + 1}",
    "exp(-y_pred)": r"e^{-\hat{y}}",
    "log(1 - y_pred)": r"\log\left|1 - \hat{y}\right|",
    "sqrt(y_true)": r"\sqrt{\left|y\right|}",
    "abs(y_true - y_pred)": r"\left|y - \hat{y}\right|",
    "max(y_pred, 0.5)": r"\max\left(\hat{y}, 0.5\right)",
    "aq(1, y_pred)": r"\frac{1}{\sqrt{1 + \left(\hat{y}\right)^{2}}}",
    "sigmoid(y_pred)": r"\sigma\left(\hat{y}\right)",
    "log(y_pred)**2": r"\left(\log \hat{y}\right)^{2}",
    "(y_pred**2)**2": r"\left(\hat{y}^{2}\right)^{2}",
    "(-2)**2": r"\left(-2\right)^{2}",
    "-0.00000015": r"-1.5 \cdot 10^{-7}",
    "1000000000000": "1000000000000",
}


@pytest.mark.parametrize("formula", WRITTEN)
def test_a_formula_is_written_as_it_stands(formula: str) -> None:
    assert latex(parse_formula(formula)) == WRITTEN[formula]


def test_a_loss_is_written_as_a_function_of_p_for_the_true_class_and_one_for_the_others() -> None:
    functions = class_functions(parse_formula("-y_true * log(y_pred) - y_pred"))
    assert latex_by_class(functions) == r"\begin{cases} -\log p - p & y = 1 \\ -p & y = 0 \end{cases}"
    assert latex_by_class(class_functions(parse_formula("y_pred**2"))) == "p^{2}"


@pytest.mark.parametrize("name", PRIMITIVES)
def test_every_primitive_has_latex_and_words(name: str) -> None:
    tree = call(name, *[leaf("y_pred"), leaf("y_true")][: PRIMITIVES[name].arity])
    assert r"\hat{y}" in latex(tree)
    assert "the predicted probability" in words(tree)
    if PRIMITIVES[name].arity == 2:
        assert re.search(r"(?<!\\hat\{)\by\b", latex(tree))
        assert "the target" in words(tree)


def groups_that_carry_an_exponent_twice(text: str) -> list[int]:
    """Places of ``^{..}^``, which LaTeX refuses as a double superscript."""
    places = []
    for start in (match.end() for match in re.finditer(r"\^\{", text)):
        depth, position = 1, start
        while depth:
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            position += 1
        if text[position : position + 1] == "^":
            places.append(position)
    return places


def assert_can_be_set(text: str) -> None:
    depth = 0
    for character in text:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0, text
    assert depth == 0, text
    delimiters: list[str] = []
    for side, delimiter in re.findall(r"\\(left|right)([(|)])", text):
        if side == "left":
            delimiters.append(delimiter)
        else:
            assert {"(": ")", "|": "|"}[delimiters.pop()] == delimiter, text
    assert delimiters == [], text
    assert set(re.findall(r"\\[a-z]+", text)) <= {
        *(r"\hat", r"\log", r"\left", r"\right", r"\sin", r"\cos", r"\tanh", r"\operatorname", r"\sqrt", r"\sigma"),
        *(r"\frac", r"\max", r"\min", r"\cdot", r"\sum", r"\arg", r"\pi", r"\tau"),
    }


@given(trees(max_leaves=12))
@law(300)
def test_no_factor_follows_an_open_logarithm_and_no_sign_a_sign(tree: Expression) -> None:
    text = latex(tree)
    assert r"\log \hat{y} \cdot" not in text
    assert re.search(r"[-+] -", text) is None


@given(trees(max_leaves=12))
@law(300)
def test_brackets_close_and_every_command_is_known(tree: Expression) -> None:
    assert_can_be_set(latex(tree))


@pytest.mark.parametrize("name", [name for name, entry in LIBRARY.items() if not entry.spec().is_term])
def test_every_library_loss_can_be_set(name: str) -> None:
    text = latex(parse_formula(loss(name).formula))
    assert_can_be_set(text)
    assert groups_that_carry_an_exponent_twice(text) == []


@pytest.mark.parametrize(
    "formula", ["exp(y_pred)**2", "(y_pred**2)**2", "(exp(y_pred)**2)**2", "(y_true + exp(y_pred))**2", "sqrt(2)**2"]
)
def test_no_exponent_follows_an_exponent(formula: str) -> None:
    assert groups_that_carry_an_exponent_twice(latex(parse_formula(formula))) == []


@given(trees(max_leaves=12))
@law(300)
def test_no_exponent_follows_an_exponent_in_any_tree(tree: Expression) -> None:
    assert groups_that_carry_an_exponent_twice(latex(tree)) == []


@pytest.mark.parametrize(
    ("formula", "other"),
    [
        ("y_pred - (y_true - 1)", "y_pred - y_true - 1"),
        ("(y_pred + y_true) * 2", "y_pred + y_true * 2"),
        ("-(y_pred + y_true)", "-y_pred + y_true"),
        ("-y_pred**2", "(-y_pred)**2"),
        ("sin(y_pred)**2", "sin(y_pred**2)"),
        ("log(y_pred)**2", "log(y_pred**2)"),
        ("log(y_pred) * y_true", "log(y_pred * y_true)"),
        ("y_pred / y_true / 2", "y_pred / (y_true / 2)"),
        ("exp(y_pred) * y_true", "exp(y_pred * y_true)"),
        ("(y_pred / y_true)**2", "y_pred / y_true**2"),
    ],
)
def test_trees_of_different_meaning_look_different(formula: str, other: str) -> None:
    assert latex(parse_formula(formula)) != latex(parse_formula(other))
    assert words(parse_formula(formula)) != words(parse_formula(other))


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("y_pred", "the predicted probability"),
        ("-y_true", "minus the target"),
        ("-y_true * log(y_pred)", "(minus the target) times (the logarithm of the predicted probability)"),
        ("max(0.5, y_pred - 1)", "the larger of 0.5 and (the predicted probability minus 1)"),
        ("aq(y_true, 2)", "the analytic quotient of the target and 2"),
    ],
)
def test_a_formula_is_read_aloud(formula: str, expected: str) -> None:
    assert words(parse_formula(formula)) == expected


@given(trees(max_leaves=12))
@law(100)
def test_words_have_one_line_and_closed_brackets(tree: Expression) -> None:
    text = words(tree)
    assert "\n" not in text
    assert text.count("(") == text.count(")") >= sum(bool(arg.args) for arg in tree.args)


def test_a_small_constant_is_bracketed_in_a_product() -> None:
    assert latex(call("mul", leaf("y_true"), constant(1e-7))) == r"y \cdot \left(1 \cdot 10^{-7}\right)"
