"""From a time to a space that fits it: how large trainings may be, how many generations, what is re-validated."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lossforge.errors import SpaceError
from lossforge.search.progress import duration
from lossforge.spaces.load import validate_space
from lossforge.spaces.mask_keys import has_masks
from lossforge.spaces.schema import SearchSpace
from lossforge.starting.cost import START_SECONDS, Step, Unit, generation_seconds, search_steps, total_seconds
from lossforge.starting.trials import Setting

if TYPE_CHECKING:
    from lossforge.data.splits import TaskData

TRAININGS = 500
"""Full trainings that a search of some worth takes, its re-validation included."""
FEWEST = 120
"""Those of the smallest one."""
_LONGEST = 30
"""Epochs from which on a search trains more losses, and none of them for longer."""
_SHORTEST = 4
_MOST_SAMPLES = 20_000
_FEWEST_SAMPLES = 400
_MOST_GENERATIONS = 24
_FEW_GENERATIONS = 5
STOPPED_EARLY = 0.97
"""Share of a training's work that a candidate takes on the mean where a stop saves any; see `starting.cost`."""


def ladder(data: TaskData, network: str | None) -> list[tuple[str, int, int | None]]:
    """Networks to try, with width and image size, from small to large; of ``network`` alone where it is given."""
    side = min(data.shape[1:])
    if network is not None:
        own = ":" in network or network in ("resnet18", "resnet50", "mlp_12_8", "inception_v3")
        return [(network, 16, None)] if own else [(network, width, None) for width in (4, 8, 16)]
    if data.segmentation:
        return [("unet", 4, None), ("unet", 8, None)]
    if side < 4:
        return [("mlp", 2, None), ("mlp", 8, None)]
    smaller = [("small_cnn", 8, 32)] if side > 32 else []
    return [*smaller, ("small_cnn", 8, None), ("small_cnn", 16, None), *([("resnet8", 8, None)] if side >= 8 else [])]


def sizes_of(data: TaskData, given: Mapping[str, Any]) -> tuple[int, int]:
    """Training and validation samples that there are at most: as given, or those of the parts."""
    train, validation = len(data.train), len(data.validation)
    return min(train, int(given.get("train", _MOST_SAMPLES))), min(validation, int(given.get("validation", 4_000)))


def largest_training(
    each: float, steps_seconds: float, first: Setting, most: tuple[int, int], budget: float
) -> Setting | None:
    """The setting with as many samples and epochs as ``budget`` seconds of a worker for all of a search allow.

    ``each`` are the seconds of a training of ``first``; at least ``steps_seconds`` go by in any. None where even the
    smallest is too long.
    """
    per_sample = max(each - steps_seconds, 1e-9) / (first.train * first.epochs)
    for trainings in (TRAININGS, (TRAININGS + FEWEST) // 2, FEWEST):
        passes = (budget / trainings - steps_seconds) / per_sample
        train = min(most[0], max(_FEWEST_SAMPLES, int(passes / 12)))
        epochs = int(min(_LONGEST, passes / train))
        if epochs >= min(_SHORTEST, first.epochs):
            validation = min(most[1], max(500, train // 2))
            return Setting(first.model, first.width, train, validation, epochs, first.resize)
    return None


@dataclass(frozen=True, slots=True)
class _Size:
    """How thorough a search and its re-validation are."""

    population: int
    elites: int
    fitness: Mapping[str, Any]
    validation: Mapping[str, Any]
    reference: Mapping[str, Any]
    short_list: bool = False


_KNOWN = {
    "classes": ["focal", "generalized_ce", "symmetric_ce", "nce_rce", "poly1", "brier", "agce", "taylor_ce"],
    "masks": ["focal", "dice", "tversky", "focal_tversky", "generalized_ce"],
    "labels": ["focal", "asymmetric", "class_balanced_focal", "brier"],
}
"""Known losses that a short search's coarse pass tries, by the kind of task; a longer one tries the whole library."""

_THOROUGH: tuple[_Size, ...] = (
    _Size(
        60,
        6,
        {"seeds": 4, "race": 0.3, "finalists": 4, "finalist_seeds": 16, "measured": 5, "fresh_seeds": 16},
        {"top": 5, "seeds": 16, "tuning_seeds": 4, "best_known": 3, "coarse_seeds": 1},
        {"tuned": 4, "tuning_seeds": 3, "seeds": 12},
    ),
    _Size(
        36,
        4,
        {"seeds": 4, "race": 0.3, "finalists": 3, "finalist_seeds": 12, "measured": 4, "fresh_seeds": 12},
        {"top": 4, "seeds": 16, "tuning_seeds": 2, "best_known": 3, "coarse_seeds": 1},
        {"tuned": 4, "tuning_seeds": 2, "seeds": 8},
    ),
    _Size(
        24,
        4,
        {"seeds": 3, "race": 0.3, "finalists": 3, "finalist_seeds": 8, "measured": 3, "fresh_seeds": 8},
        {"top": 3, "seeds": 8, "tuning_seeds": 2, "best_known": 2, "second_optimizer": "none"},
        {"tuned": 2, "tuning_seeds": 2, "seeds": 6},
        short_list=True,
    ),
    _Size(
        16,
        3,
        {"seeds": 2, "race": 0.4, "finalists": 2, "finalist_seeds": 6, "measured": 2, "fresh_seeds": 6},
        {
            "top": 2,
            "seeds": 8,
            "tuning_seeds": 1,
            "best_known": 0,
            "rivals": ["cross_entropy", "label_smoothing"],
            "second_optimizer": "none",
        },
        {"losses": []},
    ),
    _Size(
        10,
        2,
        {"seeds": 2, "race": 0.4, "finalists": 2, "finalist_seeds": 4, "measured": 1, "fresh_seeds": 4},
        {
            "top": 1,
            "seeds": 4,
            "tuning_seeds": 1,
            "best_known": 0,
            "rivals": ["cross_entropy"],
            "second_optimizer": "none",
        },
        {"losses": []},
    ),
)
"""From the most thorough to the least."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A space's tables, the space, its steps, and seconds of a generation and of all."""

    tables: dict[str, Any]
    space: SearchSpace
    steps: Sequence[Step]
    generation: float
    seconds: float


def fitted(tables: Mapping[str, Any], rates: Sequence[float], unit: Unit, time: float) -> Fitted:
    """The most thorough search and re-validation in ``time`` seconds. Raises SpaceError where not even the least fits.

    ``rates`` are those of the sweep, with cross-entropy's best in their middle.
    """
    least = None
    for size in _THOROUGH:
        one = _of_size(tables, size, rates, 1)
        space = validate_space(one, "the new space").decided()
        each = generation_seconds(space, unit)
        fixed = total_seconds(search_steps(space, unit), unit.load) - each
        generations = int((time - fixed) / each)
        wanted = 2 if size is _THOROUGH[-1] else _FEW_GENERATIONS
        if generations >= wanted:
            return _filled(tables, size, rates, unit, time)
        least = fixed + 2 * each
    raise SpaceError(
        f"--time: {duration(time)} is too short for a search of these data on this machine: the smallest takes about "
        f"{duration(least or START_SECONDS)}; give it more time, or a smaller network with --network"
    )


def _filled(tables: Mapping[str, Any], size: _Size, rates: Sequence[float], unit: Unit, time: float) -> Fitted:
    """As many generations as fit; where those would be very many, a larger population."""
    population = size.population
    while True:
        one = _of_size(tables, size, rates, 1, population)
        space = validate_space(one, "the new space").decided()
        each = generation_seconds(space, unit)
        fixed = total_seconds(search_steps(space, unit), unit.load) - each
        generations = max(1, round((time - fixed) / each))
        if generations <= _MOST_GENERATIONS or population >= 1_000:
            break
        population = min(1_000, population * 3 // 2)
    one["budget"]["generations"] = generations
    space = validate_space(one, "the new space").decided()
    steps = search_steps(space, unit)
    return Fitted(one, space, steps, each, total_seconds(steps, unit.load))


def _of_size(
    tables: Mapping[str, Any], size: _Size, rates: Sequence[float], generations: int, population: int | None = None
) -> dict[str, Any]:
    """The tables with this size's keys; those that are there already stay."""
    found = copy.deepcopy(dict(tables))
    people = population or size.population
    task = found["task"]
    kind = "masks" if has_masks(task["data"]) else "labels" if task.get("head") == "sigmoid" else "classes"
    own: dict[str, dict[str, Any]] = {
        "recipe": {"learning_rates": list(rates), "sweep_seeds": size.fitness["seeds"]},
        "reference": dict(size.reference),
        "fitness": dict(size.fitness),
        "evolution": {"population": people, "elites": size.elites, "tournament": 4, "parsimony": 1.3},
        "budget": {"generations": generations},
        "validation": {**size.validation, "learning_rates": list(rates), "epochs": _longer(found)},
    }
    if size.short_list:
        own["validation"]["known"] = own["reference"]["losses"] = _KNOWN[kind]
    for name, keys in own.items():
        found[name] = {**keys, **found.get(name, {})}
    return found


def _longer(tables: Mapping[str, Any]) -> int:
    """Epochs of a re-validation: a third more than the search's."""
    return max(1, round(int(tables["recipe"]["epochs"]) * 4 / 3))
