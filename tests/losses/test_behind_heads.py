"""Losses behind heads: against torch's own functions, against two-class softmax, and against plain operations."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from tests.helpers.crossing import sample_losses
from tests.helpers.library import ready
from torch import Tensor
from torch.nn import functional

import lossforge
from lossforge.errors import LossError
from lossforge.expression.formula import parse_formula
from lossforge.expression.heads import HEADS as NAMES
from lossforge.losses.behind_heads import baseline, opposite
from lossforge.losses.compiled import LossSpec
from lossforge.losses.drop_in import matched_scale
from lossforge.losses.heads import HEADS
from lossforge.losses.library import CROSS_ENTROPY, LIBRARY, loss, loss_spec
from lossforge.losses.matching import matched_scales
from lossforge.losses.population import PopulationLoss

BINARY, SIGMOID = HEADS["binary"], HEADS["sigmoid"]
LABELS = SIGMOID.cross_entropy_formula
FORMULAS = [
    CROSS_ENTROPY,
    LABELS,
    "(y_true - y_pred)**2",
    "-y_true * (1 - y_pred)**2 * log(y_pred) + y_pred * exp(y_pred - y_true)",
    "-(1 - y_true) * y_pred**2 * log(1 - y_pred) - y_true * log(y_pred)",
    "max(y_pred, y_true) * sin(3 * y_pred) / (0.3 + y_pred)",
    "log(y_pred) / sum_c(log(y_pred)) * y_true",
    "-y_true * (logit - log_sum_exp_c(logit)) + 0.1 * max_c(logit)",
    "(stop(y_pred) - y_true)**2 * log(y_pred) + n_classes * abs(y_true - y_pred)",
]
REDUCTIONS = ("mean", "sum", "none")


def drawn(*shape: int, spread: float = 3.0, seed: int = 0) -> Tensor:
    return spread * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def both(z: Tensor) -> Tensor:
    """Two logits, 0 and z, for one."""
    return torch.cat([torch.zeros_like(z), z], min(1, z.dim() - 1))


def gradient(value: Tensor, of: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(value.sum(), of, allow_unused=True, retain_graph=True)
    return torch.zeros_like(of) if found is None else found


def test_both_lists_of_heads_are_one() -> None:
    assert list(NAMES) == list(HEADS)
    with pytest.raises(LossError, match="there is no head named 'sigmod'; did you mean 'sigmoid'"):
        loss(CROSS_ENTROPY, head="sigmod")


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(40, 1), (6, 1, 3), (4, 1, 2, 5), (1,)])
@pytest.mark.parametrize("smoothing", [0.0, 0.15])
def test_binary_cross_entropy_is_torchs(reduction: str, shape: tuple[int, ...], smoothing: float) -> None:
    z = drawn(*shape).requires_grad_()
    dim = min(1, len(shape) - 1)
    indices = (drawn(*shape, seed=1) > 0).squeeze(dim)
    soft = torch.sigmoid(drawn(*shape, seed=2))
    criterion = loss(CROSS_ENTROPY, head="binary", reduction=reduction, label_smoothing=smoothing)
    for target in (indices, indices.long(), indices.to(torch.uint8), indices.unsqueeze(dim).double(), soft):
        plain = target if target.is_floating_point() else target.unsqueeze(dim)
        plain = plain.double() * (1 - smoothing) + smoothing / 2
        wanted = functional.binary_cross_entropy_with_logits(z, plain, reduction=reduction)
        wanted = wanted.squeeze(dim) if reduction == "none" else wanted
        found = criterion(z, target)
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(gradient(found, z), gradient(wanted, z), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("formula", [CROSS_ENTROPY, FORMULAS[3]])
def test_class_weights_are_those_of_two_classes_and_of_binary_cross_entropy(reduction: str, formula: str) -> None:
    weight = torch.tensor([0.4, 2.5], dtype=torch.float64)
    z, target = drawn(50, 1).requires_grad_(), (drawn(50, seed=1) > 0).long()
    found = loss(formula, head="binary", weight=weight, reduction=reduction)(z, target)
    wanted = loss(formula, weight=weight, reduction=reduction)(both(z), target)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(gradient(found, z), gradient(wanted, z))
    if formula == CROSS_ENTROPY and reduction != "mean":
        own = functional.binary_cross_entropy_with_logits(
            z.squeeze(1), target.double(), weight=weight[target], reduction=reduction
        )
        torch.testing.assert_close(found, own)
    if formula == CROSS_ENTROPY:  # of probabilities a mean is divided by the samples, as torch's with pos_weight is
        soft = torch.sigmoid(drawn(50, 1, seed=2))
        ratio = weight[1:] / weight[0]
        own = functional.binary_cross_entropy_with_logits(z, soft, pos_weight=ratio, reduction=reduction) * weight[0]
        found = loss(formula, head="binary", weight=weight, reduction=reduction)(z, soft)
        torch.testing.assert_close(found, own.squeeze(1) if reduction == "none" else own)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["cross_entropy", "focal", "brier", "label_smoothing", "bce", "dice"])
def test_samples_that_do_not_count_do_not(reduction: str, weighted: bool, name: str) -> None:
    z, target = drawn(30, 1, 4).requires_grad_(), (drawn(30, 4, seed=1) > 0).long()
    target[::3] = 255
    arguments: dict[str, Any] = {"ignore_index": 255, "reduction": reduction}
    arguments |= {"weight": torch.tensor([0.4, 2.5], dtype=torch.float64)} if weighted else {}
    found = loss(name, head="binary", **arguments)(z, target)
    if name == "bce":  # one logit, once
        wanted = loss("cross_entropy", **arguments)(both(z), target)
    else:
        wanted = loss(name, **arguments)(both(z), target)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(gradient(found, z), gradient(wanted, z))


OF_TWO_CLASSES = [name for name, one in LIBRARY.items() if one.head == "softmax" and name not in ("bce", "logit_norm")]


@pytest.mark.parametrize("formula", [*FORMULAS, *OF_TWO_CLASSES])
@pytest.mark.parametrize("soft", [False, True])
def test_a_binary_head_is_a_softmax_of_two_classes(formula: str, soft: bool) -> None:
    z = torch.cat([drawn(40, 1), torch.tensor([[0.0], [50], [-50], [30]], dtype=torch.float64)]).requires_grad_()
    target = torch.sigmoid(drawn(44, 1, seed=2)) if soft else torch.arange(44) % 2
    columns = torch.cat([1 - target, target], 1) if soft else target
    found, wanted = ready(formula, 2, head="binary")(z, target), ready(formula, 2)(both(z), columns)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(gradient(found, z), gradient(wanted, z))


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("kind", ["labels", "floats", "indices"])
def test_formulas_behind_sigmoids_are_what_they_are_written_as(formula: str, kind: str) -> None:
    z = torch.cat([drawn(20, 4), 50 * drawn(6, 4).sign()]).requires_grad_()
    rows = (drawn(26, 4, seed=1) > 0.5).double()
    target = {"labels": rows.long(), "floats": rows * 0.7 + 0.1, "indices": torch.arange(26) % 4}[kind]
    y_true = {"labels": rows, "floats": target, "indices": torch.nn.functional.one_hot(torch.arange(26) % 4, 4)}[kind]
    found = loss(formula, head="sigmoid", reduction="none")(z, target)
    wanted = sample_losses(parse_formula(formula), z, y_true.double(), head="sigmoid")
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(gradient(found, z), gradient(wanted, z), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(30, 4), (5, 4, 3), (4,)])
@pytest.mark.parametrize("formula", [LABELS, "cross_entropy"])
def test_cross_entropy_of_labels_is_binary_of_each(reduction: str, shape: tuple[int, ...], formula: str) -> None:
    dim = min(1, len(shape) - 1)
    z = drawn(*shape).requires_grad_()
    rows = drawn(*shape, seed=1) > 0.5
    weight = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64)
    for arguments in ({}, {"weight": weight}, {"label_smoothing": 0.2}):
        each = functional.binary_cross_entropy_with_logits(
            z, rows.double() * 0.8 + 0.1 if "label_smoothing" in arguments else rows.double(), reduction="none"
        )
        each = (each * weight.view([-1] + [1] * (len(shape) - 1 - dim)) if "weight" in arguments else each).sum(dim)
        wanted = {"mean": each.mean(), "sum": each.sum(), "none": each}[reduction]
        criterion = loss(formula, head="sigmoid", reduction=reduction, **arguments)  # type: ignore[arg-type]
        for target in (rows, rows.long(), rows.to(torch.int8), rows.double()):
            found = criterion(z, target)
            torch.testing.assert_close(found, wanted)
            torch.testing.assert_close(gradient(found, z), gradient(wanted, z))


def test_one_against_the_rest_leaves_out_what_is_ignored() -> None:
    z, target = drawn(12, 3), torch.arange(12) % 3
    target[:4] = -100
    for name in ("cross_entropy", "brier"):
        criterion = loss(name, head="sigmoid")
        torch.testing.assert_close(criterion(z, target), criterion(z[4:], torch.eye(3)[target[4:]].double()))


@pytest.mark.parametrize("head", ["binary", "sigmoid"])
@pytest.mark.parametrize("formula", FORMULAS)
def test_every_way_of_computing_a_loss_gives_the_same(head: str, formula: str) -> None:
    """The module, the population, second derivatives, vmap, and copies."""
    z = drawn(10, 1 if head == "binary" else 3).requires_grad_()
    target = torch.arange(10) % 2 if head == "binary" else (drawn(10, 3, seed=1) > 0).double()
    criterion = loss(formula, head=head)
    value = criterion(z, target)
    known = gradient(value, z)
    population = PopulationLoss([LossSpec(CROSS_ENTROPY), LossSpec(formula)], head)
    together = population(torch.stack([z, z]), torch.stack([target, target]))[1]
    torch.testing.assert_close(together, value)
    torch.testing.assert_close(gradient(together, z), known, rtol=1e-6, atol=1e-8)
    for copied in (copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion))):
        assert copied.head == head
        torch.testing.assert_close(copied(z, target), value)
    singly = torch.vmap(lambda one, label: criterion(one[None], label[None]))(z, target)
    torch.testing.assert_close(singly.mean(), value)
    if "stop" not in formula:
        assert torch.autograd.gradcheck(lambda x: criterion(x, target), (z,))
        assert torch.autograd.gradgradcheck(lambda x: criterion(x, target), (z,), atol=1e-4)


@pytest.mark.parametrize(("head", "shape"), [("binary", (8, 1)), ("sigmoid", (8, 3))])
def test_a_loss_behind_a_head_can_be_compiled(head: str, shape: tuple[int, int]) -> None:
    z, target = drawn(*shape).float(), (drawn(*shape, seed=1) > 0).float()
    for formula in (baseline(head).formula, FORMULAS[3]):
        criterion = loss(formula, head=head)
        torch.testing.assert_close(torch.compile(criterion, backend="eager")(z, target), criterion(z, target))


@pytest.mark.parametrize("head", ["binary", "sigmoid"])
def test_half_precision_is_computed_in_float32(head: str) -> None:
    z = drawn(10, 1 if head == "binary" else 3).half().requires_grad_()
    target = torch.arange(10) % 2 if head == "binary" else torch.ones(10, 3, dtype=torch.bool)
    for formula in (baseline(head).formula, FORMULAS[2]):
        value = loss(formula, head=head)(z, target)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, loss(formula, head=head)(z.float(), target))


@pytest.mark.parametrize("formula", [LABELS, FORMULAS[2], FORMULAS[3]])
def test_labels_at_infinite_logits_cost_nothing_where_they_are_right(formula: str) -> None:
    z = torch.tensor([[math.inf, -math.inf, 0.3]]).requires_grad_()
    value = loss(formula, head="sigmoid", reduction="none")(z, torch.tensor([[1, 0, 1]]))
    right = loss(formula, head="sigmoid", reduction="none")(
        torch.tensor([[40.0, -40.0, 0.3]]), torch.tensor([[1, 0, 1]])
    )
    torch.testing.assert_close(value, right)
    assert gradient(value, z).isfinite().all()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("formula", [*FORMULAS[2:], "brier", "focal"])
def test_one_scale_in_training_and_modules(head: str, formula: str) -> None:
    spec = loss_spec(formula, head=head)
    classes = 2 if head == "binary" else 7
    (found,) = matched_scales([spec], classes, HEADS[head])
    wanted = matched_scale(spec.build(head=head), classes)
    assert found == pytest.approx(wanted, rel=2e-6)
    assert loss(formula, head=head, match=classes).scale == wanted
    assert matched_scales([baseline(head)], classes, HEADS[head]) == [1.0]
    assert matched_scale(baseline(head).build(head=head), classes) == pytest.approx(1, rel=1e-6)


def test_a_scale_follows_the_number_of_classes_behind_a_binary_head() -> None:
    criterion = loss("brier", head="binary", match=True)
    criterion(drawn(4, 1), torch.arange(4) % 2)
    assert criterion.classes == 2
    assert criterion.scale == loss("brier", match=2).scale


WRONG: list[tuple[str, tuple[int, ...], Tensor, str]] = [
    ("binary", (4, 2), torch.zeros(4, dtype=torch.int64), r"the head binary has one logit a sample, .* not float64 of"),
    (
        "binary",
        (4, 1),
        torch.zeros(4),
        r"probabilities must have the logits' shape \(4, 1\), not float32 of shape \(4,\)",
    ),
    ("binary", (4, 1), torch.zeros(4, 1, dtype=torch.int64), r"class indices must be integers of shape \(4,\)"),
    ("binary", (4, 1), torch.full((4,), 2), r"class indices must be in \[0, 2\), .* but one is 2"),
    ("binary", (4, 1), torch.full((4,), -1), r"class indices must be in \[0, 2\), .* but one is -1"),
    (
        "sigmoid",
        (4, 3),
        torch.zeros(4),
        r"labels of 0 and 1 in the logits' shape \(4, 3\), or class indices, integers of",
    ),
    ("sigmoid", (4, 3), torch.zeros(4, dtype=torch.bool), "not bool of shape"),
    ("sigmoid", (4, 3), torch.full((4, 3), 2), "labels must be 0 or 1, but one is 2"),
    ("sigmoid", (4, 3), torch.full((4, 3), -1), "labels must be 0 or 1, but one is -1"),
    ("sigmoid", (4, 3), torch.full((4,), 3), r"class indices must be in \[0, 3\), .* but one is 3"),
    ("sigmoid", (4, 3), torch.zeros(4, 2), r"not float32 of shape \(4, 2\)"),
]


@pytest.mark.parametrize(("head", "shape", "target", "told"), WRONG)
@pytest.mark.parametrize("formula", ["cross_entropy", "brier"])
def test_what_does_not_fit_is_told(head: str, shape: tuple[int, ...], target: Tensor, told: str, formula: str) -> None:
    with pytest.raises(ValueError, match=told):
        loss(formula, head=head)(drawn(*shape), target)


def test_a_weight_has_a_number_for_each_class_of_a_binary_head() -> None:
    criterion = loss(CROSS_ENTROPY, head="binary", weight=torch.ones(1))
    with pytest.raises(ValueError, match=r"weight must have shape \(2,\), not \(1,\)"):
        criterion(drawn(4, 1), torch.arange(4) % 2)


def test_a_loss_of_the_library_is_of_each_label_as_of_two_classes() -> None:
    z, rows = drawn(20, 3), (drawn(20, 3, seed=1) > 0.5).long()
    for name in (
        "cross_entropy",
        "label_smoothing",
        "focal",
        "brier",
        "generalized_ce",
        "ngl",
        "taylorglo",
        "symmetric_ce",
    ):
        spec = loss_spec(name, head="sigmoid")
        found = spec.build(head="sigmoid")(z, rows)
        mean = spec.class_mean
        one = loss(name, head="binary", reduction="none")
        wanted = sum(one(z[:, c : c + 1], rows[:, c]) for c in range(3)).mean()  # type: ignore[union-attr]
        torch.testing.assert_close(found, wanted * (2 / 3 if mean else 1))


def test_focal_loss_of_labels_is_retinanets() -> None:
    z, rows = drawn(20, 3), (drawn(20, 3, seed=1) > 0.5).double()
    p = torch.sigmoid(z)
    p_t = p * rows + (1 - p) * (1 - rows)
    each = functional.binary_cross_entropy_with_logits(z, rows, reduction="none") * (1 - p_t) ** 2
    torch.testing.assert_close(lossforge.loss("focal", gamma=2, head="sigmoid")(z, rows), each.sum(1).mean())


def test_what_compares_classes_has_no_form_for_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = copy.copy(LIBRARY["brier"])
    object.__setattr__(entry, "make", lambda: LossSpec("log(y_pred) / sum_c(log(y_pred)) * y_true"))
    monkeypatch.setitem(LIBRARY, "brier", entry)
    with pytest.raises(
        LossError, match="loss 'brier' cannot have the head 'sigmoid': it compares the classes of a sample"
    ):
        loss("brier", head="sigmoid")
    assert loss_spec("brier", head="binary") == entry.spec()


@pytest.mark.parametrize("name", ["dice", "tversky", "focal_tversky"])
def test_overlap_is_for_pixels(name: str) -> None:
    z, rows = drawn(5, 3, 4, 4), drawn(5, 3, 4, 4, seed=1) > 0
    criterion = loss(name, head="sigmoid")
    value = criterion(z, rows)
    # Of each label alone it is what it is of one logit of two classes, in the second class's column.
    single = [loss(name, head="binary", reduction="none")(z[:, c : c + 1], rows[:, c])[1] for c in range(3)]
    torch.testing.assert_close(value, torch.stack(single).mean())
    with pytest.raises(
        ValueError, match=r"is for pixels, logits .*: it counts, class by class, the pixels on which masks"
    ):
        criterion(z[:, :, 0, 0], rows[:, :, 0, 0])
    with pytest.raises(LossError, match=f"loss '{name}' cannot have the head 'sigmoid' here: it counts"):
        loss_spec(name, head="sigmoid", table=True)


def test_bce_is_one_classifier_a_logit_behind_every_head() -> None:
    z, rows = drawn(6, 3), drawn(6, 3, seed=1) > 0
    torch.testing.assert_close(loss("bce", head="sigmoid")(z, rows), loss("cross_entropy", head="sigmoid")(z, rows))
    one, target = z[:, :1], rows[:, 0].long()
    torch.testing.assert_close(
        loss("bce", head="binary")(one, target), loss("cross_entropy", head="binary")(one, target)
    )


@pytest.mark.parametrize("head", HEADS)
def test_the_opposite_teaches_the_contrary(head: str) -> None:
    z = drawn(16, 1 if head == "binary" else 4, spread=0.5).requires_grad_()
    target = torch.arange(16) % 2 if head == "binary" else torch.arange(16) % 4
    found = [
        gradient(LossSpec(formula).build(head=head)(z, target), z)
        for formula in (baseline(head).formula, opposite(head))
    ]
    assert float(functional.cosine_similarity(found[0].flatten(), found[1].flatten(), 0)) < -0.5
