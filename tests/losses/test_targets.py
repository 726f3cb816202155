"""Targets of every integer type are class indices; a batch without any gives what torch's cross-entropy gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.library import KINDS, ready, shares
from torch import Tensor, nn

from lossforge.losses.compiled import ExpressionLoss
from lossforge.losses.drop_in import DropInLoss
from lossforge.losses.library import LIBRARY, loss
from lossforge.losses.population import PopulationLoss

CLASSES = 200
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32, torch.int64, torch.uint64)
FORMULA = "abs(y_true - y_pred) * sqrt(y_pred) - log(y_pred) / (1 + y_true)"


class PlainOperations(ExpressionLoss):
    """The same formula as exports compute it."""

    forward = DropInLoss.forward


MAKERS: dict[str, Callable[..., nn.Module]] = {
    **{name: lambda classes=CLASSES, name=name, **given: ready(name, classes, **given) for name in KINDS},
    "formula": lambda classes=CLASSES, **given: loss(FORMULA, **given),
    "plain operations": lambda classes=CLASSES, **given: PlainOperations(FORMULA, **given),
}
OF_CLASSES = [name for name in MAKERS if name not in LIBRARY or LIBRARY[name].head == "softmax"]
every_maker = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def labels_of(dtype: torch.dtype) -> Tensor:
    """Labels 0, 1 ... as far as the classes and the type go."""
    return torch.arange(min(CLASSES, torch.iinfo(dtype).max + 1))


def logits_for(target: Tensor, classes: int = CLASSES) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(len(target), classes, generator=generator, dtype=torch.float64)


def value_and_gradient(criterion: nn.Module, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    z = logits.clone().requires_grad_()
    value = criterion(z, target)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), gradient


def assert_same(criterion: nn.Module, logits: Tensor, narrow: Tensor, wide: Tensor) -> None:
    found, expected = value_and_gradient(criterion, logits, narrow), value_and_gradient(criterion, logits, wide)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@every_maker
def test_an_integer_of_any_type_is_the_index_that_it_is(make: Callable[..., nn.Module]) -> None:
    for dtype in INTEGERS:
        labels = labels_of(dtype)
        logits = logits_for(labels)
        for arguments in ({}, {"weight": torch.rand(CLASSES).double()}, {"label_smoothing": 0.1}):
            assert_same(make(**arguments), logits, labels.to(dtype), labels)


@every_maker
@pytest.mark.parametrize("ignored", [-100, -1, 0, 156, 255, 2**16 - 100])
def test_what_is_ignored_is_the_label_itself_and_no_other_of_the_same_bits(
    make: Callable[..., nn.Module], ignored: int
) -> None:
    criterion = make(ignore_index=ignored, reduction="sum")
    for dtype in INTEGERS:
        fits = torch.iinfo(dtype).min <= ignored <= torch.iinfo(dtype).max
        labels = torch.cat([labels_of(dtype), torch.tensor([ignored])]) if fits else labels_of(dtype)
        logits = logits_for(labels)
        assert_same(criterion, logits, labels.to(dtype), labels)
        kept = labels != ignored
        torch.testing.assert_close(criterion(logits, labels.to(dtype)), criterion(logits[kept], labels[kept]))


FOREIGN = (-(2**63), -100, -1, 5, 127, 156, 255, 2**16 - 100, 2**31, 2**63 - 1, 2**64 - 100)
"""Labels that none of five classes has."""


@every_maker
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_a_label_of_no_class_is_told_in_one_sentence(make: Callable[..., nn.Module], dtype: torch.dtype) -> None:
    held = [label for label in FOREIGN if torch.iinfo(dtype).min <= label <= torch.iinfo(dtype).max]
    assert len(held) >= 2
    for label in held:
        ignored = -100 if label != -100 else 255
        target = torch.tensor([0, label, 1], dtype=dtype)
        shown = min(label, 2**63 - 1)  # torch's indices end there
        told = rf"class indices must be in \[0, 5\), or ignore_index = {ignored} .*, but one is {shown}$"
        with pytest.raises(ValueError, match=told):
            make(5, ignore_index=ignored)(logits_for(target, 5), target)


@every_maker
def test_a_void_label_of_255_is_ignored_in_uint8_and_refused_where_int8_has_made_it_minus_one(
    make: Callable[..., nn.Module],
) -> None:
    mask = torch.tensor([0, 1, 255, 2], dtype=torch.uint8)
    logits, criterion = logits_for(mask, 3), make(3, ignore_index=255)
    torch.testing.assert_close(criterion(logits, mask), criterion(logits[[0, 1, 3]], mask[[0, 1, 3]].long()))
    with pytest.raises(ValueError, match=r"ignore_index = 255 .* but one is -1"):
        criterion(logits, mask.to(torch.int8))


@pytest.mark.parametrize("name", OF_CLASSES)
def test_true_and_false_are_two_classes_and_no_more(name: str) -> None:
    make = MAKERS[name]
    target = torch.tensor([True, False, True])
    assert_same(make(2), logits_for(target, 2), target, target.long())
    for refused in (target, target.to(torch.complex64)):
        with pytest.raises(ValueError, match=r"class indices must be integers of shape \(3,\), not (bool|complex64)"):
            make(3)(logits_for(target, 3), refused)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_a_population_takes_every_integer_type_too(dtype: torch.dtype) -> None:
    labels = labels_of(dtype)
    specs = [entry.spec() for entry in LIBRARY.values() if not entry.spec().is_term]
    logits = logits_for(labels).expand(len(specs), -1, -1)
    population = PopulationLoss(specs)
    told = {"class_share": shares(CLASSES)[None]}
    assert torch.equal(population(logits, labels.to(dtype), **told), population(logits, labels, **told))
    with pytest.raises(ValueError, match=r"class indices must be in \[0, 3\), but one is"):
        population(logits[..., :3], labels.to(dtype), class_share=shares(3)[None])


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "bce", "dice"])
def test_a_compiled_loss_takes_uint8_too(name: str) -> None:
    torch.compiler.reset()
    labels = labels_of(torch.uint8)
    compiled = torch.compile(loss(name), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(
        compiled(logits_for(labels), labels.to(torch.uint8)), loss(name)(logits_for(labels), labels)
    )


@every_maker
def test_labels_are_not_looked_at_where_they_cannot_be(make: Callable[..., nn.Module]) -> None:
    labels = torch.arange(6).view(3, 2) % 5
    logits = torch.randn(3, 2, 5, dtype=torch.float64)
    found = torch.vmap(make(5))(logits, labels.to(torch.uint8))
    expected = torch.stack([make(5)(one, target) for one, target in zip(logits, labels, strict=True)])
    torch.testing.assert_close(found, expected)


@every_maker
@settings(deadline=None, max_examples=15)
@given(
    reduction=st.sampled_from(["mean", "sum", "none"]),
    weighted=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.2]),
    shape=st.sampled_from([(0,), (3,), (0, 4), (3, 0), (2, 4)]),
    soft=st.booleans(),
)
def test_a_batch_without_a_sample_that_counts_gives_what_torchs_cross_entropy_gives(
    make: Callable[..., nn.Module],
    reduction: str,
    weighted: bool,
    smoothing: float,
    shape: tuple[int, ...],
    soft: bool,
) -> None:
    logits = torch.randn(shape[0], 5, *shape[1:])
    # Probabilities cannot be ignored: of them only an empty batch has none.
    target = torch.rand_like(logits) if soft and logits.numel() == 0 else torch.full(shape, -100)
    arguments: dict[str, Any] = {
        "reduction": reduction,
        "weight": torch.rand(5) if weighted else None,
        "label_smoothing": smoothing,
    }
    value, gradient = value_and_gradient(make(5, **arguments), logits, target)
    expected, expected_gradient = value_and_gradient(nn.CrossEntropyLoss(**arguments), logits, target)
    if reduction == "none" and value.shape == (5,) and shape != (5,):  # a loss of the whole batch: a value a class
        expected = torch.zeros(5)
    torch.testing.assert_close(value, expected, equal_nan=True)
    assert torch.equal(gradient, expected_gradient)
