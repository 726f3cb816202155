"""A space that is enumerated instead of evolved: every sum of one, two, three ... of the losses that are named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from typing import Any

from lossforge.errors import DuplicateTellError
from lossforge.evolution.strategy import Known, Proposal, Told, safe_fitness
from lossforge.losses.candidates import parse_candidate
from lossforge.losses.fusions import Fusion, Part
from lossforge.losses.library import named_sum
from lossforge.losses.shares import matched, named, weight_of
from lossforge.losses.weighting_rules import RULES, weighting
from lossforge.spaces.schema import FusionSection, SearchSpace


def n_grams(
    section: FusionSection, classes: Sequence[int], head: str, *, scales_count: bool = False
) -> Iterator[tuple[str, Fusion]]:
    """Name and sum of each candidate, in the order of ``orders`` and then of ``losses``: the same every time.

    The name says which losses are added, and, where weights are tuned, at which levels. ``classes`` are the numbers
    of classes of the tasks, for which the losses are matched. A loss alone stands without a weight unless
    ``scales_count``: where gradients are matched anyway it says nothing.
    """
    parts = {text: _part(text) for text in section.losses}
    scaled = {
        text: matched(Fusion((part,)), classes, head).parts[0] if section.match else part
        for text, part in parts.items()
    }
    rule = None
    if section.dynamic != "none":
        rule = weighting(section.dynamic, getattr(section, RULES[section.dynamic][0], None))
    for order in section.orders:
        for chosen in combinations(section.losses, order):
            for weights in _weights(section, chosen):
                if order == 1 and not scales_count:
                    yield named(Fusion((parts[chosen[0]],))), Fusion((parts[chosen[0]],))
                    continue
                fusion = Fusion(
                    tuple(
                        Part(weight_of(weight * scaled[text].weight), scaled[text].loss)
                        for text, weight in zip(chosen, weights, strict=True)
                    ),
                    rule if order > 1 else None,
                )
                told = "" if section.weights != "tuned" or order == 1 else " " + ":".join(f"{w:g}" for w in weights)
                yield named(fusion) + told, fusion


def _part(text: str) -> Part:
    found = named_sum(text)
    assert found is not None, "names are checked before a search begins"
    (part,) = found.parts
    return part


def _weights(section: FusionSection, chosen: Sequence[str]) -> Iterator[tuple[float, ...]]:
    """Weights of the chosen losses; of those tuned each ratio once, the smallest numbers of it."""
    if isinstance(section.weights, dict):
        yield tuple(section.weights.get(text, 1.0) for text in chosen)
    elif section.weights == "equal" or len(chosen) == 1:
        yield (1.0,) * len(chosen)
    else:
        known: set[tuple[float, ...]] = set()
        for weights in product(sorted(section.levels), repeat=len(chosen)):
            ratio = tuple(round(weight / weights[0], 9) for weight in weights)
            if ratio not in known:
                known.add(ratio)
                yield weights


class GridStrategy:
    """Asks for each candidate once, and then for nothing more."""

    def __init__(self, space: SearchSpace, classes: Sequence[int]) -> None:
        self._all = list(n_grams(space.fusion, classes, space.head, scales_count=not space.recipe.match_gradient))
        self._next = 0
        self._known: dict[str, Told] = {}

    @property
    def exhausted(self) -> bool:
        """Whether all were asked."""
        return self._next >= len(self._all)

    def prepare(self, known: Sequence[Known]) -> None:
        """Nothing is learnt."""

    def remark(self) -> str:
        """Nothing is said."""
        return ""

    def figures(self) -> dict[str, float]:
        """Nothing is measured."""
        return {}

    def ask(self) -> Proposal | None:
        """The next sum; None where there is none left."""
        if self.exhausted:
            return None
        name, fusion = self._all[self._next]
        self._next += 1
        return Proposal(fusion, name)

    def mark(self) -> int:
        """How many were asked."""
        return self._next

    def rewind(self, mark: int) -> None:
        """Go back to a mark."""
        self._next = mark

    def tell(self, judged: Sequence[Told]) -> None:
        """Keep what was judged."""
        if not self._next:
            raise DuplicateTellError("tell was called before anything was asked; ask first")
        for told in judged:
            self._known[told.key] = Told(told.key, told.expression, safe_fitness(told.fitness))

    def members(self) -> list[Told]:
        """All that were judged, best first."""
        return sorted(self._known.values(), key=lambda told: (-told.fitness, told.expression.size, told.key))

    def save(self) -> dict[str, Any]:
        """How many were asked, and what is known of them."""
        return {
            "asked": self._next,
            "exhausted": self.exhausted,
            "judged": [
                {"key": told.key, "formula": str(told.expression), "fitness": told.fitness}
                for told in self._known.values()
            ],
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Restore what `save` returned."""
        self._next = int(saved["asked"])
        self._known = {
            item["key"]: Told(item["key"], parse_candidate(item["formula"]), safe_fitness(item["fitness"]))
            for item in saved["judged"]
        }
