"""What a cohort is to do: the plan of a training, its replicas, and what comes of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lossforge.data.noise_kinds import SYMMETRIC, LabelNoise
from lossforge.data.splits import Part
from lossforge.losses.compiled import LossSpec
from lossforge.losses.heads import SOFTMAX, Head
from lossforge.training.metrics import Metrics

if TYPE_CHECKING:
    from torch import nn

    from lossforge.data.augmentation import Preparation
    from lossforge.data.replicate_split import ReplicateSplit
    from lossforge.spaces.schema import RecipeSection
    from lossforge.training.probe import Probe


_SOONEST = 5
"""Steps after which a network's accuracy begins to say something of its loss."""


class TrainingTimeoutError(Exception):
    """The training passed its deadline."""


@dataclass(frozen=True, slots=True)
class Replica:
    """One network of a cohort: its loss, its learning rate, and the seed of its weights, batches and label noise.

    ``floor`` is the accuracy on training batches below which it is stopped early; 0: it never is.
    """

    loss: LossSpec
    seed: int
    learning_rate: float
    floor: float = 0.0

    def filler(self, head: Head) -> Replica:
        """Cross-entropy in this replica's place: keeps a lane busy of which nothing is wanted."""
        return Replica(LossSpec(head.cross_entropy_formula), self.seed, self.learning_rate)


@dataclass(frozen=True, slots=True)
class ReplicaScore:
    """``accuracy``, or another metric that the plan names, in [0, 1]; None where the replica failed, with the reason.

    ``stopped`` says that it was far below cross-entropy. ``metrics`` holds further figures of the scored part, and
    ``curve``, the mean training loss of each epoch.
    """

    accuracy: float | None
    reason: str = ""
    metrics: Metrics = field(default_factory=dict)
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything of a training but its replicas. ``prepare`` makes stored samples the network's input.

    ``identity`` is the same for plans that differ in nothing but their limits; "" where that is not known. With
    ``test`` the scored part is a test part: the metrics say of each sample that has one class whether it was right, and
    more of their confidence. With ``score_training`` they have a few of the training part, with a ``probe`` what the
    features are worth elsewhere. ``label_noise`` is the share of labels that ``noise`` makes wrong. With ``ignoring``
    pixels of masks may be `IGNORED`. With ``shares`` each loss's share of a sum's gradient is kept for every epoch.
    With a ``split`` ``train`` and ``score`` are one pool, of which every seed draws its own parts.
    """

    train: Part
    score: Part
    classes: int
    recipe: RecipeSection
    epochs: int
    label_noise: float
    build: Callable[[int], nn.Module]
    prepare: Preparation | None = None
    head: Head = SOFTMAX
    metric: str = "accuracy"
    deadline: float = float("inf")
    clock: Callable[[], float] = time.monotonic
    on_epoch: Callable[[], None] | None = None
    identity: str = ""
    test: bool = False
    score_training: bool = False
    probe: Probe | None = None
    noise: LabelNoise = SYMMETRIC
    ignoring: bool = False
    shares: bool = False
    split: ReplicateSplit | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a sample, ``(C, H, W)``."""
        channels, height, width = self.train.x.shape[1:]
        return channels, height, width

    @property
    def train_size(self) -> int:
        """Samples that a network is trained on."""
        return len(self.train) if self.split is None else self.split.train_size

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        return max(1, self.train_size // self.recipe.batch_size)

    def hardly_scored(self) -> Plan:
        """The same with two samples to score: for trials that only want to know how a training goes."""
        return replace(self, train=self.train.first(self.train_size), score=self.score.first(2), split=None)

    @property
    def steps(self) -> int:
        """Batches of the whole training. ``recipe.steps`` stand for ``recipe.epochs``: twice those are twice these."""
        if self.recipe.steps:
            return max(1, round(self.recipe.steps * self.epochs / self.recipe.epochs))
        return self.batches * self.epochs

    @property
    def decision_step(self) -> int:
        """The step after which replicas below their floor are stopped; 0: none ever is, or it would be too soon."""
        step = round(self.recipe.stop_at * self.steps)
        return step if step >= _SOONEST else 0
