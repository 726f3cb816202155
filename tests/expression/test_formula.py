"""Formulas: what is read, what is printed, and what is refused."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.trees import law, trees

from lossforge.errors import FormulaError
from lossforge.expression.formula import parse_formula
from lossforge.expression.primitives import BOUND, PRIMITIVES
from lossforge.expression.tree import Expression, call, constant, format_formula, format_number, leaf

P, T = leaf("y_pred"), leaf("y_true")
ONE, TWO, THREE = constant(1), constant(2), constant(3)

READINGS = {
    "y_pred": P,
    " \t\n( y_true )\n": T,
    "-y_true * log(y_pred)": call("mul", call("neg", T), call("log", P)),
    "1 - 2 - 3": call("sub", call("sub", ONE, TWO), THREE),
    "1 - (2 - 3)": call("sub", ONE, call("sub", TWO, THREE)),
    "y_pred / y_true / 2": call("div", call("div", P, T), TWO),
    "y_pred + y_true * 2": call("add", P, call("mul", T, TWO)),
    "-2 * y_pred": call("mul", constant(-2), P),
    "y_pred * -2": call("mul", P, constant(-2)),
    "y_pred--2": call("sub", P, constant(-2)),
    "-(2)": call("neg", TWO),
    "- 2": constant(-2),
    "--y_pred": call("neg", call("neg", P)),
    "+y_pred": P,
    "-2**2": call("neg", call("square", TWO)),
    "-2^2": call("neg", call("square", TWO)),
    "(-2)**2": call("square", constant(-2)),
    "-y_pred**2": call("neg", call("square", P)),
    "y_pred^2": call("square", P),
    "y_pred**0.5": call("sqrt", P),
    "y_pred**1": P,
    "y_pred**3": call("mul", call("square", P), P),
    "y_pred**4": call("square", call("square", P)),
    "y_pred**-1": call("div", ONE, P),
    "y_pred**0.7": call("exp", call("mul", constant(0.7), call("log", P))),
    "y_pred**5": call("exp", call("mul", constant(5), call("log", P))),
    "max(y_pred, y_true)": call("max", P, T),
    "aq(1, sin(2))": call("aq", ONE, call("sin", TWO)),
    "5.": constant(5),
    ".5": constant(0.5),
    "2.5e-3": constant(0.0025),
    "1E12": constant(1e12),
}


@pytest.mark.parametrize("text", READINGS)
def test_a_formula_is_read_as_people_mean_it(text: str) -> None:
    assert parse_formula(text) == READINGS[text]


@given(trees(max_leaves=20))
@law(400)
def test_a_formula_reads_back_as_the_same_tree(tree: Expression) -> None:
    assert parse_formula(format_formula(tree)) == tree


@given(trees(max_leaves=10))
@law(100)
def test_white_space_means_nothing(tree: Expression) -> None:
    text = format_formula(tree)
    assert parse_formula(text.replace(" ", "")) == tree
    assert parse_formula("\n" + text.replace("(", " (\t ").replace(",", " ,\n")) == tree


@given(st.floats(-BOUND, BOUND))
@law(300)
def test_a_number_reads_back_as_the_same_float(value: float) -> None:
    assert float(format_number(value)) == value
    assert parse_formula(format_number(value)) == constant(value)


@pytest.mark.parametrize(
    ("value", "text"), [(2.0, "2"), (-3.0, "-3"), (0.1, "0.1"), (1e12, "1000000000000"), (1e-7, "1e-07")]
)
def test_numbers_are_printed_short(value: float, text: str) -> None:
    assert format_number(value) == text


@pytest.mark.parametrize(
    "text",
    [
        "-y_true * log(y_pred)",
        "(y_true - y_pred)**2",
        "exp(2.4092 - y_pred - y_pred * y_true) - cos(cos(sin(y_pred)))",
        "y_true * (1 - exp(0.7 * log(y_pred))) / 0.7",
        "-(y_pred + y_true) / max(1, y_pred)",
    ],
)
def test_a_formula_in_plain_style_is_printed_as_it_was_written(text: str) -> None:
    assert format_formula(parse_formula(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "(" * 40 + "y_pred" + ")**4" * 40,
        "(" * 8 + "y_pred" + ")**3" * 8,
        "-" * 90 + "y_pred",
        "sin(" * 90 + "y_pred" + ")" * 90,
        " + ".join(["y_pred"] * 150),
    ],
    ids=["fourth powers", "cubes", "minuses", "calls", "sum"],
)
def test_whatever_is_read_can_be_printed_and_read_again(text: str) -> None:
    tree = parse_formula(text)
    assert parse_formula(format_formula(tree)) == tree


def test_what_could_not_be_read_again_is_refused() -> None:
    with pytest.raises(FormulaError, match="nested deeper"):
        parse_formula("(" * 90 + "y_pred" + ")**4" * 90)


HOSTILE = {
    "call of the system": ("__import__('os').system('x')", "unknown name '__import__'|unexpected character"),
    "attribute": ("y_pred.__class__", r"unexpected character '\.' at position 7"),
    "dunder": ("__class__", "unknown name '__class__'"),
    "subscript": ("y_pred[0]", r"unexpected character '\[' at position 7"),
    "lambda": ("lambda x: x", "unexpected character ':'|unknown name 'lambda'"),
    "assignment": ("y_pred = 1", "unexpected '='"),
    "walrus": ("(x := 1)", "unexpected character ':'"),
    "comparison": ("y_pred < 1", "unexpected character '<'"),
    "statement": ("y_pred; y_true", "unexpected ';'"),
    "comment": ("y_pred # y_true", "unexpected character '#'"),
    "string": ("'y_pred'", 'unexpected character "\'"'),
    "keyword argument": ("max(a=1, b=2)", "unknown name 'a' at position 5"),
    "star arguments": ("max(*y_pred)", "expected a number, a name"),
    "null byte": ("y_pred\0", r"unexpected character '\\x00'"),
    "unicode digits": ("\u0663 * y_pred", "unexpected character '\u0663' at position 1"),
    "fullwidth digit": ("y_pred + \uff12", "unexpected character '\uff12' at position 10"),
    "unicode name": ("y_pr\u0435d", "unexpected character '\u0435' at position 5|unknown name 'y_pr'"),
    "unicode minus": ("1 \u2212 y_pred", "unexpected character"),
    "unknown name": ("y_pred * foo", r"unknown name 'foo' at position 10 \(known: y_pred, y_true, logit"),
    "nan": ("nan", "unknown name 'nan'"),
    "infinity": ("-inf", "unknown name 'inf'"),
    "empty": ("", "the formula is empty"),
    "white space": (" \n\t ", "the formula is empty"),
    "huge number": ("1e999 * y_pred", r"outside ±1e\+12 at position 1"),
    "huge negative number": ("y_pred - 1e13", r"outside ±1e\+12 at position 10"),
    "number of 10,000 digits": ("9" * 10_000, "outside"),
    "number of 10,000 digits in an exponent": ("1e" + "9" * 10_000, "outside"),
    "name of 10,000 letters": ("a" * 10_000, "unknown name"),
    "two numbers": ("1_000", "unexpected '_000' at position 2"),
    "hexadecimal": ("0x10", "unexpected 'x10'"),
    "complex": ("2j", "unexpected 'j'"),
    "10,000 parentheses": ("(" * 10_000 + "1" + ")" * 10_000, "characters|nested deeper than 100 levels"),
    "5,000 parentheses": ("(" * 5_000 + "1" + ")" * 5_000, "nested deeper than 100 levels"),
    "10,000 open parentheses": ("(" * 10_000, "nested deeper than 100 levels"),
    "10,000 minuses": ("-" * 10_000 + "y_pred", "nested deeper than 100 levels"),
    "10,000 minuses before a number": ("-" * 10_000 + "1", "nested deeper than 100 levels"),
    "10,000 pluses": ("+" * 10_000 + "1", "nested deeper than 100 levels"),
    "deep calls": ("sin(" * 2_000 + "1" + ")" * 2_000, "nested deeper than 100 levels"),
    "deep exponents": ("2**" * 3_000 + "2", "nested deeper than 100 levels"),
    "long sum": (" + ".join(["y_pred"] * 2_000), "levels; write it shorter"),
    "long product": ("*".join(["y_pred"] * 2_500), "levels; write it shorter"),
    "longest sum": ("+".join(["1"] * 100_000), "199999 characters; at most 100000"),
    "doubling by cubes": ("(" * 12 + "y_pred" + ")**3" * 12, "more than 2000 nodes"),
    "exponent is not a number": ("2**y_pred", "an exponent must be a number"),
    "sum as exponent": ("y_pred**(1+1)", "an exponent must be a number"),
    "too few arguments": ("max(1)", r"'max' takes 2 argument\(s\), not 1"),
    "too many arguments": ("sin(1, 2)", r"'sin' takes 1 argument\(s\), not 2"),
    "no arguments": ("sin()", "expected a number, a name"),
    "name without call": ("sin", r"expected '\(', found the end"),
    "call of a leaf": ("y_pred(1)", r"unexpected '\(' at position 7"),
    "call of a number": ("2(3)", r"unexpected '\('"),
    "missing parenthesis": ("(1 + 2", r"expected '\)', found the end"),
    "extra parenthesis": ("1 + 2)", r"unexpected '\)' at position 6"),
    "missing operand": ("1 +", "expected a number, a name or '\\(', found the end"),
    "missing operator": ("y_pred y_true", "unexpected 'y_true' at position 8"),
    "constant is no primitive": ("constant(1)", "unknown name 'constant'"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_not_a_formula_is_refused_in_one_clear_sentence(kind: str) -> None:
    text, expected = HOSTILE[kind]
    with pytest.raises(FormulaError, match=expected) as caught:
        parse_formula(text)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    assert "formula" in message


def test_reading_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = tmp_path / "trace"
    hostile = f"__import__('pathlib').Path('{trace}').touch()"
    refused: list[str] = []
    ran: list[str] = []
    with monkeypatch.context() as patched:
        for name in ("eval", "exec", "compile", "open"):
            patched.setattr(builtins, name, lambda *args, seen=name, **named: ran.append(seen))
        for text in (hostile, f"max({hostile}, 1)", f"y_pred + {hostile}", "exec(1)", "eval(y_pred)"):
            try:
                parse_formula(text)
            except FormulaError:
                refused.append(text)
    assert len(refused) == 5
    assert ran == []
    assert not trace.exists()


def test_the_error_names_the_place() -> None:
    with pytest.raises(FormulaError, match=r"formula 'log\(y_pred\) \* sine\(y_true\)': .* at position 15"):
        parse_formula("log(y_pred) * sine(y_true)")


def test_a_long_formula_is_shortened_in_its_error() -> None:
    with pytest.raises(FormulaError, match=r"formula 'y_pred \+ y_pred .*\.\.\.': unknown name 'foo'"):
        parse_formula("y_pred + " * 40 + "foo")


def test_reading_a_formula_at_the_limits_stays_within_700_frames() -> None:
    # The other 300 are the caller's: a notebook or a server comes with many frames of its own.
    depth = 0
    frame = sys._getframe()
    while frame.f_back is not None:
        depth, frame = depth + 1, frame.f_back
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(depth + 700)
    try:
        tree = parse_formula("sin(" * 99 + "y_pred" + ")" * 99)
        assert parse_formula(format_formula(tree)) == tree
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize("name", PRIMITIVES)
def test_every_primitive_can_be_called_by_its_name(name: str) -> None:
    args = [P, T][: PRIMITIVES[name].arity]
    assert parse_formula(f"{name}({', '.join(map(str, args))})") == call(name, *args)
