"""Train a cohort: all its replicas together, step by step, and score each.

A recipe may let several cohorts share a training (``heats``): each goes to the step of the early stop, one after the
other; then the survivors are put together, so that what was stopped costs nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lossforge.losses.weighting_rules import MOST_TERMS
from lossforge.seeding import derive_seed
from lossforge.training.captured import StepFunction, stepping
from lossforge.training.cohort import Cohort
from lossforge.training.early_stop import RunningAccuracy
from lossforge.training.lane_by_lane import goes_lane_by_lane, lane_gradients
from lossforge.training.lanes import LaneState
from lossforge.training.loss_scaling import unscaled
from lossforge.training.optimizers import Number, clip_gradient, make_optimizer
from lossforge.training.plan import Plan, Replica, ReplicaScore, TrainingTimeoutError
from lossforge.training.schedules import plateau_rates, schedule_values
from lossforge.training.scoring import NOT_FINITE, scored
from lossforge.training.stacked import flatten

_CAPTURED_FROM = 20
"""Steps of a training from which on a GPU captures them: a capture takes as long as some steps."""


def train_cohort(
    plan: Plan, replicas: Sequence[Replica], *, lanes: int = 0, left_out: Sequence[int] = ()
) -> list[ReplicaScore]:
    """Train the replicas together, ``lanes`` at a time (0: all), and score each on ``plan.score``, in order.

    Those at the places in ``left_out`` have no score; cross-entropy is in their lanes, as in the last ones where there
    are too few, or, with a back end that can do so, nothing is. A result depends on its replica and on the number of
    lanes (the kernels chosen for K networks round differently). Neighbours that fail on the way change no bit of it;
    which neighbours there are may change its rounding (with ``heats``, in half precision, or where all are
    cross-entropy), and what layers draw that draw random numbers. Raises TrainingTimeoutError past the deadline.
    """
    lanes = lanes or len(replicas)
    plan = replace(plan, shares=plan.shares and any(one.loss.parts for one in replicas))
    wanted = [place for place in range(len(replicas)) if place not in left_out]
    filled = [one if place in wanted else one.filler(plan.head) for place, one in enumerate(replicas)]
    filled += [replicas[place % len(replicas)].filler(plan.head) for place in range(-len(filled) % lanes)]
    torch.manual_seed(derive_seed(replicas[0].seed, "layers"))
    heats = [_Run.begin(plan, filled[start : start + lanes], start, wanted) for start in range(0, len(filled), lanes)]
    for heat in heats:
        heat.advance(plan.decision_step)
        heat.decide()
    scores: dict[int, ReplicaScore] = {}
    for heat in heats:
        scores |= heat.failures()
    for run in _regrouped(heats, lanes):
        run.advance(plan.steps)
        scores |= run.scores()
    return [scores[place] for place in wanted]


def _told(epochs: Sequence[Tensor]) -> list[list[list[float]]]:
    """What was kept for each epoch, by lane and epoch, in four digits."""
    rows: list[list[list[float]]] = torch.stack(list(epochs), 1).tolist() if epochs else []
    return [[[float(f"{value:.4g}") for value in row] for row in lane] for lane in rows]


def _regrouped(heats: list[_Run], lanes: int) -> list[_Run]:
    """The survivors of all heats in as few cohorts as hold them, each filled up with what need not go on.

    Where that saves nothing the heats go on as they are.
    """
    going = [heat for heat in heats if heat.alive()]
    alive = [(number, lane) for number, heat in enumerate(going) for lane in heat.alive()]
    count = -(-len(alive) // lanes)
    if count == len(going):
        return going
    survivors = set(alive)
    spare = [(number, lane) for number in range(len(going)) for lane in range(lanes) if (number, lane) not in survivors]
    seeds = [going[number].cohort.replicas[lane].seed for number, lane in alive]
    alive = [alive[place] for place in sorted(range(len(alive)), key=lambda place: seeds.index(seeds[place]))]
    places = [*alive, *spare]
    return [_Run.gathered(going, places[start : start + lanes]) for start in range(0, count * lanes, lanes)]


@dataclass
class _Run:
    """K replicas on their way: what has been trained, and what is known of it so far.

    ``places`` are those in what was asked (None: nothing is wanted of the lane), ``reasons`` why a lane failed before
    its first step, ``stopped`` whether it was stopped early; ``step`` steps are done.
    """

    plan: Plan
    cohort: Cohort
    places: list[int | None]
    reasons: list[str]
    stopped: list[bool]
    running: RunningAccuracy
    step: int = 0

    def __post_init__(self) -> None:
        self._peaks = [one.learning_rate for one in self.cohort.replicas]
        recipe = self.plan.recipe
        self.optimizer = make_optimizer(recipe, self._peaks, self.cohort.rate_factors())
        self._factor_optimizer = make_optimizer(recipe.model_copy(update={"weight_decay": 0.0}), self._peaks)
        self._shared = self.cohort.shared_weight()

    @classmethod
    def begin(cls, plan: Plan, replicas: Sequence[Replica], first: int, wanted: Sequence[int]) -> _Run:
        """A run before its first step, of replicas whose places begin with ``first``."""
        # Lanes of one seed side by side: they share their samples.
        seeds = [one.seed for one in replicas]
        order = sorted(range(len(replicas)), key=lambda lane: seeds.index(seeds[lane]))
        places = [first + lane if first + lane in wanted else None for lane in order]
        cohort = Cohort(plan, [replicas[lane] for lane in order])
        reasons = cohort.match_gradients() if plan.recipe.match_gradient else [""] * len(replicas)
        running = RunningAccuracy(plan.decision_step, plan.head, ignoring=plan.ignoring)
        return cls(plan, cohort, places, reasons, [False] * len(replicas), running)

    @property
    def lanes(self) -> LaneState:
        """The lanes' state."""
        return self.cohort.lanes

    def alive(self) -> list[int]:
        """Lanes that go on: wanted, and not failed or stopped."""
        finite = self.lanes.finite.tolist()
        return [
            lane
            for lane, place in enumerate(self.places)
            if place is not None and finite[lane] and not self.reasons[lane] and not self.stopped[lane]
        ]

    def advance(self, until: int) -> None:
        """Train up to step ``until``, unless nobody is left."""
        plan, per_epoch = self.plan, self.plan.batches
        values = schedule_values(plan.recipe.schedule, plan.steps)
        while self.step < until and self.alive():
            self._rest()
            place = self.step % per_epoch
            if place == 0 or not self.cohort.samples.begun:
                if plan.on_epoch is not None:
                    plan.on_epoch()
                self.cohort.samples.new_epoch()
            end = min(per_epoch, place + until - self.step)
            with ExitStack() as stack:
                step_on: StepFunction | None = None
                for x, targets in self.cohort.batches(place, end):
                    if plan.clock() > plan.deadline:
                        raise TrainingTimeoutError
                    numbers = self.optimizer.numbers(values[self.step], self.step + 1)
                    if step_on is None:
                        step_on = stack.enter_context(stepping(self, x, targets, numbers))
                    logits = step_on(x, targets, numbers)
                    self.running.see(self.step, logits, targets, x.shape[1], self.lanes.correct)
                    self.step += 1
            if end == per_epoch or self.step == plan.steps:
                self._end_epoch(end, logits.detach(), targets)

    def _end_epoch(self, batches: int, logits: Tensor, targets: Tensor) -> None:
        """Behind an epoch of so many batches, of which the last had these logits and targets."""
        plan, lanes = self.plan, self.lanes
        if plan.shares:
            self.cohort.note_shares(logits, targets)
        if self.cohort.changing is not None:
            self.cohort.changing.end_epoch(lanes, batches)
        lanes.curve.append(lanes.total / batches / lanes.scale)
        lanes.total.zero_()
        if plan.recipe.schedule == "plateau":
            peaks = torch.tensor(self._peaks, device=self.cohort.device)
            lanes.rates.copy_(plateau_rates(peaks, lanes.curve, plan.recipe))

    def _rest(self) -> None:
        """From here on leave out whoever need not go on."""
        self.cohort.idle = frozenset(range(len(self.places))).difference(self.alive())

    def step_on(self, x: Tensor, targets: Tensor, numbers: Sequence[Number]) -> Tensor:
        """Train on a batch, samples ``(S, B, C, H, W)`` and targets of each lane, and return the logits.

        It reads and changes nothing but tensors, in place, so that it can be captured.
        """
        cohort, lanes, recipe = self.cohort, self.lanes, self.plan.recipe
        scaling = recipe.precision == "float16"
        if goes_lane_by_lane(cohort):
            logits, loss, gradient = lane_gradients(cohort, x, targets, lanes.overflow_scale if scaling else None)
            self._change(loss, gradient, numbers)
            return logits
        logits = cohort.logits(x, training=True)
        parts = cohort.parts(logits, targets)
        loss = cohort.loss(logits, targets, parts)
        norms = None
        if self._shared is not None and cohort.changing is not None and parts is not None:
            norms = cohort.changing.norms(parts, self._shared, lanes.overflow_scale if scaling else 1.0)
        told = loss * lanes.overflow_scale if scaling else loss
        gradient = flatten(torch.autograd.grad(told.sum(), cohort.params, materialize_grads=True))
        self._change(loss.detach(), gradient, numbers, parts, norms)
        return logits

    def _change(
        self,
        loss: Tensor,
        gradient: Tensor,
        numbers: Sequence[Number],
        parts: Tensor | None = None,
        norms: Tensor | None = None,
    ) -> None:
        """Step along a flat gradient of losses ``(K,)``; ``parts`` and ``norms`` are for weights that change."""
        cohort, lanes, recipe = self.cohort, self.lanes, self.plan.recipe
        kept = None
        if recipe.precision == "float16":
            gradient, kept = unscaled(lanes, gradient)
        if recipe.clip_norm:
            gradient = clip_gradient(lanes.weights.layout, gradient, recipe.clip_norm)
        with torch.no_grad():
            self.optimizer.apply(lanes, gradient, numbers, kept)
            if cohort.changing is not None and parts is not None:
                cohort.changing.step(lanes, parts.detach(), norms, self._factor_optimizer, numbers, kept)
            lanes.finite &= loss.isfinite()
            lanes.total += loss
            cohort.move_on()

    @property
    def kind(self) -> tuple[Any, ...] | None:
        """See `lossforge.training.captured.Stepping`."""
        cohort = self.cohort
        room = cohort.loss_function.room
        if room is None or cohort.changing is not None or not self.plan.identity or self.plan.steps < _CAPTURED_FROM:
            return None
        one_rate, seeds = self.optimizer.one_rate, len(cohort.seeds)
        return self.plan.identity, cohort.backend.name, len(cohort), one_rate, seeds, cohort.adjacent, room

    def in_step(self) -> list[Tensor]:
        """All that a step reads or changes, the flat weights first; but for samples."""
        return self.cohort.in_step()

    def norms(self, flat: Tensor) -> Tensor:
        """Norm ``(K,)`` of each lane's part of a flat vector."""
        return self.lanes.weights.layout.norms(flat)

    def twin(self) -> _Run:
        """The same with memory of its own."""
        return replace(self, cohort=self.cohort.twin())

    def decide(self) -> None:
        """Stop those below their floor."""
        floors = torch.tensor([one.floor for one in self.cohort.replicas], device=self.cohort.device)
        if self.plan.decision_step and bool((floors > 0).any()):
            below, alive = self.running.below(floors, self.lanes.correct).tolist(), self.alive()
            self.stopped = [lane in alive and low for lane, low in enumerate(below)]

    @classmethod
    def gathered(cls, runs: Sequence[_Run], lanes: Sequence[tuple[int, int]]) -> _Run:
        """A run of lanes of others, each (which run, which lane), that goes on where those are."""
        cohort = Cohort.gathered([run.cohort for run in runs], lanes)
        going = [run.alive() for run in runs]
        places = [runs[number].places[lane] if lane in going[number] else None for number, lane in lanes]
        first = runs[0]
        return cls(first.plan, cohort, places, [""] * len(lanes), [False] * len(lanes), first.running, first.step)

    def failures(self) -> dict[int, ReplicaScore]:
        """Scores, by place, of the wanted lanes that do not go on."""
        going, accuracy = self.alive(), self.running.values(self.lanes.correct).tolist()
        failed: dict[int, ReplicaScore] = {}
        for lane, place in enumerate(self.places):
            if place is None or lane in going:
                continue
            reason = self.reasons[lane] or NOT_FINITE
            if self.stopped[lane]:
                floor = self.cohort.replicas[lane].floor
                step = self.plan.decision_step
                reason = f"stopped at step {step}: accuracy {accuracy[lane]:.3f} on training batches, below {floor:.3f}"
            failed[place] = ReplicaScore(None, reason, stopped=self.stopped[lane])
        return failed

    def scores(self) -> dict[int, ReplicaScore]:
        """Scores, by place, of all wanted lanes at the end."""
        scores = self.failures()
        if not self.alive():
            return scores
        self._rest()
        curve = torch.stack(self.lanes.curve, 1).tolist()
        shares = _told(self.lanes.shares)
        factors = _told(self.lanes.weights_told)
        running = self.running.values(self.lanes.correct).tolist()
        for lane, score in scored(self.plan, self.cohort, self.alive()).items():
            if score.accuracy is not None:
                score.metrics["curve"] = [float(f"{value:.6g}") for value in curve[lane]]
                parts = self.cohort.replicas[lane].loss.parts
                if shares and 0 < len(parts) <= MOST_TERMS:
                    score.metrics["terms"] = [part.name for part in parts]
                    score.metrics["gradient_shares"] = [row[: len(parts)] for row in shares[lane]]
                    if self.cohort.replicas[lane].loss.weighted is not None:
                        score.metrics["term_factors"] = [row[: len(parts)] for row in factors[lane]]
                if self.plan.decision_step:
                    score.metrics["running_accuracy"] = round(running[lane], 6)
            scores[self.places[lane] or 0] = score
        return scores
