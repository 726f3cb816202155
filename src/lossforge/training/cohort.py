"""A cohort: K networks, stacked, each with its own loss, data order and label noise.

Parameters and buffers are stacked with `torch.func`, and a back end (`lossforge.training.backends`) runs the
replicas, so any network works unchanged. Logits of every pixel count as logits of that many samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy

import torch
from torch import Tensor

from lossforge.data.splits import noisy_labels
from lossforge.losses.matching import matched_scales
from lossforge.seeding import derive_seed
from lossforge.training.backends import Backend, State, make_backend
from lossforge.training.cohort_loss import CohortLoss
from lossforge.training.plan import Plan, Replica
from lossforge.training.stacked import Layout, flatten

_NUMBERS = 2**22
"""Numbers in the samples of one such batch: of large images there are fewer, for the memory's sake."""


class Cohort:
    """K networks in one, with their losses and their data.

    ``flat`` holds the trainable parameters as `Layout` says; ``buffers`` and frozen parameters are stacked.
    """

    def __init__(self, plan: Plan, replicas: Sequence[Replica]) -> None:
        self.plan = plan
        self.replicas = list(replicas)
        device = plan.train.y.device
        self.device = device
        # Replicas of one seed begin alike: built once, drawn once.
        models = {seed: plan.build(derive_seed(seed, "weights")) for seed in self.seeds}
        stacked, self.buffers = torch.func.stack_module_state([models[one.seed].to(device) for one in replicas])
        self._trained = [name for name, value in stacked.items() if value.requires_grad]
        self._frozen = {name: value for name, value in stacked.items() if not value.requires_grad}
        self.layout = Layout([stacked[name].shape[1:] for name in self._trained], len(replicas))
        with torch.no_grad():
            self._adopt(flatten([stacked[name].detach() for name in self._trained]))
        template = next(iter(models.values())).to("meta")
        self.backend: Backend = make_backend(
            plan.recipe.backend, template, len(replicas), device.type, plan.train.x.shape[1:]
        )
        self.loss_function = CohortLoss([one.loss for one in replicas], plan.recipe.label_smoothing)
        self.scale = torch.ones(len(replicas), device=device)
        self.idle: frozenset[int] = frozenset()
        """Lanes that need not go on; a back end that can leaves them out."""
        self._orders = [torch.Generator().manual_seed(derive_seed(seed, "order")) for seed in self.seeds]
        self._augmenting = [] if plan.prepare is None else plan.prepare.generators(self.seeds)
        self.labels = self._noisy_labels()
        self._share()

    def _share(self) -> None:
        """Replicas of one seed meet the same samples in the same order: those are made once and shared.

        ``seed_of`` (K,) is the number of each lane's seed. ``adjacent`` says that lanes of one seed stand beside each
        other, equally many of each: then a back end may take the samples as they are.
        """
        numbers = [self.seeds.index(one.seed) for one in self.replicas]
        self.seed_of = torch.tensor(numbers, device=self.device)
        each = len(numbers) // len(self.seeds)
        self.adjacent = numbers == [number for number in range(len(self.seeds)) for _ in range(each)]

    def _adopt(self, flat: Tensor) -> None:
        """Make a flat vector the parameters."""
        self.flat = flat
        views = [view.detach().requires_grad_() for view in self.layout.views(flat)]
        self.params: list[Tensor] = views
        """Trainable parameters ``(K, ...)``, which share the flat vector's memory."""
        self._state: State = {**dict(zip(self._trained, views, strict=True)), **self._frozen}

    def shadow(self) -> Cohort:
        """The same networks in memory of their own, with room for other losses; see `lossforge.training.captured`."""
        made = copy(self)
        made._frozen = {name: value.clone() for name, value in self._frozen.items()}
        made.buffers = {name: value.clone() for name, value in self.buffers.items()}
        made._adopt(self.flat.clone())
        made.scale, made.seed_of, made.idle = self.scale.clone(), self.seed_of.clone(), frozenset()
        made.loss_function = self.loss_function.roomy()
        return made

    @property
    def state(self) -> list[Tensor]:
        """All that a step reads or changes, but for samples and losses."""
        return [self.flat, *self._frozen.values(), *self.buffers.values(), self.scale, self.seed_of]

    @property
    def seeds(self) -> list[int]:
        """The seeds, each once, in the order of their first lanes."""
        return list(dict.fromkeys(one.seed for one in self.replicas))

    def _noisy_labels(self) -> Tensor:
        """Training labels ``(S, N, ...)`` of each seed, or ``(1, N, ...)`` where all have the same."""
        clean = self.plan.train.y
        if not self.plan.label_noise:
            return clean[None]
        share, classes = self.plan.label_noise, self.plan.classes
        noisy = [noisy_labels(clean.cpu(), share, classes, derive_seed(seed, "noise")) for seed in self.seeds]
        return torch.stack(noisy).to(self.device)

    def __len__(self) -> int:
        return len(self.replicas)

    def logits(self, x: Tensor, *, training: bool) -> Tensor:
        """Logits ``(K, B, classes)``, or of pixels ``(K, B * H * W, classes)``, of samples ``(S, B, C, H, W)``.

        The samples are each seed's, or one batch for all (S = 1). The network computes in the recipe's precision;
        logits are float32.
        """
        if not (self.adjacent and self.backend.shares) and len(x) != len(self):
            x = x[self.seed_of] if len(x) > 1 else x.expand(len(self), *x.shape[1:])
        with self._precision():
            return _by_sample(self.backend.logits(self._state, self.buffers, x, training=training, idle=self.idle))

    def _precision(self) -> torch.autocast:
        precision = self.plan.recipe.precision
        return torch.autocast(
            self.device.type, getattr(torch, precision), enabled=precision != "float32", cache_enabled=False
        )

    def inputs(self, x: Tensor) -> Tensor:
        """Stored samples as the networks take them, not augmented."""
        return x if self.plan.prepare is None else self.plan.prepare(x)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Samples ``(S, B, C, H, W)``, not augmented, and class indices ``(K, B)`` of samples or pixels."""
        return self.inputs(self.plan.train.samples(indices)), self._of_lanes(self.targets(indices))

    def augmented(self, indices: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The training batch at ``indices`` ``(S, B)``: stored samples ``x`` varied, and masks moved with them."""
        prepare, targets = self.plan.prepare, self.targets(indices)
        if prepare is None or not self._augmenting:
            return self.inputs(x), self._of_lanes(targets)
        if targets.ndim == 2:
            return prepare(x, self._augmenting), self._of_lanes(targets)
        x, targets = prepare.with_masks(x, targets, self._augmenting)
        return x, self._of_lanes(targets)

    def _of_lanes(self, targets: Tensor) -> Tensor:
        """Targets ``(S, B, ...)`` of the seeds as those of the lanes, ``(K, B)``."""
        return targets.flatten(1)[self.seed_of]

    def targets(self, indices: Tensor) -> Tensor:
        """Class indices ``(S, B)``, or masks ``(S, B, H, W)``, at ``indices``, shape ``(S, B)``."""
        seed = torch.arange(len(indices), device=self.device)[:, None] if len(self.labels) > 1 else 0
        return self.labels[seed, indices]

    def epoch_order(self) -> Tensor:
        """Indices ``(S, N)``: every seed's own order of the training samples."""
        orders = [torch.randperm(len(self.plan.train), generator=generator) for generator in self._orders]
        return torch.stack(orders).to(self.device)

    def batches(self, order: Tensor, first: int, end: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches ``first`` to ``end`` along ``order`` ``(S, N)``: samples ``(S, B, C, H, W)``, targets ``(K, B)``."""
        size = self.plan.recipe.batch_size
        batches = [order[:, place * size : (place + 1) * size] for place in range(first, end)]
        for indices, x in zip(batches, self.plan.train.batches(batches), strict=True):
            yield self.augmented(indices, x)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of each replica's batch, shape ``(K,)``, times its scale."""
        return self.loss_function(logits, targets) * self.scale

    def match_gradients(self) -> list[str]:
        """Set the scales so that each gradient near a uniform start has cross-entropy's norm; see `matched_scales`.

        Returns a reason for each replica whose gradient there is zero or not finite, else ``""``.
        """
        found = matched_scales(self.loss_function.specs, self.plan.classes)
        self.scale = torch.tensor([scale or 1.0 for scale in found], device=self.device)
        return ["the gradient at the start is zero or not finite" if scale is None else "" for scale in found]

    @classmethod
    def gathered(cls, cohorts: Sequence[Cohort], lanes: Sequence[tuple[int, int]]) -> Cohort:
        """A cohort of lanes of others, each (which cohort, which lane), that goes on where those are."""
        made = cls.__new__(cls)
        first = cohorts[0]
        made.plan, made.device, made.backend = first.plan, first.device, first.backend
        made.replicas = [cohorts[source].replicas[lane] for source, lane in lanes]
        made._trained = first._trained
        made.layout = Layout(first.layout.shapes, len(lanes))

        def chosen(of: Callable[[Cohort], Tensor]) -> Tensor:
            return torch.stack([of(cohorts[source])[lane] for source, lane in lanes])

        made.idle = frozenset()
        made._frozen = {name: chosen(lambda one, name=name: one._frozen[name]) for name in first._frozen}  # type: ignore[misc]
        made.buffers = {name: chosen(lambda one, name=name: one.buffers[name]) for name in first.buffers}  # type: ignore[misc]
        made._adopt(made.layout.take([(one.layout, one.flat) for one in cohorts], lanes))
        made.scale = chosen(lambda one: one.scale)
        made.loss_function = CohortLoss([one.loss for one in made.replicas], made.plan.recipe.label_smoothing)
        # Cohorts that are equally far have drawn equally much, and those of one seed the same.
        source = {seed: (one, place) for one in cohorts for place, seed in enumerate(one.seeds)}
        of_seeds = [source[seed] for seed in made.seeds]
        made._orders = [_copied(one._orders[place]) for one, place in of_seeds]
        made._augmenting = [_copied(one._augmenting[place]) for one, place in of_seeds if one._augmenting]
        made.labels = first.labels
        if made.plan.label_noise:
            made.labels = torch.stack([one.labels[place] for one, place in of_seeds])
        made._share()
        return made


def _copied(generator: torch.Generator) -> torch.Generator:
    return torch.Generator().set_state(generator.get_state())


def _by_sample(logits: Tensor) -> Tensor:
    """Logits ``(K, B, classes)``, or of pixels ``(K, B, classes, H, W)``, as float32 of shape ``(K, N, classes)``."""
    logits = logits.float()
    return logits if logits.ndim == 3 else logits.movedim(2, -1).flatten(1, -2)


def batch_limit(x: Tensor, samples: int) -> int:
    """How many samples such as those of ``x`` to take at once: ``samples``, or fewer where they are large."""
    return max(1, min(samples, _NUMBERS // x[0].numel()))
