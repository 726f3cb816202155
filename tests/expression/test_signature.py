"""The signature: losses that train alike share it, others do not."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import combinations

import pytest
import torch
from hypothesis import assume, given
from tests.helpers.reference import emitted, points, reference
from tests.helpers.trees import law, short_constants, trees

from lossforge.expression.formula import parse_formula
from lossforge.expression.interpreter import Interpreter
from lossforge.expression.signature import probe_gradients, signature, signatures
from lossforge.expression.tree import Expression, call, constant, leaf
from lossforge.losses.library import CROSS_ENTROPY, LIBRARY

FORMULAS = {
    "cross entropy": CROSS_ENTROPY,
    "brier": "(y_true - y_pred)**2",
    "absolute error": "abs(y_true - y_pred)",
    "focal": "-y_true * (1 - y_pred)**2 * log(y_pred)",
    "poly1": "y_true * (1 - y_pred - log(y_pred))",
    "generalized cross entropy": "y_true * (1 - exp(0.7 * log(y_pred))) / 0.7",
    "ngl": "exp(2.4092 - y_pred - y_pred * y_true) - cos(cos(sin(y_pred)))",
    "exp error": "exp(y_true - y_pred)",
}

REWRITES = {
    "cross entropy": [
        "-(y_true * log(y_pred))",
        "y_true * -log(y_pred)",
        "-log(y_pred) * y_true",
        "0 - y_true * log(y_pred)",
        "-y_true * log(y_pred) + y_true",
        "-y_true * log(y_pred) * (y_pred + y_true) / (y_true + y_pred)",
    ],
    "brier": ["(y_pred - y_true)**2", "y_pred**2 - 2 * y_pred * y_true + y_true**2", "y_pred**2 - 2 * y_pred * y_true"],
    "absolute error": ["max(y_true - y_pred, y_pred - y_true)", "(y_true - y_pred) * sign(y_true - y_pred)"],
    "exp error": ["exp(y_true) / exp(y_pred)", "1 / exp(y_pred - y_true)"],
}


def probe_gradient(tree: Expression) -> torch.Tensor:
    return torch.from_numpy(probe_gradients(Interpreter([tree]))[0])


def key(formula: str, **options: bool) -> str | None:
    return signature(parse_formula(formula), **options)


@pytest.mark.parametrize("loss", FORMULAS)
def test_scale_offset_and_sign_are_no_news(loss: str) -> None:
    formula = FORMULAS[loss]
    expected = key(formula)
    assert expected is not None
    variants = ("3 * ({}) + 1", "-({})", "({}) + 0.7 * y_pred", "0.001 * ({})", "y_true - 1000 * ({})", "({}) / 7")
    assert {variant: key(variant.format(formula)) for variant in variants} == dict.fromkeys(variants, expected)


@given(trees(max_leaves=8, numbers=short_constants()))
@law(200)
def test_scale_offset_and_sign_are_no_news_for_any_tree(tree: Expression) -> None:
    expected = signature(tree)
    assume(expected is not None)
    assume(reference(tree, points()).settled and float(emitted(tree, points()).abs().max()) < 1e5)
    assume(1e-3 < float(torch.linalg.vector_norm(probe_gradient(tree))) < 1e5)
    moved = call("add", call("mul", constant(3), tree), constant(1))
    slanted = call("add", tree, call("mul", constant(0.7), leaf("y_pred")))
    assert [signature(form) for form in (call("neg", tree), moved, slanted)] == [expected] * 3


@pytest.mark.parametrize(("loss", "rewrite"), [(loss, form) for loss, forms in REWRITES.items() for form in forms])
def test_an_algebraic_rewrite_is_no_news(loss: str, rewrite: str) -> None:
    assert key(rewrite) == key(FORMULAS[loss])


def test_many_at_once_are_each_alone_to_the_last_digit() -> None:
    pool = [parse_formula(formula) for formula in FORMULAS.values()]
    together = signatures(Interpreter(pool * 3))
    assert together == [signatures(Interpreter([tree]))[0] for tree in pool] * 3


def test_of_a_loss_and_its_negative_one_has_the_other_sign() -> None:
    for formula in FORMULAS.values():
        one, other = signatures(Interpreter([parse_formula(formula), parse_formula(f"-({formula})")]))
        assert one is not None
        assert other is not None
        assert (one.key, one.sign) == (other.key, -other.sign)


def test_different_losses_have_different_signatures() -> None:
    formulas = [
        *FORMULAS.values(),
        "-y_true * sqrt(y_pred)",
        "-y_true * log(y_pred) + y_pred**2",
        "-y_true * log(y_pred) + 0.01 * y_pred**2",
        "-y_true * (1 - y_pred)**2.1 * log(y_pred)",
        "y_true * (1 - exp(0.69 * log(y_pred))) / 0.69",
        "y_true * (1.01 * (1 - y_pred) - log(y_pred))",
        "exp(2.41 - y_pred - y_pred * y_true) - cos(cos(sin(y_pred)))",
        "exp(2.4092 - y_pred - y_pred * y_true)",
        "y_true * (y_pred - 1)**3",
    ]
    keys = {formula: key(formula) for formula in formulas}
    assert None not in keys.values()
    assert [pair for pair in combinations(keys, 2) if keys[pair[0]] == keys[pair[1]]] == []


def test_the_library_has_no_loss_twice_but_for_smoothed_targets() -> None:
    specs = {name: entry.spec() for name, entry in LIBRARY.items() if not entry.spec().is_term}
    keys = {name: signature(parse_formula(spec.formula), soft_targets=True) for name, spec in specs.items()}
    twins = [pair for pair in combinations(keys, 2) if keys[pair[0]] == keys[pair[1]]]
    assert twins == [("cross_entropy", "label_smoothing")]
    assert specs["cross_entropy"] != specs["label_smoothing"]


def test_scale_and_sign_stay_where_gradients_are_not_matched() -> None:
    keys = [key(form, keep_scale=True) for form in (CROSS_ENTROPY, f"3 * ({CROSS_ENTROPY})", f"-({CROSS_ENTROPY})")]
    assert len(set(keys)) == 3
    assert None not in keys
    assert key(f"({CROSS_ENTROPY}) + 0.7 * y_pred + 1", keep_scale=True) == keys[0]


@pytest.mark.parametrize(
    "formula",
    ["1", "y_true", "y_pred", "3 * y_pred + 1", "y_true + y_pred", "sign(y_pred - y_true)", "y_pred - y_pred"],
)
def test_a_loss_without_a_gradient_has_no_signature(formula: str) -> None:
    assert key(formula) is None


def test_losses_that_differ_on_soft_targets_only_are_told_apart_there() -> None:
    pair = ("abs(y_true - y_pred)", "-y_true * y_pred")
    assert key(pair[0]) == key(pair[1])
    assert key(pair[0], soft_targets=True) != key(pair[1], soft_targets=True)


def test_losses_that_are_alike_for_two_classes_only_are_told_apart() -> None:
    # For two classes the squared error of one probability is half of that of both.
    assert key("y_true * (1 - y_pred)**2") != key("(y_true - y_pred)**2")


def test_the_gradient_is_that_on_the_logits() -> None:
    gradient = probe_gradient(parse_formula(CROSS_ENTROPY))
    assert gradient.dtype == torch.float64
    # Softmax minus target: every sample's sums to zero, and its single negative part is the target's.
    first = gradient[:480].view(48, 10)
    assert first.sum(1).abs().max() < 1e-12
    assert torch.equal((first < 0).sum(1), torch.ones(48, dtype=torch.long))


def test_the_signature_is_the_same_in_every_process() -> None:
    script = (
        "import sys\n"
        "from lossforge.expression.formula import parse_formula\n"
        "from lossforge.expression.signature import signature\n"
        "for formula in sys.stdin.read().splitlines():\n"
        "    print(signature(parse_formula(formula)))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        input="\n".join(FORMULAS.values()),
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert ran.stdout.split() == [key(formula) for formula in FORMULAS.values()]
