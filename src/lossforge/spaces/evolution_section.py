"""How candidates evolve, and what proposes them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lossforge.spaces.section import Section

Probability = Annotated[float, Field(ge=0, le=1)]


class SurrogateSection(Section):
    """A model of what a loss gains, of its probe gradient: it ranks proposals before they cost a training.

    It learns from what the run has judged, anew in each generation, once that are ``least_judged`` candidates. Of so
    many ``proposals``, a share ``fresh`` of them new trees, those are asked for that are best by ``trees`` drawn at
    random (Thompson sampling), and a share ``plain`` of the rest; none closer than ``distance`` (1 - |cosine| of probe
    gradients) to another or to what is judged. A generation is plain evolution where the model's out-of-bag rank
    correlation is below ``least_correlation``, or where that with what came next is, and what it chose was no better
    than the rest. With each draw of proposals so many parents are ``tuned``: CMA-ES looks for the constants that
    the model likes best.

    ``learned`` are formulas and gains (-1 to 1) of other runs, which `lossforge.search` fills in from ``seed_from``.
    They weigh a quarter, let the model rank from the first generation on, and are forgotten where it then ranks badly.
    """

    enabled: bool = True
    proposals: int = Field(default=600, ge=1, le=100_000)
    plain: Probability = 0.125
    fresh: Probability = 0.15
    tuned: int = Field(default=4, ge=0, le=100)
    least_judged: int = Field(default=30, ge=4)
    most_judged: int = Field(default=2000, ge=4)
    least_correlation: float = Field(default=0.2, ge=-1, le=1)
    distance: float = Field(default=0.0005, ge=0, le=1)
    trees: int = Field(default=100, ge=50, le=10_000)
    learned: list[tuple[str, Annotated[float, Field(ge=-1, le=1)]]] = Field(default=[])


class EvolutionSection(Section):
    """How candidates evolve. Weights of the mutations are relative; ``relate`` is for operations over classes.

    Of losses that are closer than ``niche`` (1 - |cosine| of probe gradients) the best alone is a parent, and in the
    hall of fame; 0: each is. Where ``adaptive``, operators that found something are drawn more often. After ``restart``
    generations without a better loss (0: never) one is of new trees, and of the population the elites alone stay.
    """

    population: int = Field(default=40, ge=4, le=100_000)
    elites: int = Field(default=4, ge=0)
    tournament: int = Field(default=4, ge=2)
    parsimony: float = Field(default=1.2, ge=1, le=2)
    crossover: Probability = 0.6
    mutation: Probability = 0.35
    subtree_mutation: float = Field(default=1.0, ge=0)
    point_mutation: float = Field(default=1.0, ge=0)
    insert_mutation: float = Field(default=1.0, ge=0)
    shrink_mutation: float = Field(default=1.0, ge=0)
    constant_mutation: float = Field(default=1.0, ge=0)
    relate_mutation: float = Field(default=2.0, ge=0)
    strategy: Literal["genetic", "random", "grid"] = "genetic"
    attempts: int = Field(default=200, ge=1)
    niche: Probability = 0.001
    adaptive: bool = True
    restart: int = Field(default=10, ge=0)
    surrogate: SurrogateSection = SurrogateSection()

    @model_validator(mode="after")
    def _sane(self) -> EvolutionSection:
        if self.crossover + self.mutation > 1:
            raise ValueError("crossover + mutation: must not be above 1; what is left is new random trees")
        if self.elites >= self.population:
            raise ValueError("elites: must be below population")
        if not any(self.mutation_weights().values()):
            raise ValueError("subtree_mutation: at least one of the mutation weights must be above 0")
        return self

    def mutation_weights(self) -> dict[str, float]:
        """Relative weight of each mutation by name."""
        return {
            name: getattr(self, f"{name}_mutation")
            for name in ("subtree", "point", "insert", "shrink", "constant", "relate")
        }


def as_before_surrogates(evolution: dict[str, Any]) -> dict[str, Any]:
    """The table as an older run froze it: without what did not exist then."""
    return {"surrogate": {"enabled": False}, "niche": 0.0, "adaptive": False, "restart": 0, **evolution}
