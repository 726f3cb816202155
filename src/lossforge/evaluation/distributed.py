"""One network trained by several workers, each on its share of every batch, from images that are streamed.

What is here knows torch alone: who starts the workers, and where the state is kept between epochs, is decided
elsewhere (`lossforge.executors.ray_train`). Order, cuts and flips depend on seed, epoch and image, not on the number
of workers; the gradient is the mean over the whole batch. What does depend on it are BatchNorm's statistics and losses
of a whole batch such as Dice, both of a worker's own share, as everywhere; so the number is part of the task.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn, optim

from lossforge.data.image_stream import ImageStream, StreamPart, as_input, loader
from lossforge.evaluation.records import Training
from lossforge.losses.compiled import LossSpec
from lossforge.losses.heads import SOFTMAX
from lossforge.losses.matching import matched_scales
from lossforge.seeding import derive_seed
from lossforge.training.correctness import KEY, packed
from lossforge.training.metrics import metrics_of, metrics_of_test_part
from lossforge.training.schedules import plateau_rates, schedule_values
from lossforge.training.scoring import NOT_FINITE

_SCORE_BATCH = 256
State = dict[str, Any]
"""All that a training needs to go on after an epoch: tensors, numbers and texts."""


@dataclass(frozen=True, slots=True)
class Share:
    """Which of the workers this is, on what device; ``loaders`` processes decode its images (0: itself)."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"
    loaders: int = 0


class DistributedTraining:
    """One training on one of its workers.

    Args:
        training: loss, rate, seed and all else.
        stream: its images.
        build: makes the network from a seed.
        share: which worker this is.
        wrap: has the workers' gradients averaged.
    """

    def __init__(
        self,
        training: Training,
        stream: ImageStream,
        build: Callable[[int], nn.Module],
        share: Share = Share(),
        wrap: Callable[[nn.Module], nn.Module] = lambda network: network,
    ) -> None:
        self.training, self.stream, self.share = training, stream, share
        self.recipe, setup = training.setup.recipe, training.setup
        self.device = torch.device(share.device)
        self.train_part, self.score_part = (
            (stream.pooled(), stream.test) if setup.part == "test" else (stream.train, stream.validation)
        )
        self.batches = max(1, len(self.train_part) // self.recipe.batch_size)
        self.steps = self.batches * setup.epochs
        if self.recipe.steps:
            self.steps = max(1, round(self.recipe.steps * setup.epochs / self.recipe.epochs))
        network = build(derive_seed(training.seed, "weights")).to(self.device)
        if self.device.type == "cuda":
            network = network.to(memory_format=torch.channels_last)
        self.network = wrap(network)
        self.plain: nn.Module = getattr(self.network, "module", self.network)
        rate, decay = training.learning_rate, self.recipe.weight_decay
        self.optimizer = _optimizer(self.recipe.optimizer, self.network, rate, decay)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.recipe.precision == "float16")
        self.criterion, self.scale = self._criterion()
        self.step, self.seconds = 0, 0.0
        self.curve: list[float] = []
        self.failure = "" if self.scale is not None else "the gradient at the start is zero or not finite"

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train, or nothing is to be had from it."""
        return bool(self.failure) or self.timed_out or self.step >= self.steps

    @property
    def timed_out(self) -> bool:
        """Whether the training took longer than it may, in all its parts together."""
        return self.step < self.steps and self.seconds > self.training.setup.seconds

    def state(self) -> State:
        """What `load` goes on from."""
        return {
            "network": self.plain.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "curve": self.curve,
            "failure": self.failure,
        }

    def load(self, state: State) -> None:
        """Go on from there."""
        self.plain.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.curve, self.failure = list(state["curve"]), str(state["failure"])

    def train_epoch(self) -> None:
        """Train for an epoch, or what is left of the last."""
        began, epoch = time.monotonic(), self.step // self.batches
        count = min(self.batches, self.steps - self.step)
        torch.manual_seed(derive_seed(self.training.seed, "layers", epoch, self.share.rank))
        values = schedule_values(self.recipe.schedule, self.steps)
        rate = self._rate()
        self.network.train()
        total = torch.zeros((), device=self.device)
        for x, y in self._loaded(self.train_part, self._batches(epoch, count)):
            for group in self.optimizer.param_groups:
                group["lr"] = rate * values[self.step].factor
                _set_momentum(group, values[self.step].momentum)
            total += self._step(as_input(x, self.device), y.to(self.device))
            self.step += 1
        mean = float(self._summed(total)) / self.share.world / count
        self.curve.append(mean / (self.scale or 1.0))
        if not math.isfinite(mean):
            self.failure = NOT_FINITE
        taken = torch.tensor(time.monotonic() - began, device=self.device)
        self.seconds += float(self._summed(taken)) / self.share.world  # workers must agree on when time is up

    def score(self) -> tuple[float | None, dict[str, Any]]:
        """The task's metric on the scored part, in [0, 1], and all others; None where the logits are not finite."""
        part = self.score_part
        assert part is not None
        if self.share.world > 1:
            for buffer in self.plain.buffers():
                dist.broadcast(buffer, 0)
        self.network.eval()
        mine = range(self.share.rank, len(part), self.share.world)
        batches = [[(place, -1) for place in mine[at : at + _SCORE_BATCH]] for at in range(0, len(mine), _SCORE_BATCH)]
        found = []
        with torch.no_grad():
            for x, _ in self._loaded(part, batches):
                with self._precision():
                    found.append(self.plain(as_input(x, self.device)).float().cpu())
        logits = self._gathered(torch.cat(found) if found else torch.empty(0, self.stream.classes), len(part))
        if not bool(logits.isfinite().all()):
            self.failure = NOT_FINITE
            return None, {}
        tested = self.training.setup.part == "test"
        metrics = (metrics_of_test_part if tested else metrics_of)(logits, part.labels, SOFTMAX)
        right = SOFTMAX.predicted(logits, -1) == part.labels
        metrics["curve"] = [float(f"{value:.6g}") for value in self.curve]
        if tested:
            metrics[KEY] = packed(right)
        measure = self.training.setup.task.measure
        return (int(right.sum()) / len(part) if measure == "accuracy" else float(metrics[measure])), metrics

    def _step(self, x: Tensor, y: Tensor) -> Tensor:
        """Train on this worker's share of a batch; its mean loss."""
        if "progress" in self.criterion.needs:
            self.criterion.progress = self.step / max(1, self.steps - 1)
        self.optimizer.zero_grad(set_to_none=True)
        with self._precision():
            logits = self.network(x)
        loss = self.criterion(logits.float(), y) * self.scale
        self.scaler.scale(loss).backward()
        if self.recipe.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        detached: Tensor = loss.detach()
        return detached

    def _criterion(self) -> tuple[Any, float | None]:
        """The loss, with the recipe's smoothing as well, and its matched scale."""
        loss = self.training.loss
        loss.require_fixed("task.distributed")
        smoothing = 1 - (1 - loss.label_smoothing) * (1 - self.recipe.label_smoothing)
        spec = LossSpec(loss.formula, round(smoothing, 12), loss.class_mean)
        counts = self.train_part.counts(self.stream.classes)
        criterion = spec.build()
        if "class_share" in criterion.needs:
            criterion.class_share = counts / counts.sum()
        scale = matched_scales([spec], self.stream.classes)[0] if self.recipe.match_gradient else 1.0
        return criterion.to(self.device), scale

    def _rate(self) -> float:
        """The rate of this epoch, before what the schedule makes of it at each step."""
        if self.recipe.schedule != "plateau":
            return self.training.learning_rate
        curve = [torch.tensor([value], dtype=torch.float64) for value in self.curve]
        peak = torch.tensor([self.training.learning_rate], dtype=torch.float64)
        return float(plateau_rates(peak, curve, self.recipe)[0])

    def _batches(self, epoch: int, count: int) -> list[list[tuple[int, int]]]:
        """This worker's share of the epoch's first ``count`` batches: places, each with the seed of its cut."""
        root, size = derive_seed(self.training.seed, "epoch", epoch), self.recipe.batch_size
        order = torch.randperm(len(self.train_part), generator=torch.Generator().manual_seed(root)).tolist()
        mine = slice(self.share.rank, None, self.share.world)
        shares = [order[at * size : (at + 1) * size][mine] for at in range(count)]
        return [[(place, derive_seed(root, place)) for place in batch] for batch in shares]

    def _loaded(self, part: StreamPart, batches: list[list[tuple[int, int]]]) -> Any:
        return loader(part, self.stream.size, batches, self.share.loaders, pin=self.device.type == "cuda")

    def _precision(self) -> torch.autocast:
        precision = self.recipe.precision
        return torch.autocast(self.device.type, getattr(torch, precision), enabled=precision != "float32")

    def _summed(self, value: Tensor) -> Tensor:
        if self.share.world > 1:
            dist.all_reduce(value)
        return value

    def _gathered(self, mine: Tensor, count: int) -> Tensor:
        """Every worker's rows, in the order of the part."""
        parts = [mine]
        if self.share.world > 1:
            parts = [mine] * self.share.world
            dist.all_gather_object(parts, mine)
        rows = torch.empty(count, mine.shape[1])
        for rank, part in enumerate(parts):
            rows[rank :: self.share.world] = part
        return rows


def _optimizer(name: str, network: nn.Module, rate: float, decay: float) -> optim.Optimizer:
    """torch's own, as the cohorts have it."""
    if name == "sgd":
        return optim.SGD(network.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=decay)
    kind = optim.AdamW if name == "adamw" else optim.Adam
    return kind(network.parameters(), lr=rate, weight_decay=decay)


def _set_momentum(group: dict[str, Any], momentum: float | None) -> None:
    if momentum is None:
        return
    if "betas" in group:
        group["betas"] = (momentum, group["betas"][1])
    else:
        group["momentum"] = momentum
