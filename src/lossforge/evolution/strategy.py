"""The interface of every strategy: ask and tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lossforge.losses.candidates import Candidate

WORST_FITNESS = -1.0
"""Fitness of a failed candidate: no gain over cross-entropy (an accuracy difference) can be below."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A candidate that a strategy proposes, and how it came about ("seed", "crossover", ...)."""

    expression: Candidate
    origin: str


@dataclass(frozen=True, slots=True)
class Told:
    """A judged candidate: its key, the expression as trained (sign repaired), and its fitness."""

    key: str
    expression: Candidate
    fitness: float


@dataclass(frozen=True, slots=True)
class Known:
    """A loss that a run has judged: its key and formula, its fitness so far, and of how many replicates that is.

    ``generation`` (from 0) found it, as ``origin`` says how.
    """

    key: str
    formula: str
    fitness: float
    replicates: int
    generation: int = 0
    origin: str = ""


class Strategy(Protocol):
    """Proposes candidates one at a time; learns their fitness a generation at a time."""

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing more to ask."""
        ...

    def prepare(self, known: Sequence[Known]) -> None:
        """A generation begins; ``known`` is all that was judged before it, in the order judged.

        The same however often the run was stopped before: nothing of it is kept by `save`.
        """
        ...

    def remark(self) -> str:
        """What is to be said of the generation that was told last; "" where there is nothing."""
        ...

    def figures(self) -> dict[str, float]:
        """What that generation was like, by name."""
        ...

    def ask(self) -> Proposal | None:
        """The next proposal; None where there is none. It may be one of before; the caller skips those."""
        ...

    def mark(self) -> Any:
        """Where the asking stands, for `rewind`."""
        ...

    def rewind(self, mark: Any) -> None:
        """Go back to where the asking stood: as if what was asked since had not been. Not across a `tell`."""
        ...

    def tell(self, judged: Sequence[Told]) -> None:
        """End the generation with what was judged, in the order asked; members may get a new fitness.

        Raises DuplicateTellError where nothing was asked since the last call.
        """
        ...

    def members(self) -> list[Told]:
        """The present population, best first."""
        ...

    def save(self) -> dict[str, Any]:
        """The whole state as JSON-ready data."""
        ...

    def load(self, saved: dict[str, Any]) -> None:
        """Restore what `save` returned."""
        ...


def safe_fitness(fitness: float) -> float:
    """A finite fitness: NaN compares as the best of all in DEAP, so it becomes the worst."""
    return fitness if WORST_FITNESS <= fitness <= 1.0 else WORST_FITNESS
