"""Losses that look across classes as modules: transforms of torch, state, weights, exports."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from tests.helpers.crossing import FORMULAS, sample_losses
from torch import Tensor

import lossforge
from lossforge.errors import LossError
from lossforge.export.torch_module import Export, module_source
from lossforge.expression.formula import parse_formula
from lossforge.losses.compiled import ExpressionLoss, LossSpec
from lossforge.losses.drop_in import DropInLoss
from lossforge.losses.matching import matched_scales
from lossforge.losses.population import PopulationLoss

CLASSES = 5
SHARE = torch.tensor([0.1, 0.2, 0.3, 0.15, 0.25], dtype=torch.float64)


def inputs(rows: int = 7, *more: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(rows, CLASSES, *more, generator=generator, dtype=torch.float64) * 2
    return logits, torch.randint(CLASSES, (rows, *more), generator=generator)


def built(formula: str, **arguments: object) -> ExpressionLoss:
    criterion = ExpressionLoss(formula, class_share=SHARE, **arguments)  # type: ignore[arg-type]
    criterion.progress = 0.25
    return criterion


def gradient(value: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(value.sum(), logits, allow_unused=True, materialize_grads=True)[0]


@pytest.mark.parametrize("formula", FORMULAS)
def test_the_gradient_can_be_differentiated_again(formula: str) -> None:
    logits, target = inputs(4)
    one_hot = torch.nn.functional.one_hot(target, CLASSES).double()
    found = []
    for call in (
        lambda z: built(formula, reduction="none")(z, target),
        lambda z: sample_losses(parse_formula(formula), z, one_hot, 0.25, SHARE),
    ):
        z = logits.clone().requires_grad_()
        value = call(z)
        (first,) = torch.autograd.grad(value.sum(), z, create_graph=True, materialize_grads=True)
        weight = torch.linspace(0.5, 1.5, z.numel(), dtype=z.dtype).view_as(z)
        found.append(gradient(first * weight, z) if first.requires_grad else torch.zeros_like(z))
    torch.testing.assert_close(found[0], found[1], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("formula", FORMULAS)
def test_vmap_gives_the_same(formula: str) -> None:
    logits, target = inputs()
    each = torch.vmap(lambda z, y: built(formula)(z[None], y[None]))(logits, target)
    torch.testing.assert_close(each, built(formula, reduction="none")(logits, target))


@pytest.mark.parametrize("formula", FORMULAS[::3])
def test_compiled_it_is_the_same(formula: str) -> None:
    torch._dynamo.reset()
    logits, target = inputs()
    criterion = built(formula)
    compiled = torch.compile(criterion, backend="aot_eager", fullgraph=True)
    z, y = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    found, wanted = compiled(z, target), criterion(y, target)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(gradient(found, z), gradient(wanted, y))


@pytest.mark.parametrize("formula", FORMULAS)
def test_images_ignored_pixels_and_reductions(formula: str) -> None:
    logits, target = inputs(3, 4, 2)
    target[0, 1] = -100
    criterion = built(formula, reduction="none")
    value = criterion(logits, target)
    flat = criterion(logits.movedim(1, -1).reshape(-1, CLASSES), target.reshape(-1))
    torch.testing.assert_close(value.reshape(-1), flat)
    assert (value[0, 1] == 0).all()
    kept = target != -100
    torch.testing.assert_close(built(formula)(logits, target), value[kept].mean())
    torch.testing.assert_close(built(formula, reduction="sum")(logits, target), value.sum())
    # One sample without a batch.
    torch.testing.assert_close(criterion(logits[1, :, 0, 0], target[1, 0, 0]), value[1, 0, 0])


@pytest.mark.parametrize("formula", ["-true_c(log(y_pred))", "-y_true * log(y_pred) * n_classes / n_classes"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weights_of_classes_are_cross_entropy_s(formula: str, smoothing: float) -> None:
    logits, target = inputs()
    weight = torch.tensor([0.5, 2.0, 1.0, 0.1, 3.0], dtype=torch.float64)
    for reduction in ("mean", "sum", "none"):
        mine = ExpressionLoss(formula, weight=weight, reduction=reduction, label_smoothing=smoothing)
        theirs = torch.nn.CrossEntropyLoss(weight=weight, reduction=reduction, label_smoothing=smoothing)
        z, y = logits.clone().requires_grad_(), logits.clone().requires_grad_()
        if smoothing and formula.startswith("-true_c"):
            continue  # one weight a sample: the mean of its classes' weights
        torch.testing.assert_close(mine(z, target), theirs(y, target))
        torch.testing.assert_close(gradient(mine(z, target), z), gradient(theirs(y, target), y))


@pytest.mark.parametrize("formula", FORMULAS)
def test_the_exported_class_is_the_loss(formula: str) -> None:
    source = module_source([Export("Mine", formula, scale=1.5, classes=CLASSES)], "A test.")
    assert "lossforge" not in source.replace("by lossforge", "")
    scope: dict[str, object] = {"__name__": "exported"}
    exec(compile(source, "<exported>", "exec"), scope)
    criterion = scope["Mine"](class_share=SHARE)  # type: ignore[operator]
    criterion.progress = 0.25
    logits, target = inputs()
    z, y = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    torch.testing.assert_close(criterion(z, target), 1.5 * built(formula)(y, target))
    torch.testing.assert_close(gradient(criterion(z, target), z), 1.5 * gradient(built(formula)(y, target), y))


def test_a_population_tells_each_loss_what_it_needs() -> None:
    logits, target = inputs()
    population = PopulationLoss([LossSpec(formula) for formula in FORMULAS])
    assert population.needs == {"progress", "class_share"}
    stacked = logits.expand(len(FORMULAS), -1, -1).clone().requires_grad_()
    values = population(stacked, target, torch.tensor([0.25]), SHARE[None])
    z = logits.clone().requires_grad_()
    for k, formula in enumerate(FORMULAS):
        mine = built(formula)(z, target)
        torch.testing.assert_close(values[k], mine, msg=formula)
        torch.testing.assert_close(gradient(values[k], stacked)[k], gradient(mine, z), msg=formula) if k == 0 else None
        values = population(stacked, target, torch.tensor([0.25]), SHARE[None])


def test_scales_are_the_same_one_by_one_and_together() -> None:
    specs = [LossSpec(formula) for formula in FORMULAS]
    for spec, scale in zip(specs, matched_scales(specs, CLASSES), strict=True):
        criterion = spec.build()
        try:
            assert criterion.match_classes(CLASSES).scale == pytest.approx(scale, rel=2e-6), spec.formula
        except ValueError:
            assert scale is None, spec.formula


def test_what_was_not_told_is_asked_for() -> None:
    logits, target = inputs()
    with pytest.raises(ValueError, match=r"set criterion\.progress = epoch / epochs"):
        ExpressionLoss("-progress * true_c(y_pred)")(logits, target)
    with pytest.raises(ValueError, match=r"give class_share, a tensor of shape \(5,\).*none was given"):
        ExpressionLoss("-true_c(class_share * y_pred)")(logits, target)
    with pytest.raises(ValueError, match=r"it has shape \(2,\)"):
        ExpressionLoss("-true_c(class_share * y_pred)", class_share=torch.tensor([0.5, 0.5]))(logits, target)
    criterion = ExpressionLoss("-progress * true_c(y_pred)")
    for wrong in (-0.1, 1.5, float("nan"), "x"):
        with pytest.raises(ValueError, match=r"progress must be in \[0, 1\]"):
            criterion.progress = wrong  # type: ignore[assignment]
    # A loss that does not ask may be told all the same.
    plain = lossforge.loss("cross_entropy")
    plain.progress = 0.5
    assert plain(logits, target).isfinite()


@pytest.mark.parametrize("share", [[5.0, -1.0, 0.0], [3, 2, 1], "abc", [[0.5, 0.5]], [float("nan"), 1.0]])
def test_what_are_no_shares_is_refused(share: object) -> None:
    with pytest.raises(ValueError, match="numbers of 0 or more that add up to 1"):
        lossforge.loss("-true_c(class_share * y_pred)", class_share=share)


def test_its_state_travels() -> None:
    logits, target = inputs()
    formula = "-progress * true_c(class_share * y_pred)"
    criterion = built(formula)
    state = criterion.state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == {"shares": (5,), "reached": ()}
    other = ExpressionLoss(formula)
    other.load_state_dict(state)
    for copied in (other, copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion))):
        assert copied.progress == 0.25
        assert torch.equal(copied(logits, target), criterion(logits, target))
    assert built(formula).to(torch.float32)(logits.float(), target).dtype == torch.float32


def test_a_loss_without_such_leaves_has_no_such_state() -> None:
    assert not DropInLoss().state_dict()
    assert not ExpressionLoss("-true_c(log(y_pred))").state_dict()


def test_a_loss_of_the_library_does_not_take_a_share_of_another_shape() -> None:
    with pytest.raises((LossError, ValueError)):
        lossforge.loss("-true_c(class_share * y_pred)", class_share=torch.ones(3))(*inputs())
