"""A cohort: K networks, stacked, each with its own loss, data order and label noise.

Parameters and buffers are stacked with `torch.func`, and a back end (`lossforge.training.backends`) runs the
replicas, so any network works unchanged. Logits of every pixel count as logits of that many samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lossforge.losses.compiled import LossSpec
from lossforge.losses.matching import matched_scales
from lossforge.losses.weighting_rules import MOST_TERMS
from lossforge.models.output_layer import output_layer
from lossforge.seeding import derive_seed
from lossforge.training.backends import Backend, LoopBackend, State, make_backend
from lossforge.training.changing_weights import ChangingWeights
from lossforge.training.cohort_loss import CohortLoss
from lossforge.training.lanes import LaneState, copied, gathered
from lossforge.training.optimizers import momenta_of
from lossforge.training.part_losses import PartLosses
from lossforge.training.plan import Plan, Replica
from lossforge.training.samples import Samples, Stream
from lossforge.training.stacked import Flat

_KEPT = 16
"""Back ends that are kept."""
_NUMBERS = 2**22
"""Numbers in the samples of one such batch: of large images there are fewer, for the memory's sake."""


@dataclass(frozen=True, slots=True)
class Networks:
    """What a cohort is made of: lanes, the names of their weights, who runs them, and what each seed draws.

    ``rate_factors`` are those of each parameter's learning rate; empty where the recipe has one rate for all.
    """

    lanes: LaneState
    names: list[str]
    backend: Backend
    streams: dict[int, Stream]
    rate_factors: list[float]


def new_networks(plan: Plan, replicas: Sequence[Replica]) -> Networks:
    """A network for each replica, before its first step. Replicas of one seed begin alike: built once, drawn once."""
    device = plan.train.y.device
    seeds = dict.fromkeys(one.seed for one in replicas)
    models = {seed: plan.build(derive_seed(seed, "weights")) for seed in seeds}
    stacked, buffers = torch.func.stack_module_state([models[one.seed].to(device) for one in replicas])
    names = [name for name, value in stacked.items() if value.requires_grad]
    template = next(iter(models.values()))
    factors: list[float] = []
    if plan.recipe.output_rate != 1:
        own = output_layer(template, plan.shape)
        factors = [plan.recipe.output_rate if name.rpartition(".")[0] == own else 1.0 for name in names]
    template = template.to("meta")
    lanes = LaneState.begin(
        Flat.of([stacked[name].detach() for name in names]),
        torch.tensor([one.learning_rate for one in replicas], device=device),
        momenta_of(plan.recipe),
        frozen={name: value for name, value in stacked.items() if not value.requires_grad},
        buffers=buffers,
    )
    backend = _backend(plan, template, len(replicas), device.type)
    return Networks(lanes, names, backend, {seed: Stream.begin(plan, seed) for seed in seeds}, factors)


_backends: dict[tuple[str, int, str], Backend] = {}
"""Back ends by what they are for: to find one the network is followed, which takes as long as some steps."""


def _backend(plan: Plan, template: nn.Module, replicas: int, device: str) -> Backend:
    key = (plan.identity, replicas, device)
    if key in _backends:
        return _backends[key]
    batch = plan.recipe.batch_size
    made = make_backend(plan.recipe.backend, template, replicas, device, plan.train.x.shape[1:], batch)
    if plan.identity:
        if len(_backends) >= _KEPT:
            _backends.pop(next(iter(_backends)))
        _backends[key] = made
    return made


class Cohort:
    """K networks in one, with their losses and their data.

    Args:
        plan: what is to be trained, on what.
        replicas: a loss, a rate and a seed for each network.
        networks: new ones, unless given.
    """

    def __init__(self, plan: Plan, replicas: Sequence[Replica], networks: Networks | None = None) -> None:
        networks = networks or new_networks(plan, replicas)
        self.plan = plan
        self.replicas = list(replicas)
        self.device = plan.train.y.device
        self.backend = networks.backend
        self.samples = Samples(plan, [networks.streams[seed] for seed in self.seeds])
        self.loss_function = CohortLoss(
            [one.loss for one in replicas], plan.recipe.label_smoothing, plan.head, ignoring=plan.ignoring
        )
        self.changing: ChangingWeights | None = None
        """Rules for weights of sums; None where no lane has one."""
        if any(one.loss.weighted is not None for one in replicas):
            self.changing = ChangingWeights(
                [one.loss for one in replicas],
                plan.recipe.label_smoothing,
                plan.head,
                ignoring=plan.ignoring,
                device=self.device,
            )
        self.summands = _summands(plan, replicas)
        self.needs = self.loss_function.needs | (self.changing.losses.needs if self.changing else frozenset())
        """What the losses read besides logits and target: "progress", "class_share"."""
        self.idle: frozenset[int] = frozenset()
        """Lanes that need not go on; a back end that can leaves them out."""
        self._numbers = numbers = [self.seeds.index(one.seed) for one in replicas]
        self.adjacent = numbers == sorted(numbers) and len({numbers.count(one) for one in numbers}) == 1
        """Whether lanes of one seed stand beside each other, equally many of each: a back end may share samples."""
        self.lanes = replace(networks.lanes, seed_of=torch.tensor(numbers, device=self.device))
        self.progress = torch.zeros(1, dtype=torch.float64, device=self.device)
        """How far the training is, 0 to 1; a step moves it on, where a loss asks."""
        asked = "class_share" in self.needs
        self.class_share = self.samples.class_shares()[self.lanes.seed_of] if asked else None
        self._lane_losses: list[CohortLoss] = []
        """Each lane's loss by itself; made where one is asked for."""
        self._names = networks.names
        self._factors = networks.rate_factors
        self.params = [part.detach().requires_grad_() for part in self.lanes.weights.parts]
        """Trainable parameters ``(K, ...)``, which share the memory of the lanes' weights."""
        self._state: State = {**dict(zip(self._names, self.params, strict=True)), **self.lanes.frozen}

    def _networks(self, lanes: LaneState, streams: dict[int, Stream]) -> Networks:
        return Networks(lanes, self._names, self.backend, streams, self._factors)

    def state_of(self, lane: int) -> State:
        """A lane's weights and buffers by name, as one network has them."""
        return {name: value[lane].detach() for name, value in {**self._state, **self.lanes.buffers}.items()}

    def rate_factors(self) -> Tensor | None:
        """The factor of each weight's learning rate, as the flat vector of weights; None where all have the same."""
        weights = self.lanes.weights
        return weights.layout.filled(self._factors, weights.vector) if self._factors else None

    def _streams(self) -> dict[int, Stream]:
        return dict(zip(self.seeds, self.samples.streams, strict=True))

    def twin(self) -> Cohort:
        """The same networks and losses in memory of their own; see `lossforge.training.captured`."""
        twin = Cohort(self.plan, self.replicas, self._networks(copied(self.lanes), self._streams()))
        twin.progress.copy_(self.progress)
        return twin

    @classmethod
    def gathered(cls, cohorts: Sequence[Cohort], lanes: Sequence[tuple[int, int]]) -> Cohort:
        """A cohort of lanes of others, each (which cohort, which lane), that goes on where those are."""
        first = cohorts[0]
        replicas = [cohorts[source].replicas[lane] for source, lane in lanes]
        state = gathered([one.lanes for one in cohorts], lanes)
        # Cohorts that are equally far have drawn equally much, and those of one seed the same.
        known = {seed: stream for one in cohorts for seed, stream in one._streams().items()}
        streams = {seed: known[seed].copy() for seed in dict.fromkeys(one.seed for one in replicas)}
        together = cls(first.plan, replicas, first._networks(state, streams))
        # Losses of one cohort may ask how far it is, and those of another not.
        together.progress.copy_(torch.stack([one.progress for one in cohorts]).max(0).values)
        return together

    def in_step(self) -> list[Tensor]:
        """All tensors that a step reads or changes, but for samples; the flat weights first."""
        shares = [] if self.class_share is None else [self.class_share]
        return [*self.lanes.in_step(), *self.loss_function.tables(self.lanes.scale), self.progress, *shares]

    @property
    def seeds(self) -> list[int]:
        """The seeds, each once, in the order of their first lanes."""
        return list(dict.fromkeys(one.seed for one in self.replicas))

    def __len__(self) -> int:
        return len(self.replicas)

    def logits(self, x: Tensor, *, training: bool) -> Tensor:
        """Logits ``(K, B, outputs)``, or of pixels ``(K, B * H * W, outputs)``, of samples ``(S, B, C, H, W)``.

        The samples are each seed's, or one batch for all (S = 1). The network computes in the recipe's precision;
        logits are float32.
        """
        if not (self.adjacent and self.backend.shares) and len(x) != len(self):
            x = x[self.lanes.seed_of] if len(x) > 1 else x.expand(len(self), *x.shape[1:])
        buffers = self.lanes.buffers
        with self._precision():
            return _by_sample(self.backend.logits(self._state, buffers, x, training=training, idle=self.idle))

    def lane_logits(self, lane: int, params: Sequence[Tensor], x: Tensor) -> Tensor:
        """Logits ``(N, outputs)`` in training of one lane with these parameters, by a back end that is a loop."""
        assert isinstance(self.backend, LoopBackend)
        frozen = {name: value[lane] for name, value in self.lanes.frozen.items()}
        buffers = {name: value[lane] for name, value in self.lanes.buffers.items()}
        samples = x[self._numbers[lane]] if len(x) > 1 else x[0]
        with self._precision():
            state = {**dict(zip(self._names, params, strict=True)), **frozen}
            return _by_sample(self.backend.one(state, buffers, samples, training=True)[None])[0]

    def lane_loss(self, lane: int, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of one lane, a number, of its logits ``(N, outputs)``; ``targets`` are all lanes'."""
        if not self._lane_losses:
            recipe = self.plan.recipe
            self._lane_losses = [
                CohortLoss([one.loss], recipe.label_smoothing, self.plan.head, ignoring=self.plan.ignoring)
                for one in self.replicas
            ]
        shares = self.class_share
        own = shares[lane : lane + 1] if shares is not None and len(shares) > 1 else shares
        function = self._lane_losses[lane]
        value: Tensor = function(logits[None], targets[lane : lane + 1], self.progress, own)[0]
        return value * self.lanes.scale[lane]

    def _precision(self) -> torch.autocast:
        precision = self.plan.recipe.precision
        return torch.autocast(
            self.device.type, getattr(torch, precision), enabled=precision != "float32", cache_enabled=False
        )

    def batches(self, first: int, end: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches ``first`` to ``end`` of the epoch: samples ``(S, B, C, H, W)``, and the lanes' targets.

        Those are class indices ``(K, B)``, of masks one a pixel, or labels ``(K, B, C)``.
        """
        for x, targets in self.samples.batches(first, end):
            yield x, (targets if targets.is_floating_point() else targets.flatten(1))[self.lanes.seed_of]

    def loss(self, logits: Tensor, targets: Tensor, parts: Tensor | None = None) -> Tensor:
        """Mean loss of each replica's batch, shape ``(K,)``, times its scale.

        ``parts`` are what `parts` gives.
        """
        values = self.loss_function(logits, targets, self.progress, self.class_share)
        if self.changing is not None and parts is not None:
            values = values + self.changing.loss(self.lanes, parts)
        return values * self.lanes.scale

    def parts(self, logits: Tensor, targets: Tensor) -> Tensor | None:
        """The losses of sums whose weights change, ``(K, MOST_TERMS)``; None where there is no such sum."""
        if self.changing is None:
            return None
        losses = self.changing.losses
        values = losses(logits, targets, self.progress, self.class_share)
        return losses.table(values, len(self), MOST_TERMS)

    def shared_weight(self) -> Tensor | None:
        """The weight ``(K, ...)`` of the layer that gives the logits, for GradNorm; None where no lane asks for it.

        Raises ModelError for a network that has no such layer.
        """
        if self.changing is None or not self.changing.balances:
            return None
        layer = output_layer(self.plan.build(0), self.plan.shape)
        return self.params[self._names.index(f"{layer}.weight")]

    def note_shares(self, logits: Tensor, targets: Tensor) -> None:
        """Keep each loss's share of the gradient on the logits of a batch, for all that are sums."""
        if self.summands is None:
            return
        lanes, losses = self.lanes, self.summands
        norms = losses.gradient_norms(logits, targets, self.progress, self.class_share)
        lengths = losses.table(norms, len(self), MOST_TERMS)
        factors = lengths.new_ones(lengths.shape)
        if self.changing is not None:
            factors = torch.where(self.changing.count > 0, self.changing.factors(lanes), factors)
        lengths = lengths * factors
        lanes.shares.append((lengths / lengths.sum(1, keepdim=True)).nan_to_num(0.0, 0.0, 0.0))
        lanes.weights_told.append(factors)

    def move_on(self) -> None:
        """One step is done."""
        if "progress" in self.needs:
            self.progress += 1 / max(1, self.plan.steps - 1)

    def match_gradients(self) -> list[str]:
        """Set the scales so that each gradient near a uniform start has cross-entropy's norm; see `matched_scales`.

        Returns a reason for each replica whose gradient there is zero or not finite, else ``""``.
        """
        found = matched_scales(self.loss_function.specs, self.plan.classes, self.plan.head)
        self.lanes.scale = torch.tensor([scale or 1.0 for scale in found], device=self.device)
        return ["the gradient at the start is zero or not finite" if scale is None else "" for scale in found]


def _summands(plan: Plan, replicas: Sequence[Replica]) -> PartLosses | None:
    """The losses of the replicas that are sums; None where the plan does not ask for their shares.

    Sums of more losses than have a place are left out.
    """
    if not plan.shares:
        return None
    parts = [[part.spec for part in one.loss.parts] if len(one.loss.parts) <= MOST_TERMS else [] for one in replicas]
    # A cohort without a sum gives its lanes to others that may have one: all keep the same.
    if not any(parts):
        parts[0] = [LossSpec(plan.head.cross_entropy_formula)]
    return PartLosses(parts, plan.recipe.label_smoothing, plan.head, ignoring=plan.ignoring)


def _by_sample(logits: Tensor) -> Tensor:
    """Logits ``(K, B, classes)``, or of pixels ``(K, B, classes, H, W)``, in the shape ``(K, N, classes)``.

    They are float32; those of a network in float64 stay what they are.
    """
    logits = logits if logits.dtype is torch.float64 else logits.float()
    return logits if logits.ndim == 3 else logits.movedim(2, -1).flatten(1, -2)


def batch_limit(x: Tensor, samples: int) -> int:
    """How many samples such as those of ``x`` to take at once: ``samples``, or fewer where they are large."""
    return max(1, min(samples, _NUMBERS // x[0].numel()))
