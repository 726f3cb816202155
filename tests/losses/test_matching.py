"""One scale for each loss and number of classes: the same in training, in lossforge.loss and in exports."""

from __future__ import annotations

import copy
import pickle
import re
import warnings
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.library import ready
from tests.helpers.trees import law, short_constants, trees
from torch import Tensor
from torch.nn import functional

import lossforge
from lossforge.errors import LossError
from lossforge.expression.tree import Expression, format_formula
from lossforge.losses.compiled import LossSpec
from lossforge.losses.drop_in import DropInLoss, cross_entropy_norm, matched_scale, start_probe
from lossforge.losses.library import CROSS_ENTROPY, LIBRARY
from lossforge.losses.matching import matched_scales

EVOLVED = (
    "sin(max(y_pred, y_true))",
    "-((y_true - y_pred) / sin(y_true))",
    "aq(y_pred, abs(y_pred * y_pred)) / y_true",
    "-(tanh(tanh(y_pred * y_true)) / aq(y_pred, exp(y_pred)))",
    "aq(y_pred, sin(y_pred)) / (cos(y_pred) * sin(y_true))",
)


def start_gradient(criterion: DropInLoss, classes: int) -> Tensor:
    logits, target = start_probe(classes)
    z = logits.requires_grad_()
    (gradient,) = torch.autograd.grad(criterion(z, target), z)
    return gradient


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("name", [*LIBRARY, *EVOLVED])
def test_every_loss_gets_cross_entropys_norm(name: str, classes: int) -> None:
    # Scales are those of classes that are equally frequent.
    criterion = ready(name, classes, match=True, class_share=torch.full((classes,), 1 / classes))
    norm = float(start_gradient(criterion, classes).norm())
    assert norm == pytest.approx(cross_entropy_norm(classes, criterion.behind), rel=1e-5)
    assert criterion.classes == classes


@pytest.mark.parametrize("classes", [2, 3, 10, 100, 1000])
def test_the_norm_is_that_of_torchs_cross_entropy(classes: int) -> None:
    logits, target = start_probe(classes)
    z = logits.requires_grad_()
    (gradient,) = torch.autograd.grad(functional.cross_entropy(z, target), z)
    assert cross_entropy_norm(classes) == pytest.approx(float(gradient.norm()), rel=1e-12)


@pytest.mark.parametrize("classes", [2, 10, 100, 1000, 5000])
def test_the_probe_is_near_a_uniform_start(classes: int) -> None:
    logits, target = start_probe(classes)
    assert float(logits.mean()) == pytest.approx(0, abs=0.05)
    assert float(logits.std()) == pytest.approx(0.5, abs=0.05)
    counts = target.bincount(minlength=classes)
    assert int(counts.max() - counts.min()) <= 1
    assert len(torch.unique(logits)) == logits.numel()


@law(60)
@given(st.lists(trees(numbers=short_constants()), min_size=1, max_size=4), st.sampled_from([2, 7, 10]), st.booleans())
def test_the_interpreter_and_the_module_give_one_scale(found: list[Expression], classes: int, mean: bool) -> None:
    specs = [LossSpec(format_formula(tree), class_mean=mean) for tree in found]
    together = matched_scales(specs, classes)
    for spec, scale in zip(specs, together, strict=True):
        alone = matched_scale(spec.build(), classes)
        assert (scale is None) == (alone is None)
        if scale is not None:
            assert scale == pytest.approx(alone, rel=1e-5)


def test_a_factor_of_a_formula_changes_nothing() -> None:
    one, other = matched_scales([LossSpec("(y_true - y_pred)**2"), LossSpec("1000 * (y_true - y_pred)**2")], 10)
    assert one is not None
    assert other == pytest.approx(one / 1000, rel=1e-5)


def test_cross_entropy_is_exactly_itself() -> None:
    assert matched_scales([LossSpec(CROSS_ENTROPY)], 10) == [1.0]
    assert lossforge.loss("cross_entropy", match=10).scale == 1.0


def test_what_has_no_gradient_has_no_scale() -> None:
    assert matched_scales([LossSpec("y_true"), LossSpec("sign(y_pred)")], 10) == [None, None]
    with pytest.raises(LossError, match="zero or not finite for 10 classes"):
        lossforge.loss("y_true", match=10)


def test_the_scale_follows_the_classes_only_where_asked() -> None:
    following, fixed = lossforge.loss("brier", match=True), lossforge.loss("brier", match=10)
    target = torch.arange(6) % 3
    for criterion in (following, fixed):
        criterion(torch.zeros(6, 10), target)
    assert following.scale == fixed.scale
    following(torch.zeros(6, 3), target)
    assert following.scale == lossforge.loss("brier", match=3).scale != fixed.scale
    with pytest.warns(UserWarning, match=r"scaled for 10 classes, and the logits have 3: call match_classes\(3\)"):
        fixed(torch.zeros(6, 3), target)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fixed(torch.zeros(6, 3), target)  # told once
        lossforge.loss("focal", match=10)(torch.zeros(6, 11), target)  # where it changes little, not at all


@pytest.mark.parametrize("arguments", [{"reduction": "none"}, {"reduction": "sum"}, {"weight": torch.arange(1.0, 11)}])
def test_the_other_arguments_keep_their_meaning(arguments: dict[str, object]) -> None:
    plain, matched = lossforge.loss("brier", **arguments), lossforge.loss("brier", match=10, **arguments)
    logits, target = start_probe(10)
    torch.testing.assert_close(matched(logits, target), plain(logits, target) * matched.scale)
    assert matched.scale == lossforge.loss("brier", match=10).scale


def test_it_copies_pickles_and_compiles() -> None:
    criterion = lossforge.loss("brier", match=10)
    logits, target = start_probe(10)
    expected = criterion(logits, target)
    for other in (copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion))):
        assert torch.equal(other(logits, target), expected)
    compiled = torch.compile(criterion, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(logits, target), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", [*LIBRARY, *EVOLVED, "1 / (y_pred * y_true)", "-1 / square(y_true - y_pred)"])
def test_in_half_precision_it_is_finite_wherever_cross_entropy_is(name: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.cat(
        [torch.randn(60, 10, generator=generator) * scale for scale in (0.1, 1, 5)]
        + [torch.eye(10) * 50, torch.eye(10) * -50, torch.randn(20, 10, generator=generator).sign() * 50]
    )
    target = torch.randint(10, (len(logits),), generator=generator)
    loss_scale = 2.0**16
    for criterion in (ready(name, 10, match=10), lossforge.loss("cross_entropy")):
        z = logits.to(dtype).requires_grad_()
        value = criterion(z, target)
        assert bool(value.isfinite())
        (gradient,) = torch.autograd.grad(value * loss_scale, z)
        assert gradient.dtype == dtype
        assert bool(gradient.isfinite().all())
    with torch.autocast("cpu", torch.bfloat16):
        weight = torch.randn(10, 10, generator=generator).requires_grad_()
        value = ready(name, 10, match=10)(functional.linear(logits, weight), target)
    (gradient,) = torch.autograd.grad(value * loss_scale, weight)
    assert bool(value.isfinite())
    assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("classes", [0, 1, -1, 2.5, "10", None, True])
def test_a_number_of_classes_that_is_none_is_refused(classes: Any) -> None:
    told = re.escape(f"classes must be a whole number, 2 or more, not {classes!r}".replace("True", "1"))
    with pytest.raises(ValueError, match=told):
        lossforge.loss("brier").match_classes(classes)
    if classes is not True:
        with pytest.raises(LossError, match=rf"^match={classes!r}: classes must be"):
            lossforge.loss("brier", match=classes)
    assert lossforge.loss("brier").match_classes(numpy.int64(10)).classes == 10


@pytest.mark.parametrize("formula", ["brier", "dice"])
def test_it_is_matched_while_it_is_compiled(formula: str) -> None:
    matched = lossforge.loss(formula, match=True)
    plain = lossforge.loss(formula, match=True)
    torch._dynamo.reset()  # each loss that was compiled in this process counts towards a limit
    compiled = torch.compile(matched, backend="eager", fullgraph=True)  # one graph: nothing breaks it
    for classes in (10, 3, 10):
        logits, target = start_probe(classes)
        torch.testing.assert_close(compiled(logits, target), plain(logits, target))
        assert (matched.scale, matched.classes) == (plain.scale, plain.classes)


def test_one_without_a_gradient_is_refused_while_it_is_compiled() -> None:
    logits, target = start_probe(4)
    with pytest.raises(ValueError, match="its gradient near a uniform start is zero"):
        torch.compile(lossforge.loss("sign(y_pred)", match=True), backend="eager")(logits, target)


def test_before_torch_export_it_has_to_be_matched() -> None:
    logits, target = start_probe(4)
    criterion = lossforge.loss("brier", match=True)
    with pytest.raises(ValueError, match=r"call match_classes\(4\) before torch.export"):
        torch.export.export(criterion, (logits, target), strict=False)
    torch.export.export(criterion.match_classes(4), (logits, target), strict=False)
