"""The schema of a plan: which losses are compared with which rivals, in which studies, and how all are tuned."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from lossforge.spaces.fusion_section import FusionSection
from lossforge.spaces.recipe_section import Rate
from lossforge.spaces.schema import BudgetSection, ExecutionSection
from lossforge.spaces.section import Section
from lossforge.spaces.task_section import Head

Tables = dict[str, Any]
"""Keys of a space's ``[task]`` or ``[recipe]``; they are checked once a study has all of them."""

MOST_SEEDS = 10_000
"""Seeds of a study, at most."""
LIBRARY = "library"
"""Stands, among the losses of a plan, for every loss of the library that fits a study."""


class ContenderSection(Section):
    """A loss that is trained in its own way: behind a head, with keys of the task or the recipe of its own.

    ``name`` is what tables call it; the loss's own text where it is left out.
    """

    name: str = ""
    loss: str = Field(min_length=1)
    head: Head | None = None
    task: Tables = Field(default={})
    recipe: Tables = Field(default={})

    @property
    def title(self) -> str:
        """What tables call it."""
        return self.name or self.loss


def _form(value: object) -> str:
    return "[table]" if isinstance(value, dict | ContenderSection) else "[text]"


Named = Annotated[
    Annotated[Annotated[str, Field(min_length=1)], Tag("[text]")] | Annotated[ContenderSection, Tag("[table]")],
    Discriminator(_form),
]
"""A name of the library, a call such as ``gce(q=0.7)``, a formula, or a table."""


class RivalsSection(Section):
    """What the losses are compared with: ``named`` ones, and the ``best`` of those ``among`` (empty: the library).

    Which are best, a coarse pass on validation data says, study by study.
    """

    named: list[Named] = Field(default=["cross_entropy", "label_smoothing"])
    best: int = Field(default=3, ge=0, le=100)
    among: list[str] = Field(default=[])


class TuningSection(Section):
    """How learning rates are found, of losses and rivals alike, where a study's recipe has ``"sweep"``.

    The coarse pass has rates and seeds of its own (no rates: the same). ``keep`` is how many of the plan's losses a
    coarse pass over all studies leaves (0: all), besides those that are named one by one.
    """

    learning_rates: list[Rate] = Field(default=[0.001, 0.003, 0.01], min_length=1)
    seeds: int = Field(default=2, ge=1, le=100)
    coarse_learning_rates: list[Rate] = Field(default=[])
    coarse_seeds: int = Field(default=1, ge=1, le=100)
    keep: int = Field(default=0, ge=0, le=1000)

    @model_validator(mode="after")
    def _rising(self) -> TuningSection:
        for name in ("learning_rates", "coarse_learning_rates"):
            rates = getattr(self, name)
            if rates != sorted(set(rates)):
                raise ValueError(f"{name}: must rise, without repetition")
        return self

    @property
    def coarse_rates(self) -> list[float]:
        """Rates of the coarse pass."""
        return self.coarse_learning_rates or self.learning_rates


class StudySection(Section):
    """One data set, network, noise and recipe; ``task`` and ``recipe`` stand over the plan's, ``seeds`` too."""

    name: str = Field(min_length=1, pattern=r"^[\w.-]+$")
    task: Tables = Field(default={})
    recipe: Tables = Field(default={})
    seeds: int | None = Field(default=None, ge=2, le=MOST_SEEDS)
    margin: float | None = Field(default=None, ge=0)


class Plan(Section):
    """One comparison. ``margin`` is in points of a study's metric: within it two losses are equivalent (0: never).

    ``looks``: a pair is judged at 4, 8, 16 ... seeds, and what is decided then gets no more; see
    `lossforge.validation.sequential`. ``seeds`` are the most of a study. ``published`` names a table of a paper that is
    laid beside the results: "ngl", "fusion"; its studies are called ``SET-NETWORK``, see
    `lossforge.validation.published`. With ``fusion.losses`` every sum of ``fusion.orders`` many of them is one of the
    losses too, as in a space's grid.
    """

    name: str = Field(min_length=1, pattern=r"^[\w.-]+$")
    description: str = ""
    seed: int = Field(default=0, ge=0, lt=2**63)
    margin: float = Field(default=0.5, ge=0)
    seeds: int = Field(default=16, ge=2, le=MOST_SEEDS)
    looks: bool = True
    published: Literal["", "ngl", "fusion"] = ""
    losses: list[Named] = Field(default=[])
    fusion: FusionSection = FusionSection()
    task: Tables = Field(default={})
    recipe: Tables = Field(default={})
    rivals: RivalsSection = RivalsSection()
    tuning: TuningSection = TuningSection()
    study: list[StudySection] = Field(min_length=1)
    budget: BudgetSection = BudgetSection()
    execution: ExecutionSection = ExecutionSection()

    @model_validator(mode="after")
    def _consistent(self) -> Plan:
        names = [study.name for study in self.study]
        if len(set(names)) < len(names):
            raise ValueError("study: two studies have the same name; give each one of its own")
        if not self.rivals.named:
            raise ValueError("rivals.named: must name one at least, such as 'cross_entropy'; nothing is better alone")
        for place, named in (("losses", self.losses), ("rivals.named", self.rivals.named)):
            titles = [title_of(one) for one in named]
            twice = next((title for title in titles if titles.count(title) > 1), None)
            if twice is not None:
                raise ValueError(f"{place}: '{twice}' is there twice; give each a name of its own")
        return self

    def seeds_of(self, study: StudySection) -> int:
        """Seeds of a study at most."""
        return self.seeds if study.seeds is None else study.seeds

    def margin_of(self, study: StudySection) -> float:
        """Points within which two losses are equivalent in a study."""
        return self.margin if study.margin is None else study.margin


def title_of(named: str | ContenderSection) -> str:
    """What tables call a loss or rival of a plan."""
    return named if isinstance(named, str) else named.title
