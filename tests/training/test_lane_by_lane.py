"""A step lane by lane is the step of all lanes; each lane's bits are its own; and rounding is no worse than torch's."""

from __future__ import annotations

from statistics import median

import pytest
import torch
from torch import Tensor, nn

from lossforge.data.splits import Part
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.models.registry import MODELS, build_model
from lossforge.seeding import derive_seed
from lossforge.spaces.schema import RecipeSection
from lossforge.training.cohort import Cohort
from lossforge.training.lane_by_lane import goes_lane_by_lane, lane_gradients
from lossforge.training.plan import Plan, Replica
from lossforge.training.stacked import flatten
from lossforge.training.train import train_cohort

CLASSES, BATCH = 3, 6
FORMULAS = ("square(y_true - y_pred)", CROSS_ENTROPY, "exp(y_pred) - y_true * log(y_pred)")
LOSSES = [Replica(LossSpec(formula), seed, 0.01) for seed, formula in enumerate(FORMULAS)]
SLOW = {"inception_v3_ngl", "resnet50_ngl", "resnet50", "inception_v3", "deeplab_v3", "vit_small", "convnext_tiny"}


def plan(name: str, shape: tuple[int, int, int], width: int = 4, backend: str = "loop", **recipe: object) -> Plan:
    model = MODELS[name]
    width = width if model.scales else 16
    generator = torch.Generator().manual_seed(0)
    labels = (2 * BATCH, *shape[1:]) if model.dense else (2 * BATCH,)
    part = Part(torch.rand(2 * BATCH, *shape, generator=generator), torch.randint(CLASSES, labels, generator=generator))
    return Plan(
        train=part,
        score=part,
        classes=CLASSES,
        recipe=RecipeSection.model_validate({"batch_size": BATCH, "stop_at": 0.0, "backend": backend, **recipe}),
        epochs=2,
        label_noise=0.0,
        build=lambda seed: still(build_model(name, shape, CLASSES, width, seed, dense=model.dense)),
    )


def still(model: nn.Module) -> nn.Module:
    """The network without its random layers."""
    for module in model.modules():
        if hasattr(module, "p"):
            module.p = 0.0
    return model


def batch_of(cohort: Cohort) -> tuple[Tensor, Tensor]:
    cohort.samples.new_epoch()
    return next(iter(cohort.batches(0, 1)))


@pytest.mark.parametrize(("name", "shape"), [("resnet8", (3, 8, 8)), ("unet", (1, 16, 16)), ("mlp", (5, 1, 1))])
def test_lane_by_lane_is_all_at_once(name: str, shape: tuple[int, int, int]) -> None:
    one, other = (Cohort(plan(name, shape), LOSSES) for _ in range(2))
    assert goes_lane_by_lane(one)
    x, targets = batch_of(one)
    logits, losses, gradient = lane_gradients(one, x, targets, None)
    wanted = other.logits(x, training=True)
    loss = other.loss(wanted, targets)
    torch.testing.assert_close(logits, wanted)
    torch.testing.assert_close(losses, loss)
    expected = flatten(torch.autograd.grad(loss.sum(), other.params))
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-6)
    for key, buffer in other.lanes.buffers.items():
        torch.testing.assert_close(one.lanes.buffers[key], buffer)


def test_a_lanes_bits_depend_on_nothing_but_itself() -> None:
    task = plan("resnet8", (3, 8, 8))
    together = train_cohort(task, LOSSES)
    backwards = train_cohort(task, LOSSES[::-1])[::-1]
    alone = [train_cohort(task, [one])[0] for one in LOSSES]
    assert [score.metrics for score in together] == [score.metrics for score in alone]
    assert [score.metrics for score in together] == [score.metrics for score in backwards]


def case(name: str) -> object:
    return pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])


@pytest.mark.parametrize("name", [case(name) for name in MODELS])
def test_a_gradient_is_no_further_from_float64_than_twice_torchs(name: str) -> None:
    side = max(16, MODELS[name].smallest)
    shape = (8, 1, 1) if MODELS[name].module == "mlp" else (3, side, side)
    task = plan(name, shape, backend="rule")
    cohort = Cohort(task, [Replica(LossSpec(CROSS_ENTROPY), seed, 0.01) for seed in range(3)])
    x, targets = batch_of(cohort)
    if goes_lane_by_lane(cohort):
        _, _, flat = lane_gradients(cohort, x, targets, None)
        found = cohort.lanes.weights.layout.views(flat)
    else:
        found = list(torch.autograd.grad(cohort.loss(cohort.logits(x, training=True), targets).sum(), cohort.params))
    errors: dict[str, list[float]] = {"lossforge": [], "torch": []}
    for lane in range(3):
        exact, near = (gradient_of(cohort, lane, x, targets, dtype) for dtype in (torch.float64, torch.float32))
        mine = flatten([part[lane : lane + 1] for part in found])
        for who, gradient in (("lossforge", mine), ("torch", near)):
            errors[who].append(float((gradient.double() - exact).norm() / exact.norm()))
    # The median: what is rounded to the other side of a ReLU's corner costs either of them a hundred times as much.
    assert median(errors["lossforge"]) <= 2 * median(errors["torch"]) + 1e-7


def gradient_of(cohort: Cohort, lane: int, x: Tensor, targets: Tensor, dtype: torch.dtype) -> Tensor:
    """torch's gradient of cross-entropy, of a lane's network."""
    model = cohort.plan.build(derive_seed(cohort.replicas[lane].seed, "weights")).to(dtype).train()
    logits = model(x[lane].to(dtype))
    logits = logits if logits.ndim == 2 else logits.movedim(1, -1).flatten(0, -2)
    loss = torch.nn.functional.cross_entropy(logits, targets[lane])
    return flatten(torch.autograd.grad(loss, list(model.parameters())))
