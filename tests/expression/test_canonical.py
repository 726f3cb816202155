"""The canonical form: one text for trees that are the same, the same in every process, and of the same value."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from itertools import combinations

import pytest
import torch
from hypothesis import assume, given
from tests.helpers.reference import (
    emitted,
    logits_and_targets,
    on_logits,
    points,
    reaches_bound,
    reference,
)
from tests.helpers.trees import law, short_constants, trees

from lossforge.expression.canonical import canonical_form, canonical_key, canonical_text, fold_constants
from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import CONSTANT, Expression
from lossforge.losses.library import CROSS_ENTROPY, LIBRARY

GRID = points()

SAME = [
    ("y_pred + y_true", "y_true + y_pred"),
    ("y_pred * y_true", "y_true * y_pred"),
    ("(y_pred + y_true) + 1", "y_pred + (1 + y_true)"),
    ("(y_pred * 2) * y_true", "2 * (y_true * y_pred)"),
    ("y_pred - y_true", "y_pred + -y_true"),
    ("y_pred - y_true", "-(y_true - y_pred)"),
    ("--y_pred", "y_pred"),
    ("y_pred + y_true - y_pred", "y_true"),
    ("y_pred - y_pred", "0"),
    ("y_pred + y_pred", "2 * y_pred"),
    ("y_pred + 0", "y_pred"),
    ("1 * y_pred", "y_pred"),
    ("0 * y_pred", "0"),
    ("-1 * y_pred", "-y_pred"),
    ("2 * 3 * y_pred", "6 * y_pred"),
    ("y_pred / 2", "0.5 * y_pred"),
    ("y_pred * y_pred", "y_pred**2"),
    ("(-y_pred)**2", "y_pred**2"),
    ("(y_pred - y_true)**2", "(y_true - y_pred)**2"),
    ("-y_true * log(y_pred)", "-(log(y_pred) * y_true)"),
    ("-y_true * log(y_pred)", "y_true * -log(y_pred)"),
    ("-y_true * log(y_pred)", "-1 * log(y_pred) * y_true"),
    ("sin(-y_pred)", "-sin(y_pred)"),
    ("tanh(y_pred - y_true)", "-tanh(y_true - y_pred)"),
    ("cos(-y_pred)", "cos(y_pred)"),
    ("abs(y_pred - y_true)", "abs(y_true - y_pred)"),
    ("sqrt(-y_true)", "sqrt(y_true)"),
    ("max(y_pred, y_true)", "max(y_true, y_pred)"),
    ("min(y_pred, y_pred)", "y_pred"),
    ("-y_pred / y_true", "-(y_pred / y_true)"),
    ("aq(-y_pred, y_true)", "-aq(y_pred, y_true)"),
    ("exp(1 + 1) * y_pred", "y_pred * exp(2)"),
    ("y_pred + sin(1) - sin(1)", "y_pred"),
]


@pytest.mark.parametrize(("first", "second"), SAME)
def test_rewrites_have_one_text(first: str, second: str) -> None:
    assert canonical_text(parse_formula(first)) == canonical_text(parse_formula(second))
    assert canonical_form(parse_formula(first)) == canonical_form(parse_formula(second))


DIFFERENT = [
    "y_pred - y_true",
    "y_true - y_pred",
    "y_pred + y_true",
    "y_pred / y_true",
    "y_true / y_pred",
    "y_pred / y_pred",
    "1",
    "sqrt(y_pred**2)",
    "sqrt(y_pred)**2",
    "exp(log(y_pred))",
    "log(exp(y_pred))",
    "y_pred",
    "abs(y_pred)",
    "y_pred / 0.0000001",
    "y_pred * 10000000",
    "y_pred / 0",
    "0",
    "exp(-y_pred)",
    "exp(y_pred)",
    "sigmoid(-y_pred)",
    "sigmoid(y_pred)",
    "aq(y_pred, y_true)",
    "2 * y_pred",
    "y_pred + 1",
]


def test_what_differs_in_value_keeps_texts_of_its_own() -> None:
    texts = {formula: canonical_text(parse_formula(formula)) for formula in DIFFERENT}
    assert [pair for pair in combinations(texts, 2) if texts[pair[0]] == texts[pair[1]]] == []


@given(trees(max_leaves=15))
@law(400)
def test_the_canonical_form_is_its_own_canonical_form(tree: Expression) -> None:
    form = canonical_form(tree)
    assert canonical_form(form) == form
    assert canonical_text(form) == canonical_text(tree)


def tame(tree: Expression) -> bool:
    """Whether no value is held at the bound, and no log(y_pred) stands there in disguise: see below for those."""
    disguised = any(
        node.op == "log" and node.args[0].op != "y_pred" and canonical_text(node.args[0]) in ("y_pred", "neg(y_pred)")
        for node in tree.walk()
    )
    return not disguised and not reaches_bound(tree, GRID) and not reaches_bound(canonical_form(tree), GRID)


@given(trees(max_leaves=10, numbers=short_constants()))
@law(400)
def test_the_canonical_form_keeps_the_value(tree: Expression) -> None:
    assume(tame(tree))
    expected = reference(tree, GRID)
    assume(expected.settled)
    assert expected.agrees(emitted(canonical_form(tree), GRID))


@given(trees(max_leaves=10, numbers=short_constants()))
@law(400)
def test_the_canonical_form_keeps_the_gradient_on_the_logits(tree: Expression) -> None:
    assume(tame(tree) and reference(tree, GRID).settled)
    logits, y_true = logits_and_targets()
    _, before = on_logits(tree, logits, y_true)
    _, after = on_logits(canonical_form(tree), logits, y_true)
    assert torch.allclose(after, before, rtol=1e-7, atol=1e-9 * (1 + float(before.abs().max())))


@pytest.mark.parametrize("formula", [spec.formula for spec in (e.spec() for e in LIBRARY.values()) if not spec.is_term])
def test_the_canonical_form_of_a_known_loss_keeps_value_and_gradient(formula: str) -> None:
    tree = parse_formula(formula)
    logits, y_true = logits_and_targets()
    for before, after in zip(
        on_logits(tree, logits, y_true), on_logits(canonical_form(tree), logits, y_true), strict=True
    ):
        assert torch.allclose(after, before, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "formula", ["y_true * log(-y_pred)", "y_true * log(1 * y_pred)", "y_true * log(max(y_pred, y_pred))"]
)
def test_a_protected_logarithm_does_not_become_the_log_softmax(formula: str) -> None:
    # The plain log(y_pred) is exact; all other logarithms end at log(1e-6). At probability 0 that is a difference.
    tree = parse_formula(formula)
    assert reference(tree, GRID).agrees(emitted(canonical_form(tree), GRID))


def test_regrouping_a_product_does_not_lift_the_bound_of_a_factor() -> None:
    # Where y_true is 0 the square is held at 1e12, so the loss is 1e11 and its gradient 0.
    tree = parse_formula("0.1 * (3 * (y_pred / y_true))**2")
    assert reference(tree, GRID).agrees(emitted(canonical_form(tree), GRID))


@pytest.mark.parametrize("squares", [9, 12])
def test_the_canonical_form_of_nested_squares_stays_small(squares: int) -> None:
    tree = parse_formula("(" * squares + "y_pred * y_true" + ")**2" * squares)
    assert canonical_form(tree).size <= 10 * tree.size


@given(trees(max_leaves=15))
@law(300)
def test_folding_constants_is_exactly_what_the_emitter_does(tree: Expression) -> None:
    folded = fold_constants(tree)
    assert torch.equal(emitted(folded, GRID), emitted(tree, GRID))
    for node in folded.walk():
        assert not node.args or any(arg.op != CONSTANT for arg in node.args)


def test_folding_constants_changes_nothing_else() -> None:
    assert (
        str(fold_constants(parse_formula("y_pred * (1 + 2) - y_pred / (2 - 2) + 0"))) == "y_pred * 3 - y_pred / 0 + 0"
    )
    assert str(fold_constants(parse_formula("exp(100) * 100"))) == "1000000000000"


@pytest.mark.parametrize(
    ("formula", "form"),
    [
        ("-y_pred + y_true", "y_true - y_pred"),
        ("y_pred * 2", "2 * y_pred"),
        ("y_pred + 1", "1 + y_pred"),
        ("y_pred - 3", "y_pred - 3"),
        ("-y_pred - y_true", "-y_pred - y_true"),
        ("-(y_pred * y_true)", "-(y_pred * y_true)"),
        ("y_true * y_true", "y_true**2"),
    ],
)
def test_the_canonical_form_is_written_as_people_write(formula: str, form: str) -> None:
    assert str(canonical_form(parse_formula(formula))) == form


def test_the_key_is_the_digest_of_the_text() -> None:
    tree = parse_formula(CROSS_ENTROPY)
    assert canonical_key(tree) == hashlib.sha256(canonical_text(tree).encode()).hexdigest()
    assert canonical_key(tree) != canonical_key(parse_formula("y_true * log(y_pred)"))


def test_the_canonical_form_is_the_same_in_every_process() -> None:
    formulas = [formula for pair in SAME for formula in pair] + DIFFERENT
    script = (
        "import sys\n"
        "from lossforge.expression.canonical import canonical_form, canonical_text\n"
        "from lossforge.expression.formula import parse_formula\n"
        "for formula in sys.stdin.read().splitlines():\n"
        "    tree = parse_formula(formula)\n"
        "    print(canonical_text(tree), canonical_form(tree))\n"
    )
    here = [f"{canonical_text(tree)} {canonical_form(tree)}" for tree in map(parse_formula, formulas)]
    for seed in ("0", "1", "4242"):
        ran = subprocess.run(
            [sys.executable, "-c", script],
            input="\n".join(formulas),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert ran.stdout.splitlines() == here
