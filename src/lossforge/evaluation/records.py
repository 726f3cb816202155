"""What goes to a worker and what comes back: plain text and numbers, nothing else."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from lossforge.data.human_labels import label_file_digest
from lossforge.losses.compiled import LossSpec
from lossforge.models.imported import source_digest
from lossforge.spaces.schema import RecipeSection, TaskSection

_MATCHING = "start probe"
"""How gradients are matched; runs of an earlier version did it on each network's first samples."""


class Outcome(StrEnum):
    """How a training, or a candidate, ended."""

    TRAINED = "trained"
    STOPPED = "stopped"
    DIVERGED = "diverged"
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"
    CACHED = "cached"

    @property
    def of_training(self) -> bool:
        """Whether something was trained; else a candidate was rejected, or known already."""
        return self not in (Outcome.REJECTED, Outcome.DUPLICATE, Outcome.CACHED)


@dataclass(frozen=True)
class Setup:
    """What all trainings of a cohort have in common.

    ``part`` is what is scored: "validation" (trained on the training part) or "test" (trained on training and
    validation parts). ``seconds`` and ``gigabytes`` limit one training (0 gigabytes: no limit). With
    ``shares``, or on a test part, the metrics of a sum say what share of the gradient each loss had in each epoch.
    """

    task: TaskSection
    recipe: RecipeSection
    epochs: int
    part: str
    seconds: float
    gigabytes: float = 0.0
    shares: bool = False

    @property
    def lanes(self) -> int:
        """Networks that train at once; a training of the user's own is alone, and so is one of several workers."""
        return 1 if self.task.python or self.task.distributed else self.recipe.lanes

    @property
    def places(self) -> int:
        """Trainings of one request."""
        return 1 if self.task.python or self.task.distributed else self.recipe.lanes * self.recipe.heats

    @cached_property
    def deciding(self) -> dict[str, Any]:
        """All of it that decides a result, as plain data. A network of the user's own enters with its file."""
        # The setup's own number of epochs counts; a recipe's steps count in proportion to the recipe's.
        matching = {"matching": _MATCHING} if self.recipe.match_gradient else {}
        elsewhere = {"learning_rate", "learning_rates", "sweep_seeds", *([] if self.recipe.steps else ["epochs"])}
        if self.task.python:
            # Of the recipe nothing reaches the function but the gradient's size.
            return {
                "task": self.task.identity(),
                "match_gradient": self.recipe.match_gradient,
                "part": self.part,
                "training": source_digest(self.task.python),
                **matching,
            }
        parts = {
            "task": self.task.identity(),
            "recipe": self.recipe.model_dump(mode="json", exclude=elsewhere | self.recipe.unused()),
            "epochs": self.epochs,
            "part": self.part,
            **matching,
        }
        if ":" in self.task.model:
            parts["network"] = source_digest(self.task.model)
        if self.task.noise_file:
            parts["given_labels"] = label_file_digest(self.task.noise_file)
        return parts

    @cached_property
    def deciding_texts(self) -> dict[str, str]:
        """`deciding`, each entry as JSON: made once for all trainings of the setup."""
        return {name: json.dumps(value, sort_keys=True) for name, value in self.deciding.items()}

    @cached_property
    def text(self) -> str:
        """JSON of all of it."""
        fields = {
            "task": self.task.model_dump(mode="json"),
            "recipe": self.recipe.model_dump(mode="json"),
            "epochs": self.epochs,
            "part": self.part,
            "seconds": self.seconds,
            "gigabytes": self.gigabytes,
            **({"shares": True} if self.shares else {}),
        }
        return json.dumps(fields)

    @cached_property
    def identity(self) -> str:
        """Text that is the same for trainings that may share a cohort."""
        return json.dumps([self.deciding, self.seconds, self.gigabytes], sort_keys=True)


@dataclass(frozen=True, slots=True)
class Training:
    """One network to train: with which loss, rate and seed.

    ``key`` names the loss (its signature); ``replicate`` numbers the seed. Below ``floor``, an accuracy on training
    batches, it is stopped early (see `lossforge.training.early_stop`).
    """

    setup: Setup
    key: str
    loss: LossSpec
    learning_rate: float
    replicate: int
    seed: int
    floor: float = 0.0

    def fingerprint(self) -> str:
        """sha256 of all that decides the result but the seed: the ledger's key, with the seed.

        The loss enters by its key: two formulas with one signature are one candidate. How the rate was found, and
        the limits, do not enter.
        """
        own = {
            "key": self.key,
            "smoothing": self.loss.label_smoothing,
            # With matched gradients a mean and a sum over classes are one loss.
            "class_mean": self.loss.class_mean and not self.setup.recipe.match_gradient,
            "learning_rate": self.learning_rate,
        }
        parts = {**self.setup.deciding_texts, **{name: json.dumps(value) for name, value in own.items()}}
        # As json.dumps writes it; put together, since a search asks for this more often than for anything else.
        text = ", ".join(f'"{name}": {parts[name]}' for name in sorted(parts))
        return hashlib.sha256(f"{{{text}}}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """One cohort: trainings that run side by side, each in its lane.

    Those at the places in ``left_out`` are not wanted; they keep their lanes, so that every other training sees the
    same cohort.
    """

    setup: Setup
    replicas: tuple[Training, ...]
    left_out: tuple[int, ...] = ()

    @property
    def trainings(self) -> list[Training]:
        """What is to be trained, in order; a result has one entry for each."""
        return [training for place, training in enumerate(self.replicas) if place not in self.left_out]

    @property
    def seconds(self) -> float:
        """Limit of the whole cohort."""
        return self.setup.seconds * self.setup.lanes * math.ceil(len(self.replicas) / self.setup.lanes)

    def halves(self) -> list[TrainingRequest]:
        """The request in two, each with half of its losses left out; empty where there is one loss only."""
        keys = list(dict.fromkeys((training.key, training.loss, training.learning_rate) for training in self.trainings))
        if len(keys) < 2:
            return []
        first = set(keys[: len(keys) // 2])
        sides: list[list[int]] = [[], []]
        for place, training in enumerate(self.replicas):
            sides[(training.key, training.loss, training.learning_rate) in first].append(place)
        return [replace(self, left_out=tuple(sorted({*self.left_out, *others}))) for others in sides]


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a cohort gave: for each training an accuracy in [0, 1], or None with outcome and reason.

    ``metrics`` are those of each training (see `lossforge.training.metrics`), empty for one that failed.
    ``seconds`` is the time of the whole cohort. ``traceback``, for the log, is that of code of the user's own that
    failed.
    """

    outcomes: tuple[Outcome, ...]
    accuracies: tuple[float | None, ...]
    reasons: tuple[str, ...]
    seconds: float
    metrics: tuple[dict[str, Any], ...] = ()
    traceback: str = ""

    @classmethod
    def failed(
        cls, count: int, outcome: Outcome, reason: str, seconds: float = 0.0, traceback: str = ""
    ) -> TrainingResult:
        """The same failure for every training of a cohort."""
        return cls((outcome,) * count, (None,) * count, (reason,) * count, seconds, ({},) * count, traceback)

    @property
    def failed_whole(self) -> bool:
        """Whether the cohort as such failed, so that nothing is known of its trainings one by one."""
        return set(self.outcomes) <= {Outcome.TIMED_OUT, Outcome.CRASHED}


def request_to_text(request: TrainingRequest) -> str:
    """JSON that `request_from_text` reads back: what travels to another process or machine."""
    fields = {
        "replicas": [
            [one.key, one.loss.fields, one.learning_rate, one.replicate, one.seed, one.floor]
            for one in request.replicas
        ],
        "left_out": request.left_out,
    }
    return f'{{"setup": {request.setup.text}, {json.dumps(fields)[1:]}'


def request_from_text(text: str) -> TrainingRequest:
    """Read a request back from JSON."""
    fields = json.loads(text)
    given = fields["setup"]
    setup = Setup(**{**given, "task": TaskSection(**given["task"]), "recipe": RecipeSection(**given["recipe"])})
    replicas = tuple(Training(setup, key, LossSpec(*loss), *rest) for key, loss, *rest in fields["replicas"])
    return TrainingRequest(setup, replicas, tuple(fields["left_out"]))


def result_to_text(result: TrainingResult) -> str:
    """JSON that `result_from_text` reads back."""
    return json.dumps({name: getattr(result, name) for name in TrainingResult.__slots__})


def result_from_text(text: str) -> TrainingResult:
    """Read a result back from JSON."""
    fields = json.loads(text)
    return TrainingResult(
        outcomes=tuple(map(Outcome, fields["outcomes"])),
        accuracies=tuple(fields["accuracies"]),
        reasons=tuple(fields["reasons"]),
        seconds=fields["seconds"],
        metrics=tuple(fields["metrics"]),
        traceback=fields["traceback"],
    )


def cohorts(trainings: Iterable[Training]) -> Iterator[tuple[Training, ...]]:
    """Trainings of one setup together, in the order given, each cohort as soon as it is complete.

    One holds ``recipe.cohort`` trainings times ``recipe.heats``; the last of a setup may hold fewer. Who shares one
    depends on what is asked, and in which order, alone.
    """
    open_: dict[str, list[Training]] = {}
    for training in trainings:
        group = open_.setdefault(training.setup.identity, [])
        group.append(training)
        if len(group) == training.setup.places:
            yield tuple(group)
            group.clear()
    for group in open_.values():
        if group:
            yield tuple(group)


def pack(trainings: Iterable[Training]) -> list[TrainingRequest]:
    """Requests for trainings that are all there at once; see `cohorts`."""
    return [TrainingRequest(replicas[0].setup, replicas) for replicas in cohorts(trainings)]
