"""What goes to a worker and what comes back: plain text and numbers, nothing else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from lossforge.losses.compiled import LossSpec
from lossforge.models.imported import source_digest
from lossforge.spaces.schema import RecipeSection, TaskSection


class Outcome(StrEnum):
    """How a training, or a candidate, ended."""

    TRAINED = "trained"
    DIVERGED = "diverged"
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"
    CACHED = "cached"


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """One cohort to train: one loss, one seed a replicate.

    ``key`` names the loss (its signature), ``part`` is what is scored: "validation" (trained on the
    training part) or "test" (trained on training and validation parts). ``replicates`` number the seeds.
    """

    key: str
    loss: LossSpec
    task: TaskSection
    recipe: RecipeSection
    learning_rate: float
    epochs: int
    part: str
    replicates: tuple[int, ...]
    seeds: tuple[int, ...]
    seconds: float

    def fingerprint(self) -> str:
        """sha256 of all that decides the result but the seeds: the ledger's key, with a replicate's seed.

        The loss enters by its key: two formulas with one signature are one candidate. A network of the user's
        own enters with its file. How the rate was found, and the time limit, do not enter.
        """
        unused = {name for name in ("steps", "clip_norm", "label_smoothing") if not getattr(self.recipe, name)}
        # The request's own number of epochs counts; a recipe's steps count in proportion to the recipe's.
        elsewhere = {"learning_rate", "learning_rates", "sweep_seeds", *([] if self.recipe.steps else ["epochs"])}
        recipe = self.recipe.model_dump(mode="json", exclude=elsewhere | unused)
        parts = {
            "key": self.key,
            "smoothing": self.loss.label_smoothing,
            # With matched gradients a mean and a sum over classes are one loss.
            "class_mean": self.loss.class_mean and not self.recipe.match_gradient,
            "task": self.task.identity(),
            "recipe": recipe,
            "learning_rate": self.learning_rate,
            "epochs": self.epochs,
            "part": self.part,
        }
        if ":" in self.task.model:
            parts["network"] = source_digest(self.task.model)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a cohort gave: an accuracy in [0, 1] a replicate, or None with the outcome and reason.

    ``metrics`` are those of each replicate (see `lossforge.training.metrics`), empty for one that failed.
    """

    outcomes: tuple[Outcome, ...]
    accuracies: tuple[float | None, ...]
    reason: str
    seconds: float
    metrics: tuple[dict[str, Any], ...] = ()

    @classmethod
    def failed(cls, count: int, outcome: Outcome, reason: str, seconds: float = 0.0) -> TrainingResult:
        """The same failure for every replicate of a cohort."""
        return cls((outcome,) * count, (None,) * count, reason, seconds)


def request_to_text(request: TrainingRequest) -> str:
    """JSON that `request_from_text` reads back: what travels to another process or machine."""
    fields = {
        "key": request.key,
        "loss": asdict(request.loss),
        "task": request.task.model_dump(mode="json"),
        "recipe": request.recipe.model_dump(mode="json"),
        "learning_rate": request.learning_rate,
        "epochs": request.epochs,
        "part": request.part,
        "replicates": request.replicates,
        "seeds": request.seeds,
        "seconds": request.seconds,
    }
    return json.dumps(fields)


def request_from_text(text: str) -> TrainingRequest:
    """Read a request back from JSON."""
    fields = json.loads(text)
    return TrainingRequest(
        key=fields["key"],
        loss=LossSpec(**fields["loss"]),
        task=TaskSection(**fields["task"]),
        recipe=RecipeSection(**fields["recipe"]),
        learning_rate=fields["learning_rate"],
        epochs=fields["epochs"],
        part=fields["part"],
        replicates=tuple(fields["replicates"]),
        seeds=tuple(fields["seeds"]),
        seconds=fields["seconds"],
    )
