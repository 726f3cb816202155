"""Operations of the user's own: formulas in x and y, that keep their names wherever the formula goes."""

from __future__ import annotations

import pytest
import torch

from lossforge.errors import FormulaError
from lossforge.export.latex import latex, words
from lossforge.export.torch_module import Export, module_source
from lossforge.expression.canonical import canonical_text, fold_constants
from lossforge.expression.final_form import final_form
from lossforge.expression.formula import parse_definitions, parse_formula
from lossforge.expression.signature import signature
from lossforge.expression.simplify import simplified
from lossforge.expression.symbolic_derivative import derivative
from lossforge.losses.compiled import ExpressionLoss

OWN = parse_definitions(
    {
        "inv": "1 / x",
        "swish": "x * sigmoid(x)",
        "huber": "min(abs(x), y) * (abs(x) - 0.5 * min(abs(x), y))",
        "twice": "swish(swish(x)) + inv(y)",
        "share_c": "x / sum_c(x)",
    }
)
NAMED = {
    "huber(y_true - y_pred, 0.5)": "min(abs(y_true - y_pred), 0.5) * (abs(y_true - y_pred)"
    " - 0.5 * min(abs(y_true - y_pred), 0.5))",
    "inv(y_pred) - y_true * swish(y_pred)": "1 / y_pred - y_true * (y_pred * sigmoid(y_pred))",
    "-y_true * twice(y_pred, 2)": "-y_true * (y_pred * sigmoid(y_pred) * sigmoid(y_pred * sigmoid(y_pred)) + 1 / 2)",
    "y_true * share_c(log(y_pred))": "y_true * (log(y_pred) / sum_c(log(y_pred)))",
}


@pytest.mark.parametrize("formula", NAMED)
def test_a_named_formula_is_what_it_stands_for(formula: str) -> None:
    named, plain = parse_formula(formula, OWN), parse_formula(NAMED[formula])
    assert named.size < plain.size
    assert canonical_text(named) == canonical_text(plain)
    assert signature(named) == signature(plain)
    generator = torch.Generator().manual_seed(1)
    logits, target = torch.randn(8, 5, generator=generator), torch.arange(8) % 5
    losses = []
    for expression in (named, plain):
        z = logits.clone().requires_grad_()
        value = ExpressionLoss(expression)(z, target)
        losses.append((value.detach(), *torch.autograd.grad(value, z)))
    torch.testing.assert_close(losses[0], losses[1])
    if not plain.crosses_classes:
        assert derivative(named) == derivative(plain)


@pytest.mark.parametrize("formula", NAMED)
def test_its_text_says_all_and_reads_back_as_the_same_tree(formula: str) -> None:
    named = parse_formula(formula, OWN)
    text = str(named)
    assert text.startswith(formula + " where ")
    assert parse_formula(text) == named
    assert str(parse_formula(text)) == text
    assert all(f"{one.name}(" in text.partition(" where ")[2] for one in named.definitions())


def test_a_final_form_keeps_the_names_and_rounds_the_numbers() -> None:
    named = parse_formula("huber(y_true - y_pred, 0.4999999999)", OWN)
    assert str(final_form(named, soft_targets=False)).startswith("huber(y_true - y_pred, 0.5) where huber(x, y) = ")
    # A name that stands for something longer than need be goes.
    idle = parse_formula("idle(y_pred) - y_true where idle(x) = x * 1 + 0")
    assert str(final_form(idle, soft_targets=False)) == "y_pred - y_true"
    assert [str(form) for form in simplified([parse_formula("inv(2) * y_pred * y_true", OWN)])] == [
        "0.5 * y_pred * y_true"
    ]


def test_constants_are_folded_under_a_name() -> None:
    assert str(fold_constants(parse_formula("huber(1 + 1, 0.5) * y_pred", OWN))) == "0.875 * y_pred"
    assert str(fold_constants(parse_formula("inv(1 + y_pred * (2 + 1))", OWN))).startswith("inv(1 + y_pred * 3) where")
    assert str(fold_constants(parse_formula("share_c(2) * y_true", OWN))).startswith("share_c(2) * y_true where")


def test_latex_and_words_name_it_and_say_what_it_is() -> None:
    named = parse_formula("y_true * inv(my_log(y_pred)) where my_log(x) = log(x + 1)", OWN)
    assert latex(named) == (
        r"y \cdot \operatorname{inv}\left(\operatorname{my\_log}\left(\hat{y}\right)\right) \quad \text{where } "
        r"\operatorname{inv}\left(x\right) = \frac{1}{x}, "
        r"\operatorname{my\_log}\left(x\right) = \log\left|x + 1\right|"
    )
    assert words(named) == "the target times (inv of (my_log of the predicted probability))"


def test_an_export_computes_it_and_names_it() -> None:
    formula = str(parse_formula("huber(y_true - y_pred, 0.5)", OWN))
    source = module_source([Export("Mine", formula)], "A test.")
    scope: dict[str, object] = {"__name__": "exported"}
    exec(compile(source, "<exported>", "exec"), scope)
    criterion = scope["Mine"]()  # type: ignore[operator]
    assert criterion.__doc__.startswith("huber(y_true - y_pred, 0.5) where huber(x, y) = ")
    logits, target = torch.randn(6, 4), torch.arange(6) % 4
    assert torch.equal(criterion(logits, target), ExpressionLoss(parse_formula(formula))(logits, target))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"a": "b(x)", "b": "a(x)"}, r"^a: it is defined by itself \(a -> b -> a\)"),
        ({"a": "a(x)"}, r"^a: it is defined by itself \(a -> a\)"),
        ({"log": "x"}, "^log: is an operation already"),
        ({"y_pred": "x"}, "^y_pred: is a leaf already"),
        ({"x": "x"}, "^x: is a word of formulas already"),
        ({"f": "g(x)"}, "^f: formula 'g.x.': unknown name 'g' at position 1"),
        ({"f": "y_true * x"}, "^f: formula 'y_true . x': unknown name 'y_true' at position 1"),
        ({"f": "y + 1"}, "^f: 'y . 1' does not use x"),
        ({"f": "x +"}, "^f: formula 'x .': expected a number"),
        ({"f": "x @ y"}, "^f: formula 'x @ y': unexpected character '@' at position 3"),
        ({"f": ""}, "^f: formula '': expected a number"),
        ({"f g": "x"}, "'f g' is no name"),
        ({"f": "x where g(x) = x"}, "^f: formula .*unexpected 'where'"),
    ],
)
def test_what_defines_nothing_is_refused_in_one_sentence(table: dict[str, str], message: str) -> None:
    with pytest.raises(FormulaError, match=message) as caught:
        parse_definitions(table)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("f(y_pred) where", "behind 'where' each operation is written as"),
        ("f(y_pred) where f = x", "behind 'where' each operation is written as"),
        ("f(y_pred) where f(z) = z", "behind 'where' each operation is written as"),
        ("f(y_pred) where f(x) = x; f(x) = 2 * x", "'f' is defined twice"),
        ("f(y_pred) where g(x) = x", "unknown name 'f' at position 1; did you mean|unknown name 'f' at position 1"),
        ("f(y_pred, 2) where f(x) = x", "'f' takes 1 argument.s., not 2 at position 1"),
        ("where f(x) = x", "expected a number"),
        ("f(y_pred) where f(x) = g(x), g(x) = f(x)", "unexpected '=' at position .* have a semicolon between them"),
    ],
)
def test_a_where_that_cannot_be_read_is_refused(formula: str, message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        parse_formula(formula)


def test_what_it_stands_for_may_not_grow_without_end() -> None:
    table = {"f0": "x * x + x"} | {f"f{k}": f"f{k - 1}(f{k - 1}(x))" for k in range(1, 12)}
    with pytest.raises(FormulaError, match="more than 2000 nodes"):
        parse_definitions(table)
