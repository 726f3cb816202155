"""How one training goes: the keys of ``[recipe]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator, model_validator

from lossforge.spaces.section import Section

if TYPE_CHECKING:
    from lossforge.spaces.task_section import TaskSection

Rate = Annotated[float, Field(gt=0, le=10)]
"""A learning rate."""

_LATER = (
    "steps",
    "clip_norm",
    "label_smoothing",
    "precision",
    "heats",
    "stop_at",
    "stop_below",
    "deterministic",
    "backend",
    "epsilon",
    "output_rate",
    "plateau_epochs",
    "plateau_factor",
    "plateau_floor",
)
"""Keys that runs of earlier versions do not have: at their default they change nothing."""


class RecipeSection(Section):
    """How one training goes. ``cohort`` networks train at once, at most.

    A cohort of "auto" and a back end by "trial" are settled before a run is written, and a cohort that is larger than
    a CPU gains from is cut then; see `lossforge.evaluation.calibrate`. ``epsilon`` is what Adam adds to the root that
    it divides by (in muon too, for what is no matrix); ``output_rate`` is the factor of the last layer's rate.
    ``precision``, also "bf16", is that of a search's trainings: a run is always re-validated in float32.
    """

    optimizer: Literal["adam", "adamw", "sgd", "muon"] = "adam"
    schedule: Literal["one_cycle", "cosine", "constant", "plateau"] = "one_cycle"
    plateau_epochs: int = Field(default=5, ge=1, le=10_000)
    plateau_factor: float = Field(default=0.2, gt=0, lt=1)
    plateau_floor: float = Field(default=0.0001, ge=0, le=10)
    epochs: int = Field(default=10, ge=1, le=10_000)
    steps: int = Field(default=0, ge=0, le=10_000_000)
    batch_size: int = Field(default=64, ge=2, le=100_000)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=0.0, ge=0)
    epsilon: float = Field(default=1e-8, gt=0, le=1)
    output_rate: float = Field(default=1.0, gt=0, le=10)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    learning_rate: Rate | Literal["sweep"] = "sweep"
    learning_rates: list[Rate] = Field(default=[0.0003, 0.001, 0.003, 0.01, 0.03], min_length=2)
    sweep_seeds: int = Field(default=4, ge=1, le=100)
    match_gradient: bool = True
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    deterministic: bool = True
    cohort: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = 8
    heats: int = Field(default=1, ge=1, le=64)
    backend: Literal["rule", "trial", "layers", "grouped", "vmap", "loop"] = "rule"
    stop_at: float = Field(default=0.3, ge=0, lt=1)
    stop_below: float = Field(default=0.5, ge=0, lt=1)

    @field_validator("precision", mode="before")
    @classmethod
    def _full_name(cls, precision: object) -> object:
        return "bfloat16" if precision == "bf16" else precision

    @model_validator(mode="after")
    def _rising(self) -> RecipeSection:
        if self.learning_rates != sorted(set(self.learning_rates)):
            raise ValueError("learning_rates: must rise, without repetition")
        return self

    @property
    def lanes(self) -> int:
        """Networks that train at once. Raises ValueError while that is still to be found out."""
        if isinstance(self.cohort, str):
            raise ValueError("recipe.cohort is 'auto' and has not been settled yet")
        return self.cohort

    def of(self, task: TaskSection) -> RecipeSection:
        """The recipe of a task's trainings: with the task's own cohort, where it has one."""
        return self if task.cohort is None else self.model_copy(update={"cohort": task.cohort})

    def validated(self) -> RecipeSection:
        """The recipe of a re-validation: in float32, each loss at its own best rate."""
        return self.model_copy(update={"learning_rate": "sweep", "precision": "float32"})

    def unused(self) -> set[str]:
        """Keys that are left at what a recipe without them means."""
        return {name for name in _LATER if getattr(self, name) == type(self).model_fields[name].default}
