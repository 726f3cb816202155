"""The runs of everything that a comparison trained, as its folder keeps them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from lossforge.errors import StoreError
from lossforge.evaluation.calibrate import with_gainful_cohorts
from lossforge.executors.devices import resolve_device
from lossforge.spaces.plan_schema import Plan
from lossforge.spaces.plans import load_plan
from lossforge.store.ledger import Ledger, TrainingRow
from lossforge.store.stages import Stage
from lossforge.validation.contenders import Contender
from lossforge.validation.plans import studies_of
from lossforge.validation.repeats import Repeated
from lossforge.validation.study import Study


def repeats_of(folder: Path) -> list[tuple[Study, dict[str, Repeated]]]:
    """Each study of a comparison whose plan gives the learning rates, with the runs of every rival and loss by name.

    Raises StoreError where the folder lacks runs, and ValueError where the plan does not score training parts.
    """
    plan = load_plan(folder / "plan.toml")
    by_fingerprint: dict[str, list[TrainingRow]] = defaultdict(list)
    ledger = Ledger(folder / "ledger.sqlite", read_only=True)
    try:
        for row in ledger.trainings(Stage.VALIDATION):
            by_fingerprint[row.fingerprint].append(row)
    finally:
        ledger.close()
    found = []
    for study in studies_of(plan):
        runs = {}
        for one in (*study.rivals, *study.losses):
            rows = by_fingerprint[_fingerprint(plan, study, one)]
            if not rows:
                raise StoreError(f"{folder}: has no runs of {one.name} in the study '{study.title}'; finish it first")
            runs[one.name] = Repeated.of(one.name, sorted(rows, key=lambda row: row.replicate))
        found.append((study, runs))
    return found


def _fingerprint(plan: Plan, study: Study, one: Contender) -> str:
    """Under which the runs are in the ledger."""
    if one.fixed_rate is None:
        raise ValueError(f"{one.name}: the plan tunes its learning rate; give recipe.learning_rate a number")
    execution = plan.execution
    device = resolve_device(execution.device) if execution.executor == "local" else "cpu"
    own = Contender(one.name, one.loss, one.key, with_gainful_cohorts(one.space, device))
    epochs = study.settings.epochs
    (first,) = own.trainings(one.fixed_rate, [0], stage=Stage.VALIDATION, part="test", epochs=epochs)
    return first.fingerprint()
