"""Cohort training: K replicas of one network, each with its own loss and seed, in one training.

Parameters and buffers are stacked with `torch.func`, and a back end (`lossforge.training.backends`) runs the
replicas, so any network works unchanged; the optimiser is elementwise, so a replica that diverges changes nothing in
its neighbours. Logits of every pixel count as logits of that many samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossforge.data.splits import Part, noisy_labels
from lossforge.losses.compiled import ExpressionLoss, LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.losses.terms import OverlapLoss, TermLoss
from lossforge.seeding import derive_seed
from lossforge.training.backends import choose_backend
from lossforge.training.metrics import Metrics, classification_metrics, segmentation_metrics
from lossforge.training.optimizers import clip_gradients, make_optimizer, make_schedule

if TYPE_CHECKING:
    from lossforge.data.augmentation import Preparation
    from lossforge.spaces.schema import RecipeSection

_MATCH_SAMPLES = 512
"""Training samples on which the gradient's size at the start is matched to cross-entropy's."""
_SCORE_SAMPLES = 1024
"""Samples that are scored at once."""
_NUMBERS = 2**22
"""Numbers in the samples of one such batch: of large images there are fewer, for the memory's sake."""


class TrainingTimeoutError(Exception):
    """The training passed its deadline."""


@dataclass(frozen=True, slots=True)
class Replica:
    """One network of a cohort: its loss, and the seed of its weights, batches and label noise."""

    loss: LossSpec
    seed: int


@dataclass(frozen=True, slots=True)
class ReplicaScore:
    """``accuracy``, or another metric that the plan names, in [0, 1]; None where the replica diverged, with the reason.

    ``metrics`` holds further figures of the scored part, and ``curve``, the mean training loss of each epoch.
    """

    accuracy: float | None
    reason: str = ""
    metrics: Metrics = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything of a training but its replicas. ``prepare`` makes stored samples the network's input."""

    train: Part
    score: Part
    classes: int
    recipe: RecipeSection
    epochs: int
    learning_rate: float
    label_noise: float
    build: Callable[[int], nn.Module]
    prepare: Preparation | None = None
    metric: str = "accuracy"
    deadline: float = float("inf")
    clock: Callable[[], float] = time.monotonic
    on_epoch: Callable[[], None] | None = None

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        return max(1, len(self.train) // self.recipe.batch_size)

    @property
    def steps(self) -> int:
        """Batches of the whole training. ``recipe.steps`` stand for ``recipe.epochs``: twice those are twice these."""
        if self.recipe.steps:
            return max(1, round(self.recipe.steps * self.epochs / self.recipe.epochs))
        return self.batches * self.epochs


class _Cohort:
    """Stacked networks, their training data and their losses."""

    def __init__(self, plan: Plan, replicas: Sequence[Replica]) -> None:
        device = plan.train.y.device
        models = [plan.build(derive_seed(replica.seed, "weights")).to(device) for replica in replicas]
        self.params, self.buffers = torch.func.stack_module_state(models)
        self.backend = choose_backend(models[0].to("meta"), len(replicas), device.type, plan.train.x.shape[1:])
        self.plan = plan
        self.losses = [replica.loss.build() for replica in replicas]
        self.order = [torch.Generator().manual_seed(derive_seed(replica.seed, "order")) for replica in replicas]
        seeds = [replica.seed for replica in replicas]
        self.augmenting = [] if plan.prepare is None else plan.prepare.generators(seeds)
        labels = [
            noisy_labels(plan.train.y.cpu(), plan.label_noise, plan.classes, derive_seed(replica.seed, "noise"))
            for replica in replicas
        ]
        self.targets = self.encoded(torch.stack(labels)).to(device)
        self.scale = torch.ones(len(replicas), device=device)

    def logits(self, x: Tensor, *, training: bool) -> Tensor:
        """Logits ``(K, B, classes)`` of ``x``, shape ``(K, B, C, H, W)``; ``(K, B * H * W, classes)`` of pixels."""
        logits = self.backend.logits(self.params, self.buffers, x, training=training)
        return logits if logits.ndim == 3 else logits.movedim(2, -1).flatten(1, -2)

    def inputs(self, x: Tensor, *, augment: bool) -> Tensor:
        """Stored samples as the networks take them; ``augment`` varies those of a training batch."""
        if self.plan.prepare is None:
            return x
        return self.plan.prepare(x, self.augmenting if augment else ())

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Samples ``(K, B, C, H, W)``, not augmented, and targets of the logits' shape, at ``indices`` ``(K, B)``."""
        return self.inputs(self.plan.train.samples(indices), augment=False), self.targets_of(indices)

    def targets_of(self, indices: Tensor) -> Tensor:
        """Targets ``(K, B, classes)``, or of ``B * H * W`` pixels, at ``indices``, shape ``(K, B)``."""
        replica = torch.arange(len(indices), device=self.targets.device)[:, None]
        return self.targets[replica, indices].flatten(1, -2)

    def encoded(self, labels: Tensor) -> Tensor:
        """Targets ``(*, classes)`` of class indices ``(*)``: one-hot, and smoothed where the recipe says so."""
        targets = functional.one_hot(labels, self.plan.classes).float()
        if self.plan.recipe.label_smoothing:
            even = torch.full_like(targets[:1], 1 / self.plan.classes)
            targets.lerp_(even, self.plan.recipe.label_smoothing)
        return targets

    def augmented(self, indices: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The training batch at ``indices`` ``(K, B)``: stored samples ``x`` varied, and masks moved with them."""
        prepare, targets = self.plan.prepare, self.targets_of(indices)
        if prepare is None or not self.augmenting or self.plan.train.y.ndim == 1:
            return self.inputs(x, augment=True), targets
        masks = targets.argmax(-1).view(*indices.shape, *x.shape[-2:])
        x, masks = prepare.with_masks(x, masks, self.augmenting)
        return x, self.encoded(masks).flatten(1, -2)

    def batches(self, order: Tensor, count: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """``count`` batches along ``order``, shape ``(K, N)``: samples ``(K, B, C, H, W)`` and their targets."""
        batches = [order[:, start : start + size] for start in range(0, count * size, size)]
        for indices, x in zip(batches, self.plan.train.batches(batches), strict=True):
            yield self.augmented(indices, x)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of each replica's batch, shape ``(K,)``, times its scale."""
        if all(loss is self.losses[0] or _same(loss, self.losses[0]) for loss in self.losses):
            return _mean_loss(self.losses[0], logits, targets) * self.scale
        values = [_mean_loss(loss, logits[k], targets[k]) for k, loss in enumerate(self.losses)]
        return torch.stack(values) * self.scale

    def match_gradients(self) -> list[str]:
        """Set the scales so that each gradient on the logits starts with cross-entropy's norm.

        Returns a reason for each replica whose gradient is zero or not finite, else ``""``.
        """
        count = min(_batch_limit(self.plan.train.x, _MATCH_SAMPLES), len(self.plan.train))
        indices = torch.arange(count, device=self.targets.device).expand(len(self.losses), count)
        x, targets = self.batch(indices)
        kept = {name: buffer.clone() for name, buffer in self.buffers.items()}
        with torch.no_grad():
            start = self.logits(x, training=True)
        self.buffers = kept
        wanted = _gradient_norms(lambda z: _mean_loss(ExpressionLoss(CROSS_ENTROPY), z, targets), start)
        found = _gradient_norms(lambda z: self.loss(z, targets), start)
        usable = found.isfinite() & (found > 0)
        self.scale = torch.where(usable, wanted / torch.where(usable, found, torch.ones_like(found)), self.scale)
        return ["" if good else "the gradient at the start is zero or not finite" for good in usable.tolist()]

    def epoch_order(self) -> Tensor:
        """Indices ``(K, N)``: every replica's own order of the training samples."""
        orders = [torch.randperm(len(self.plan.train), generator=generator) for generator in self.order]
        return torch.stack(orders).to(self.targets.device)


def _batch_limit(x: Tensor, samples: int) -> int:
    """How many samples such as those of ``x`` to take at once: ``samples``, or fewer where they are large."""
    return max(1, min(samples, _NUMBERS // x[0].numel()))


def _same(a: ExpressionLoss | TermLoss, b: ExpressionLoss | TermLoss) -> bool:
    return (a.formula, a.label_smoothing, a.class_mean) == (b.formula, b.label_smoothing, b.class_mean)


def _mean_loss(loss: ExpressionLoss | TermLoss, logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over samples of the loss of logits ``(..., B, classes)`` against targets of the same shape.

    A loss of the whole batch is taken of each batch.
    """
    if isinstance(loss, OverlapLoss):
        batches = zip(logits.reshape(-1, *logits.shape[-2:]), targets.reshape(-1, *logits.shape[-2:]), strict=True)
        return torch.stack([loss(*batch) for batch in batches]).view(logits.shape[:-2])
    classes = logits.shape[-1]
    flat = loss_of_samples(loss, logits.reshape(-1, classes), targets.reshape(-1, classes))
    mean: Tensor = flat.view(logits.shape[:-1]).mean(-1)
    return mean


def loss_of_samples(loss: ExpressionLoss | TermLoss, logits: Tensor, targets: Tensor) -> Tensor:
    """Loss ``(N,)`` of each sample, by the module that a user would call."""
    reduction, loss.reduction = loss.reduction, "none"
    try:
        value: Tensor = loss(logits, targets)
    finally:
        loss.reduction = reduction
    return value


def _gradient_norms(loss: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """Norm ``(K,)`` of each replica's gradient on its logits."""
    z = logits.detach().requires_grad_()
    value = loss(z)
    if not value.requires_grad:
        return torch.zeros(len(logits), device=logits.device)
    (gradient,) = torch.autograd.grad(value.sum(), z, allow_unused=True)
    if gradient is None:
        return torch.zeros(len(logits), device=logits.device)
    norms: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return norms


def train_cohort(plan: Plan, replicas: Sequence[Replica]) -> list[ReplicaScore]:
    """Train the replicas together and score each on ``plan.score``.

    A result depends on its replica's loss and seed, and on K (the kernels chosen for K networks round
    differently). Raises TrainingTimeoutError past the deadline.
    """
    torch.manual_seed(derive_seed(replicas[0].seed, "layers"))
    cohort = _Cohort(plan, replicas)
    reasons = cohort.match_gradients() if plan.recipe.match_gradient else [""] * len(replicas)
    if all(reasons):
        return [ReplicaScore(None, reason) for reason in reasons]
    params = list(cohort.params.values())
    batches = plan.batches
    optimizer = make_optimizer(plan.recipe, params, plan.learning_rate)
    steps = plan.steps
    schedule = make_schedule(plan.recipe, optimizer, plan.learning_rate, steps)
    finite = torch.ones(len(replicas), dtype=torch.bool, device=plan.train.y.device)
    curve: list[Tensor] = []
    for begun in range(0, steps, batches):
        if plan.on_epoch is not None:
            plan.on_epoch()
        total = torch.zeros(len(replicas), device=plan.train.y.device)
        order = cohort.epoch_order()
        count = min(batches, steps - begun)
        for x, targets in cohort.batches(order, count, plan.recipe.batch_size):
            if plan.clock() > plan.deadline:
                raise TrainingTimeoutError
            loss = cohort.loss(cohort.logits(x, training=True), targets)
            optimizer.zero_grad(set_to_none=True)
            loss.sum().backward()  # type: ignore[no-untyped-call]
            if plan.recipe.clip_norm:
                clip_gradients(params, plan.recipe.clip_norm)
            optimizer.step()
            schedule.step()
            finite &= loss.detach().isfinite()
            total += loss.detach()
        curve.append(total / count / cohort.scale)
        if not finite.any():
            break
    return _scores(cohort, plan, finite, reasons, torch.stack(curve, 1))


def _scores(cohort: _Cohort, plan: Plan, finite: Tensor, reasons: list[str], curve: Tensor) -> list[ReplicaScore]:
    parts = []
    with torch.no_grad():
        for stored in plan.score.chunks(_batch_limit(plan.score.x, _SCORE_SAMPLES)):
            x = cohort.inputs(stored, augment=False)
            parts.append(cohort.logits(x.expand(len(reasons), *x.shape), training=False))
    logits, y = torch.cat(parts, 1), plan.score.y.flatten()
    finite = finite & logits.isfinite().flatten(1).all(1)
    correct = (logits.argmax(-1) == y).sum(1)
    figures = classification_metrics if plan.score.y.ndim == 1 else segmentation_metrics
    scores = []
    for k, (good, count, reason) in enumerate(zip(finite.tolist(), correct.tolist(), reasons, strict=True)):
        if not good or reason:
            scores.append(ReplicaScore(None, reason or "the loss or the logits stopped being finite"))
        else:
            metrics = figures(logits[k], y)
            metrics["curve"] = [float(f"{value:.6g}") for value in curve[k].tolist()]
            value = count / y.numel() if plan.metric == "accuracy" else metrics[plan.metric]
            scores.append(ReplicaScore(value, metrics=metrics))
    return scores
