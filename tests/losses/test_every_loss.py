"""Every loss of the library is a drop-in for ``nn.CrossEntropyLoss``, in each of its arguments."""

from __future__ import annotations

import copy
import pickle
import shutil
from typing import Any

import pytest
import torch
from tests.helpers.library import KINDS, ready, shares
from torch import Tensor, nn
from torch.nn import functional

from lossforge.losses.library import LIBRARY, OVER_BATCH

CLASSES = 5
WEIGHT = torch.tensor([0.5, 2.0, 1.0, 0.25, 3.0], dtype=torch.float64)
REDUCTIONS = ("mean", "sum", "none")
PER_SAMPLE = [name for name, entry in LIBRARY.items() if entry.reduction != OVER_BATCH]
OF_LABELS = {name for name, entry in LIBRARY.items() if entry.head == "sigmoid"}
"""Losses of labels that are each there or not: no mean over them is divided by the weights of classes."""
MASKED = 3
"""Classes of the test with classes that cannot be."""
every_loss = pytest.mark.parametrize("name", LIBRARY)


def images(seed: int = 4) -> tuple[Tensor, Tensor]:
    """Logits (3, C, 4, 2) and class indices (3, 4, 2)."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, CLASSES, 4, 2, generator=generator, dtype=torch.float64) * 3
    return logits, torch.randint(CLASSES, (3, 4, 2), generator=generator)


def batch() -> tuple[Tensor, Tensor]:
    """The same numbers as (24, C) and (24,)."""
    logits, target = images()
    return logits.movedim(1, -1).reshape(-1, CLASSES), target.flatten()


def one_hot(target: Tensor) -> Tensor:
    return functional.one_hot(target, CLASSES).double().movedim(-1, 1)


def value_and_gradient(criterion: nn.Module, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    z = logits.clone().requires_grad_()
    value = criterion(z, target)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), gradient


def assert_alike(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], **tolerance: float) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **tolerance)


@every_loss
def test_the_reductions_are_of_the_same_values(name: str) -> None:
    logits, target = images()
    values = {reduction: ready(name, CLASSES, reduction=reduction)(logits, target) for reduction in REDUCTIONS}
    torch.testing.assert_close(values["none"].sum(), values["sum"])
    torch.testing.assert_close(values["none"].mean(), values["mean"])
    assert values["none"].shape == (target.shape if name in PER_SAMPLE else (CLASSES,))


@every_loss
def test_a_weight_multiplies_the_terms_of_its_class(name: str) -> None:
    logits, target = images()
    alone = [
        ready(name, CLASSES, weight=weight, reduction="none")(logits, target) for weight in torch.eye(CLASSES).double()
    ]
    expected = sum(weight * part for weight, part in zip(WEIGHT, alone, strict=True))
    weighted = {way: ready(name, CLASSES, weight=WEIGHT, reduction=way)(logits, target) for way in REDUCTIONS}
    torch.testing.assert_close(weighted["none"], expected)
    torch.testing.assert_close(weighted["sum"], weighted["none"].sum())
    total = WEIGHT[target].sum() if name in PER_SAMPLE else WEIGHT.sum()
    total = target.numel() if name in OF_LABELS else total
    torch.testing.assert_close(weighted["mean"], weighted["sum"] / total)
    plain, ones = ready(name, CLASSES), ready(name, CLASSES, weight=torch.ones(CLASSES))
    torch.testing.assert_close(ones(logits, target), plain(logits, target))


@every_loss
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_ignored_samples_are_as_if_they_were_not_there(name: str, reduction: str, weight: Tensor | None) -> None:
    logits, target = batch()
    for ignored, kept in ((-100, torch.arange(24) % 3 > 0), (2, target != 2)):
        criterion = ready(name, CLASSES, ignore_index=ignored, reduction=reduction, weight=weight, label_smoothing=0.1)
        value, gradient = value_and_gradient(criterion, logits, target.where(kept, ignored))
        expected, expected_gradient = value_and_gradient(criterion, logits[kept], target[kept])
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(gradient[kept], expected_gradient)
        assert not gradient[~kept].any()


@every_loss
def test_ignored_samples_have_no_value_of_their_own(name: str) -> None:
    logits, target = batch()
    value = ready(name, CLASSES, ignore_index=2, reduction="none")(logits, target)
    if name in PER_SAMPLE:
        assert not value[target == 2].any()
    else:
        torch.testing.assert_close(
            value, ready(name, CLASSES, reduction="none")(logits[target != 2], target[target != 2])
        )


@every_loss
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_label_smoothing_mixes_the_target_with_the_uniform_one(name: str, reduction: str) -> None:
    logits, target = images()
    smoothed = ready(name, CLASSES, label_smoothing=0.3, reduction=reduction, weight=WEIGHT)
    mixed = one_hot(target) * 0.7 + 0.3 / (2 if name in OF_LABELS else CLASSES)
    plain = ready(name, CLASSES, label_smoothing=0.0, reduction=reduction, weight=WEIGHT)
    found, expected = value_and_gradient(smoothed, logits, target), value_and_gradient(plain, logits, mixed)
    if reduction == "mean" and name in PER_SAMPLE and name not in OF_LABELS:
        # The mean over samples with class indices is divided by their weights, that over probabilities is not.
        factor = target.numel() / WEIGHT[target].sum()
        expected = (expected[0] * factor, expected[1] * factor)
    assert_alike(found, expected)


@every_loss
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_class_indices_and_their_one_hot_probabilities_are_one(name: str, reduction: str) -> None:
    logits, target = images()
    criterion = ready(name, CLASSES, reduction=reduction)
    found = value_and_gradient(criterion, logits, one_hot(target))
    assert_alike(found, value_and_gradient(criterion, logits, target))


@every_loss
@pytest.mark.parametrize("soft", [False, True], ids=["indices", "probabilities"])
def test_an_image_is_its_pixels(name: str, soft: bool) -> None:
    logits, target = images()
    flat_logits, flat_target = batch()
    if soft:
        target = torch.softmax(images(8)[0], 1)
        flat_target = target.movedim(1, -1).reshape(-1, CLASSES)
    for reduction in REDUCTIONS:
        criterion = ready(name, CLASSES, reduction=reduction, weight=WEIGHT, label_smoothing=0.1)
        value, gradient = value_and_gradient(criterion, logits, target)
        flat_value, flat_gradient = value_and_gradient(criterion, flat_logits, flat_target)
        torch.testing.assert_close(value.flatten(), flat_value.flatten())
        torch.testing.assert_close(gradient.movedim(1, -1).reshape(-1, CLASSES), flat_gradient)


@every_loss
def test_a_sample_without_a_batch_is_a_batch_of_one(name: str) -> None:
    logits, target = batch()
    for reduction in REDUCTIONS:
        criterion = ready(name, CLASSES, reduction=reduction, weight=WEIGHT)
        for one, batched in ((target[0], target[:1]), (one_hot(target[:1])[0], one_hot(target[:1]))):
            value = criterion(logits[0], one)
            torch.testing.assert_close(value.flatten(), criterion(logits[:1], batched).flatten())
            assert value.shape == (() if reduction != "none" or name in PER_SAMPLE else (CLASSES,))


@every_loss
@pytest.mark.parametrize("spread", [50.0, 200.0, 1e4])
def test_value_and_gradient_are_finite_at_extreme_logits(name: str, spread: float) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = (torch.randint(3, (16, CLASSES), generator=generator) - 1.0) * spread
    target = torch.randint(CLASSES - 1, (16,), generator=generator)
    for given in (target, one_hot(target).float(), torch.full((16, CLASSES), 1 / CLASSES)):
        value, gradient = value_and_gradient(ready(name, CLASSES), logits, given)
        assert value.isfinite()
        assert gradient.isfinite().all()


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    logits, target = images()
    criterion = ready(name, CLASSES, weight=WEIGHT.to(dtype))
    half = logits.to(dtype)
    value, gradient = value_and_gradient(criterion, half, target)
    expected, expected_gradient = value_and_gradient(criterion, half.float(), target)
    assert (value.dtype, gradient.dtype) == (torch.float32, dtype)
    assert torch.equal(value, expected)
    torch.testing.assert_close(gradient, expected_gradient.to(dtype))


@every_loss
def test_it_works_under_autocast(name: str) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, CLASSES)
    samples, target = torch.randn(6, 4), torch.arange(6) % CLASSES
    criterion = ready(name, CLASSES, weight=WEIGHT.float(), label_smoothing=0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = layer(samples)
        value = criterion(logits, target)
    assert (logits.dtype, value.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(value, criterion(logits.float(), target))
    value.backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.isfinite().all()
    assert layer.weight.grad.any()


def assert_compiles(name: str, backend: str, *, soft: bool) -> None:
    logits, target = images()
    target = one_hot(target) if soft else target
    arguments: dict[str, Any] = {"weight": WEIGHT, "ignore_index": 2, "label_smoothing": 0.1}
    compiled = torch.compile(ready(name, CLASSES, **arguments), fullgraph=True, backend=backend)
    found = value_and_gradient(compiled, logits, target)
    assert_alike(found, value_and_gradient(ready(name, CLASSES, **arguments), logits, target), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", KINDS)
def test_it_compiles_into_one_graph(name: str) -> None:
    # Fresh each time: nothing may have to be prepared by an uncompiled call.
    torch.compiler.reset()
    assert_compiles(name, "aot_eager", soft=False)
    assert_compiles(name, "aot_eager", soft=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler")
@pytest.mark.parametrize("name", ["dice"])
def test_it_compiles_to_machine_code(name: str) -> None:
    torch.compiler.reset()
    assert_compiles(name, "inductor", soft=False)


@every_loss
def test_the_state_is_that_of_torchs_cross_entropy(name: str) -> None:
    logits, target = images()
    theirs, ours = nn.CrossEntropyLoss(weight=WEIGHT), ready(name, CLASSES, weight=torch.ones(CLASSES).double())
    told = {"shares": shares(CLASSES)} if LIBRARY[name].needs else {}
    assert ours.state_dict().keys() == {**theirs.state_dict(), **told}.keys()
    ours.load_state_dict({**theirs.state_dict(), **told})
    assert torch.equal(ours(logits, target), ready(name, CLASSES, weight=WEIGHT)(logits, target))
    assert ready(name, CLASSES).state_dict().keys() == told.keys()
    assert list(ours.parameters()) == []


@every_loss
@pytest.mark.parametrize("called", [False, True], ids=["fresh", "called"])
def test_a_copy_computes_the_same(name: str, called: bool) -> None:
    logits, target = images()
    criterion = ready(name, CLASSES, weight=WEIGHT, ignore_index=1, label_smoothing=0.2, reduction="sum")
    if called:
        criterion(logits, target)
    for again in (copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion))):
        assert torch.equal(again(logits, target), criterion(logits, target))
        assert again.formula == criterion.formula
        assert (again.ignore_index, again.label_smoothing, again.reduction) == (1, 0.2, "sum")
        again.weight.zero_()
    assert criterion.weight is not None
    assert criterion.weight.any()
    assert criterion.formula in repr(criterion)


MISFITS: dict[str, tuple[Tensor, Tensor, str]] = {
    "too few": (torch.randn(4, 5), torch.zeros(3, dtype=torch.long), r"integers of shape \(4,\), not int64 of shape"),
    "image": (torch.randn(2, 5, 3, 3), torch.zeros(2, dtype=torch.long), r"shape \(2, 3, 3\), not int64 of shape \(2"),
    "soft": (torch.randn(4, 5), torch.rand(4, 6), r"logits' shape \(4, 5\),(.*,)? not float32 of shape \(4, 6\)"),
    "bool": (torch.randn(4, 5), torch.zeros(4, dtype=torch.bool), r"integers of shape \(4,\), not bool of shape \(4,"),
    "whole": (torch.zeros(4, 5, dtype=torch.long), torch.zeros(4, dtype=torch.long), r"floating point.*not int64 of"),
}


@every_loss
@pytest.mark.parametrize("kind", MISFITS)
def test_what_does_not_fit_is_told_with_what_was_expected(name: str, kind: str) -> None:
    logits, target, expected = MISFITS[kind]
    with pytest.raises(ValueError, match=expected):
        ready(name, CLASSES)(logits, target)


@every_loss
def test_arguments_that_do_not_fit_are_told_with_what_was_expected(name: str) -> None:
    with pytest.raises(ValueError, match=r"weight must have shape \(5,\), not \(4,\)"):
        ready(name, CLASSES, weight=torch.ones(4))(*images())
    with pytest.raises(ValueError, match="reduction must be 'mean', 'sum' or 'none', not 'average'"):
        ready(name, CLASSES, reduction="average")
    with pytest.raises(ValueError, match=r"label_smoothing must be in \[0, 1\], not 2.0"):
        ready(name, CLASSES, label_smoothing=2.0)


@every_loss
def test_a_masked_class_has_no_part(name: str) -> None:
    """A logit of -inf is a class that cannot be; what it is not the target of stays finite, in every form."""
    logits = torch.tensor([[float("-inf"), 0.0, 1.0], [2.0, float("-inf"), -1.0]], dtype=torch.float64)
    target = torch.tensor([2, 0])
    criterion = ready(name, MASKED)
    found = value_and_gradient(criterion, logits, target)
    assert found[0].isfinite()
    assert found[1].isfinite().all()
    assert not found[1][logits.isinf()].any()
    assert_alike(value_and_gradient(criterion, logits, functional.one_hot(target, 3).double()), found)
    z = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(criterion(z, target), z, create_graph=True)
    torch.testing.assert_close(gradient.detach(), found[1])
    if name in KINDS:
        torch._dynamo.reset()
        compiled = torch.compile(criterion, fullgraph=True, backend="aot_eager")
        assert_alike(value_and_gradient(compiled, logits, target), found)
