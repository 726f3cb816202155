"""The schema of a search space: every key that decides a result, with its range and its default."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from lossforge.errors import FormulaError, offered
from lossforge.expression.formula import parse_definitions, parse_formula
from lossforge.expression.primitives import LEAVES, PRIMITIVES
from lossforge.expression.protection import BOUND
from lossforge.expression.tree import Definition
from lossforge.expression.vocabulary import EVERY_LEAF, OPERATIONS
from lossforge.spaces.augmentation_section import AugmentationSection
from lossforge.spaces.evolution_section import EvolutionSection, SurrogateSection
from lossforge.spaces.fusion_section import FusionSection
from lossforge.spaces.recipe_section import RecipeSection
from lossforge.spaces.reference_section import ReferenceSection
from lossforge.spaces.section import Section
from lossforge.spaces.task_section import TaskSection
from lossforge.spaces.validation_section import ValidationSection

__all__ = [
    "AugmentationSection",
    "BudgetSection",
    "EvolutionSection",
    "ExecutionSection",
    "ExpressionSection",
    "FitnessSection",
    "FusionSection",
    "RecipeSection",
    "ReferenceSection",
    "ScreeningSection",
    "SearchSpace",
    "SurrogateSection",
    "TaskSection",
    "ValidationSection",
]


def _primitive(name: str) -> str:
    if name not in OPERATIONS:
        raise ValueError(f"'{name}' is not a primitive{offered(name, OPERATIONS)}")
    return name


def _leaf(name: str) -> str:
    if name not in EVERY_LEAF:
        raise ValueError(f"'{name}' is not a leaf{offered(name, EVERY_LEAF)}")
    return name


def _formula(text: str) -> str:
    try:
        return str(parse_formula(text))
    except FormulaError as error:
        raise ValueError(str(error)) from None


def _told(seed: object, own: dict[str, Definition]) -> object:
    """A seed with what its own operations are; as it is where it cannot be read, which its field says."""
    try:
        return str(parse_formula(seed, own)) if isinstance(seed, str) else seed
    except FormulaError:
        return seed


def _address(text: str) -> str:
    if not re.fullmatch(r"(auto|([\w.-]+|\[[0-9a-fA-F:]+\]):\d{1,5})?", text):
        raise ValueError(f"'{text}' is no address of a Ray cluster; write HOST:PORT, or auto")
    return text


Formula = Annotated[str, AfterValidator(_formula)]
PrimitiveName = Annotated[str, AfterValidator(_primitive)]
LeafName = Annotated[str, AfterValidator(_leaf)]
Probability = Annotated[float, Field(ge=0, le=1)]


class ExpressionSection(Section):
    """Which expressions may be built: in the ``form`` of one tree, or of a pair of them.

    A pair is a tree over ``y_pred`` for the true class, and another for each wrong one.
    """

    form: Literal["tree", "pair"] = "tree"
    primitives: list[PrimitiveName] = Field(default=list(PRIMITIVES), min_length=1)
    leaves: list[LeafName] = Field(default=list(LEAVES), min_length=1)
    constant_range: tuple[float, float] = (-3.0, 3.0)
    define: dict[str, str] = Field(default={})
    seeds: list[Formula] = Field(default=["-y_true * log(y_pred)"])
    initial_height: tuple[Annotated[int, Field(ge=1, le=10)], Annotated[int, Field(ge=1, le=10)]] = (2, 4)
    max_height: int = Field(default=8, ge=1, le=20)
    max_size: int = Field(default=30, ge=3, le=200)

    @property
    def definitions(self) -> dict[str, Definition]:
        """The operations of the user's own, by name."""
        return parse_definitions(self.define)

    @model_validator(mode="before")
    @classmethod
    def _whole_seeds(cls, data: Any) -> Any:
        """Seeds in which such operations occur say what they are: a formula stands for itself wherever it goes."""
        if not (isinstance(data, dict) and isinstance(data.get("define"), dict)):
            return data
        try:
            own = parse_definitions({str(name): str(text) for name, text in data["define"].items()})
        except FormulaError as error:
            raise ValueError(f"define: {error}") from None
        data = dict(data)
        if isinstance(data.get("primitives"), list):  # they are in the vocabulary without being listed
            data["primitives"] = [name for name in data["primitives"] if name not in own]
        if isinstance(data.get("seeds"), list):
            data["seeds"] = [_told(seed, own) for seed in data["seeds"]]
        return data

    @model_validator(mode="after")
    def _ordered(self) -> ExpressionSection:
        if max(map(abs, self.constant_range)) > BOUND:
            raise ValueError(f"constant_range: both numbers must be within ±{BOUND:g}")
        if not self.constant_range[0] < self.constant_range[1]:
            raise ValueError("constant_range: the first number must be below the second")
        if self.initial_height[0] > self.initial_height[1]:
            raise ValueError("initial_height: the first number must not be above the second")
        if self.initial_height[1] > self.max_height:
            raise ValueError(f"initial_height: the second number must not be above max_height = {self.max_height}")
        if self.form == "pair" and not ({*self.primitives} <= PRIMITIVES.keys() and {*self.leaves} == {*LEAVES}):
            raise ValueError(
                "form: a pair is of functions of one probability, so of elementwise primitives, with the leaves y_pred "
                "and y_true; leave the others out, or set form = 'tree'"
            )
        faults = [fault for seed in self.seeds if (fault := self._fault_of(seed))]
        if faults:
            raise ValueError("seeds: " + "; ".join(faults))
        return self

    def _fault_of(self, seed: str) -> str:
        """Why a seed is outside the space; nothing where it is not."""
        tree = parse_formula(seed)
        if tree.size > self.max_size or tree.height > self.max_height:
            return f"{seed!r} is larger than max_size or max_height allow"
        unknown = sorted({node.op for node in tree.walk()} - {*self.primitives, *self.leaves, *self.define, "constant"})
        if not unknown:
            return ""
        key = "leaves" if unknown[0] in EVERY_LEAF else "primitives"
        return f"{seed!r} uses '{unknown[0]}', which {key} does not list"


class ScreeningSection(Section):
    """What rejects a candidate before training; see `lossforge.screening.ScreenSettings`."""

    max_gradient: float = Field(default=1e18, gt=1)
    descent_steps: int = Field(default=40, ge=1, le=1000)
    descent_accuracy: Probability = 0.8
    network_steps: int = Field(default=80, ge=0, le=1000)
    repair_sign: bool = True
    guards: bool = True
    precisions: list[Literal["float32", "bfloat16", "float16"]] = Field(default=["float32"], min_length=1)
    audit: Probability = 0.02


class FitnessSection(Section):
    """What a candidate is judged by, and how many seeds it, and a finalist, is judged on.

    ``race`` is the share of a generation's new candidates that get more than the first of the ``seeds``: those that
    are best on it. Who is clearly behind on the others gets no more; ``race_error`` is the probability that one goes so
    who belongs among the best (0: nobody does; see `lossforge.search.race`). The first ``measured`` of a finished
    search are trained on ``fresh_seeds`` more (0: none are): those had no part in choosing them, and give the gain that
    is reported. For ``measure`` and ``aggregate`` see `lossforge.search.fitness`.
    """

    measure: Literal["points", "errors", "likelihood"] = "points"
    aggregate: Literal["mean", "worst"] = "mean"
    seeds: int = Field(default=2, ge=1, le=100)
    race: Probability = 1.0
    race_error: Probability = 0.05
    finalists: int = Field(default=4, ge=0, le=1000)
    finalist_seeds: int = Field(default=8, ge=1, le=1000)
    measured: int = Field(default=5, ge=0, le=20)
    fresh_seeds: int = Field(default=12, ge=0, le=1000)

    @model_validator(mode="after")
    def _ordered(self) -> FitnessSection:
        if self.fresh_seeds == 1:
            raise ValueError("fresh_seeds: an interval needs two or more; 0 leaves it out")
        if self.finalist_seeds < self.seeds:
            raise ValueError("finalist_seeds: must not be below seeds")
        return self


class BudgetSection(Section):
    """Where a search stops; may change on resume.

    It stops at the end of a generation, before the first that would pass ``trainings`` of candidates or ``hours`` (0:
    no limit); see `lossforge.search.budget`.
    """

    generations: int = Field(default=12, ge=1)
    trainings: int = Field(default=0, ge=0)
    hours: float = Field(default=0.0, ge=0)
    training_seconds: float = Field(default=60.0, gt=0)
    training_gigabytes: float = Field(default=0.0, ge=0)


class ExecutionSection(Section):
    """Where trainings run; changes no result, and may change on resume. 0 workers: one a core.

    Four keys are Ray's: the address of a running cluster (default: one is started here), what a worker takes of a
    machine, and where the checkpoints of ``task.distributed`` are kept, a folder that all machines share or an address
    such as ``s3://BUCKET/PATH``. On GPUs, 0 workers are as many as fit.
    """

    executor: Literal["local", "ray"] = "local"
    workers: int = Field(default=0, ge=0, le=10_000)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    address: Annotated[str, AfterValidator(_address)] = ""
    gpus_per_worker: float = Field(default=1.0, ge=0, le=1)
    cpus_per_worker: float = Field(default=1.0, gt=0, le=1024)
    checkpoints: str = ""
    data_dir: str = ""


class SearchSpace(Section):
    """One search space. ``seed`` is the run's; all else says what is searched and how."""

    name: str = Field(min_length=1, pattern=r"^[\w.-]+$")
    description: str = ""
    seed: int = Field(default=0, ge=0, lt=2**63)
    expression: ExpressionSection = ExpressionSection()
    screening: ScreeningSection = ScreeningSection()
    task: list[TaskSection] = Field(min_length=1)
    recipe: RecipeSection = RecipeSection()
    reference: ReferenceSection = ReferenceSection()
    fitness: FitnessSection = FitnessSection()
    evolution: EvolutionSection = EvolutionSection()
    fusion: FusionSection = FusionSection()
    budget: BudgetSection = BudgetSection()
    validation: ValidationSection = ValidationSection()
    execution: ExecutionSection = ExecutionSection()

    @property
    def measure(self) -> str:
        """Metrics of the tasks, each once, with a plus between."""
        return "+".join(dict.fromkeys(task.measure for task in self.task))

    @property
    def head(self) -> str:
        """How logits become what a formula reads, in all of its tasks."""
        return self.task[0].head

    def decided(self) -> SearchSpace:
        """The space as a run keeps it: what depends on the kind of a task's data is written out."""
        return self.model_copy(update={"task": [task.decided() for task in self.task]})

    @model_validator(mode="before")
    @classmethod
    def _one_task(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("task"), dict):
            data = {**data, "task": [data["task"]]}
        return data

    @model_validator(mode="after")
    def _weights_change(self) -> SearchSpace:
        if self.fusion.dynamic == "none":
            return self
        if self.evolution.strategy != "grid":
            raise ValueError('fusion.dynamic: is for the sums of a grid; set evolution.strategy = "grid"')
        if any(task.python or task.distributed for task in self.task):
            raise ValueError(
                "fusion.dynamic: weights change in lossforge's own trainings, in one process; leave it, or task.python "
                "and task.distributed, out"
            )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> SearchSpace:
        names = [task.title for task in self.task]
        if len(set(names)) < len(names):
            raise ValueError("task: two tasks have the same name; give each one of its own")
        if len({task.head for task in self.task}) > 1:
            raise ValueError(
                "task: all tasks of a space have one head, for two losses that are one behind a softmax are two behind "
                "sigmoids; give every task the same head"
            )
        if self.evolution.strategy == "grid" and not self.fusion.losses:
            raise ValueError('fusion.losses: say which losses a grid adds, such as ["focal", "dice", "cross_entropy"]')
        unlikely = [task.title for task in self.task if task.python or task.masks]
        if self.fitness.measure == "likelihood" and unlikely:
            raise ValueError(
                f"fitness.measure: 'likelihood' is known of data with a class or labels for each sample, and not of "
                f"task '{unlikely[0]}'; use points or errors"
            )
        for task in self.task:
            if task.distributed and self.recipe.batch_size % task.distributed:
                raise ValueError(
                    f"recipe.batch_size: is {self.recipe.batch_size}, and task '{task.title}' has {task.distributed} "
                    "workers on each network (task.distributed); take a multiple"
                )
            if task.distributed and self.recipe.optimizer == "muon":
                raise ValueError("recipe.optimizer: 'muon' is not for task.distributed; use adam, adamw or sgd")
        if self.recipe.steps and self.validation.epochs is not None:
            raise ValueError("validation.epochs: recipe.steps says how long a training is; leave one of them out")
        return self
