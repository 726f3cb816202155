"""From data and a time to a search space: look, try, measure, fit, write."""

from __future__ import annotations

import re
import time as clock
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lossforge.api import overrides_of
from lossforge.data.places import using_data_folder
from lossforge.errors import LossforgeError, SpaceError
from lossforge.evaluation.calibrate import with_gainful_cohorts
from lossforge.evaluation.feasibility import chance_level, resolution
from lossforge.executors.choice import make_executor
from lossforge.search.progress import duration
from lossforge.spaces.load import apply_overrides
from lossforge.spaces.schema import ExecutionSection, SearchSpace
from lossforge.spaces.shipped import schema_file
from lossforge.spaces.task_section import metric_title
from lossforge.starting.asking import Asking
from lossforge.starting.cost import Unit, told_steps
from lossforge.starting.fit import STOPPED_EARLY, Fitted, fitted, ladder, largest_training, sizes_of
from lossforge.starting.survey import Survey, survey
from lossforge.starting.trials import Noise, Setting, Trial, measure_noise, space_with, step_cost, try_settings
from lossforge.starting.write import space_text
from lossforge.store.files import told_as_store_error, write_atomically

_MOST_TRIED = 3
_TRIAL_SHARE = 0.05
"""Share of the time that trying out networks may take."""
_TIME = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?")


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: the file, what it costs in ``seconds`` and a ``generation``'s, and gains that can be seen."""

    path: Path
    seconds: float
    generation: float
    trial: Trial
    noise: Noise
    seen_in_search: float
    seen_in_validation: float
    story: tuple[str, ...]


def seconds_of(time: str) -> float:
    """A time such as 30m, 2h, 90s or 1h30m in seconds. Raises SpaceError.

    >>> seconds_of("30m"), seconds_of("1h30m"), seconds_of("90s")
    (1800.0, 5400.0, 90.0)
    """
    found = _TIME.fullmatch(time.strip().lower().replace(" ", ""))
    parts = [float(part or 0) for part in found.groups()] if found else [0.0]
    seconds = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if not seconds:
        raise SpaceError(f"--time {time}: is no time; write it with its unit, such as 30m, 2h or 90s")
    return seconds


def new_space(
    path: Path,
    data: str,
    *,
    time: str = "30m",
    networks: Sequence[str] = (),
    overrides: Sequence[str] = (),
    asking: Asking | None = None,
    **execution: Any,
) -> Written:
    """Look at ``data``, try networks and rates on this machine, and write the space that fits ``time`` to ``path``.

    ``overrides`` are ``"KEY=VALUE"`` texts of keys that are fixed; ``execution`` as of `lossforge.api.search`. Raises
    LossforgeError where the file exists, the data cannot be read, or no search fits the time.
    """
    asking = asking or Asking()
    wanted = seconds_of(time)
    if path.exists():
        raise SpaceError(f"{path}: is there already; give another name, or remove it")
    base: dict[str, Any] = {"name": re.sub(r"[^\w.-]", "_", path.stem) or "new", "task": {}}
    apply_overrides(base, overrides_of(list(overrides), execution))
    with using_data_folder(str(base.get("execution", {}).get("data_dir", ""))):
        found = survey(data, base["task"], asking)
        for name, state, told in found.rows:
            asking.say(f"{name}: {told}" if state != "bad" else f"{name}: {told} (to be mended)")
        base = _base(base, found)
        return _measured(path, base, found, networks, wanted, asking)


def _base(base: dict[str, Any], found: Survey) -> dict[str, Any]:
    """The tables that all trials share."""
    data = found.data
    size = len(data.train)
    batch = 4 if data.segmentation else 32 if size < 3_000 else 64 if size < 20_000 else 128
    kind = "masks" if data.segmentation else "labels" if data.several_labels else "classes"
    shape = "×".join(map(str, data.shape))
    description = f"{found.task['data']}: {size:,} training samples of {shape}, {data.classes} {kind}"
    recipe = {"batch_size": min(batch, max(4, size // 4)), "cohort": 4 if data.segmentation else 16}
    return {
        "description": description,
        "seed": 0,
        "expression": {"max_size": 25},
        **base,
        "task": found.task,
        "recipe": {**recipe, **base.get("recipe", {})},
    }


def _measured(
    path: Path, base: dict[str, Any], found: Survey, networks: Sequence[str], wanted: float, asking: Asking
) -> Written:
    """Try, measure, fit and write."""
    section = ExecutionSection(**base.get("execution", {}))
    executor = make_executor(section)
    try:
        settings = _affordable(base, found, networks, wanted * executor.workers, executor.device)
        named = ", ".join(one.told for one in settings)
        asking.say(f"trying {named} with cross-entropy: three learning rates or more, two seeds each")
        trials = try_settings(base, settings, executor)
        metric = metric_title(found.section.measure)
        for trial in trials:
            asking.say(_told_trial(trial, metric))
        best = _best(trials)
        best = _agreed(best, trials, asking)
        space = with_gainful_cohorts(space_with(base, best.setting), executor.device)
        noise = measure_noise(space, best.rate, executor)
        unit = Unit(noise.seconds, space.recipe.of(space.task[0]).lanes, executor.workers, STOPPED_EARLY, noise.load)
    finally:
        executor.close()
    base, plan = _in_time(base, best, noise, unit, wanted, asking)
    story = _story(found, trials, best, noise, plan, executor.workers, asking)
    for told in story[len(asking.decided) + len(trials) :]:  # the others were told when it was time
        asking.say(told)
    text = space_text(
        plan.tables, ["Written by 'lossforge new' for this machine.", *story], schema_file("space").as_uri()
    )
    with told_as_store_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text)
    seen = (noise.smallest_gain(plan.space.fitness.fresh_seeds), _seen(noise, plan.space))
    return Written(path, plan.seconds, plan.generation, best, noise, *seen, tuple(story))


def _affordable(
    base: Mapping[str, Any], found: Survey, networks: Sequence[str], work: float, device: str
) -> list[Setting]:
    """Settings whose trainings are short enough for a search of ``work`` seconds of a worker, small ones first."""
    most = sizes_of(found.data, base["task"])
    fixed = base["task"]
    asked = [*networks] or [fixed["model"]] if "model" in fixed else [*networks]
    steps = [step for name in [*asked, *([] if asked else [None])] for step in ladder(found.data, name)]
    settings: list[Setting] = []
    costs: list[str] = []
    began, worked = clock.monotonic(), clock.process_time()
    for model, width, resize in steps:
        width = int(fixed.get("width", width))
        size = resize if "resize" not in fixed or resize is None else None
        if resize is not None and size is None:
            continue
        first = Setting(model, width, min(most[0], 1_000), min(most[1], 500), 5, size)
        each = step_cost(base, first, device)
        if each is None:
            continue
        costs.append(f"{first.told} takes {each:.2g} s for {first.train:,} samples and {first.epochs} epochs")
        load = max(1.0, (clock.monotonic() - began) / max(clock.process_time() - worked, 0.1))
        setting = largest_training(each, 0.0, first, most, work / load)
        if setting is not None and "epochs" in base["recipe"]:
            setting = replace(setting, epochs=int(base["recipe"]["epochs"]))
        if setting is not None and setting not in settings:
            settings.append(setting)
    if not settings:
        told = "; ".join(costs) or "none of the networks fits the data"
        raise SpaceError(
            f"--time: no network can be trained often enough in it ({told}); give more time with --time, fewer samples "
            "with --set task.train=N, smaller images with --set task.resize=N, or a smaller network with --network"
        )
    return settings[-_MOST_TRIED:]


def _told_trial(trial: Trial, metric: str) -> str:
    scores = ", ".join(f"{rate:g}: {score:.1%}" for rate, score in sorted(trial.scores.items()))
    setting = trial.setting
    return (
        f"{setting.told}, {setting.train:,} samples, {setting.epochs} epochs: validation {metric} by learning rate "
        f"{scores}; {trial.seconds:.2g} s a training"
    )


def _best(trials: Sequence[Trial]) -> Trial:
    """The best score; a cheaper network within one point of it is as good."""
    top = max(trial.score for trial in trials)
    return min((one for one in trials if one.score >= top - 0.01), key=lambda one: one.seconds)


def _agreed(best: Trial, trials: Sequence[Trial], asking: Asking) -> Trial:
    """The trial whose network a person takes."""
    if len(trials) == 1:
        return best
    by_name = {one.setting.told: one for one in trials}
    why = f"best of {len(trials)} by validation score, or within a point of it and cheaper"
    answer = asking.chosen("network", best.setting.told, why)
    if answer not in by_name:
        raise SpaceError(f"network: '{answer}' was not tried (tried: {'; '.join(by_name)})")
    return by_name[answer]


def _rates(best: float) -> list[float]:
    """Half of a rate, itself, and twice as much."""
    return [float(f"{best * factor:.2g}") for factor in (0.5, 1, 2)]


def _with_limits(base: dict[str, Any], setting: Setting, noise: Noise) -> dict[str, Any]:
    """The tables with the chosen setting, and a limit that no ordinary training meets."""
    limit = float(max(60, round(20 * noise.seconds, -1)))
    budget = {"training_seconds": limit, **base.get("budget", {})}
    recipe = {"epochs": setting.epochs, **base["recipe"]}
    order = ("name", "description", "seed", "expression", "task", "recipe")
    tables = {**base, "task": {**setting.keys(), **base["task"], **setting.keys()}, "recipe": recipe, "budget": budget}
    tables["task"] = {**{key: tables["task"][key] for key in ("data",)}, **tables["task"]}
    return {name: tables[name] for name in order if name in tables} | tables


def _in_time(
    base: dict[str, Any], best: Trial, noise: Noise, unit: Unit, wanted: float, asking: Asking
) -> tuple[dict[str, Any], Fitted]:
    """The tables and the space that fits the time: where trainings took longer than it seemed, with shorter ones."""
    setting = best.setting
    while True:
        tables = _with_limits(base, setting, noise)
        try:
            return tables, fitted(tables, _rates(best.rate), unit, wanted)
        except SpaceError:
            shorter = setting.epochs * 2 // 3
            if shorter < 2 or "epochs" in base["recipe"]:
                raise
            unit = replace(unit, seconds=unit.seconds * shorter / setting.epochs)
            setting = replace(setting, epochs=shorter)
            asking.note(f"recipe.epochs = {shorter}: trainings took longer than it seemed before")


def _seen(noise: Noise, space: SearchSpace) -> float:
    """The smallest gain that a re-validation shows, never finer than a test sample."""
    return max(noise.smallest_gain(space.validation.seeds), 100 * resolution(space.task[0]))


def _story(
    found: Survey,
    trials: Sequence[Trial],
    best: Trial,
    noise: Noise,
    plan: Fitted,
    workers: int,
    asking: Asking,
) -> list[str]:
    """What was seen, tried and decided, in sentences."""
    metric = metric_title(found.section.measure)
    space = plan.space
    steps = told_steps(list(plan.steps), noise.load)
    budget = space.budget.generations
    lines = [
        *(f"Decided: {one}." for one in asking.decided),
        *(f"Tried: {_told_trial(one, metric)}." for one in trials),
    ]
    lines += [
        f"Noise: over {noise.seeds} seeds cross-entropy's validation {metric} is {noise.score:.1%} ± "
        f"{noise.spread:.2f} points (standard deviation), and its difference to another loss on the same seeds ± "
        f"{noise.paired:.2f} points.",
        f"Seen: a gain of {noise.smallest_gain(space.fitness.fresh_seeds):.2f} points or more on the "
        f"{space.fitness.fresh_seeds} fresh seeds of the search, and of {_seen(noise, space):.2f} on the "
        f"{space.validation.seeds} of the re-validation, four times in five; less than that drowns in noise.",
        f"Cost: a generation takes about {duration(plan.generation)}, {budget} of them and all else about "
        f"{duration(plan.seconds)} on {workers} workers of this machine: {'; '.join(steps)}.",
    ]
    if noise.load > 1.3:
        lines.append(
            f"The machine was busy with other work: trainings took {noise.load:.1f} times the processor's own time, "
            "and the cost is what it would be if that went on."
        )
    chance = 0.0
    with suppress(LossforgeError):
        chance = chance_level(space.task[0])[0]
    if noise.score - chance <= 2 * noise.spread / 100:
        lines.append(
            f"Cross-entropy is hardly better than guessing ({chance:.1%}): a search will refuse to begin; give it more "
            "time with --time, another network with --network, or better data."
        )
    return lines
