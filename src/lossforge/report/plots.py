"""Every picture of a report as files, for slides and papers."""

from __future__ import annotations

from pathlib import Path

from lossforge.report.candidates_plots import curves, pareto
from lossforge.report.comparison_page import best_losses, is_comparison
from lossforge.report.comparison_pictures import common_limits, critical_difference, forest, groups, ranks_of
from lossforge.report.history import by_generation, by_time, funnel, surrogate, work
from lossforge.report.likeness_map import likeness_map
from lossforge.report.loss_card import portrait
from lossforge.report.picture import Picture
from lossforge.report.run_data import read_run
from lossforge.report.run_page import LOSSES, classes_of
from lossforge.store.files import told_as_store_error
from lossforge.validation.comparison import Comparison
from lossforge.validation.results import comparisons_in

_FORESTS = 60


def write_plots(folder: Path, output: Path) -> list[Path]:
    """Write each picture of a run's, or a comparison's, page as NAME.svg and NAME.png; returns the paths.

    Raises LossforgeError where the folder holds neither, or the files cannot be written.
    """
    pictures = _of_comparison(folder) if is_comparison(folder) else _of_run(folder)
    with told_as_store_error(output, elsewhere="name another folder with --plots"):
        output.mkdir(parents=True, exist_ok=True)
    return [path for picture in pictures for path in picture.save(output)]


def _of_run(folder: Path) -> list[Picture]:
    data = read_run(folder)
    located = likeness_map(data)
    whole = (by_generation(data), by_time(data), funnel(data), curves(data), pareto(data), work(data), surrogate(data))
    found = [picture for picture in (*whole, located[0] if located else None) if picture is not None]
    for entry in data.entries[:LOSSES]:
        found += _of_loss(entry.formula, data.head, classes_of(data), f"rank-{entry.rank}")
    for plan, rows in data.comparisons.items():
        found += _of_rows(rows, plan)
    return found


def _of_comparison(folder: Path) -> list[Picture]:
    rows = comparisons_in(folder)
    found = _of_rows(rows, "") if rows else []
    for place, (name, _, classes) in enumerate(best_losses(rows), 1):
        found += _of_loss(name, "softmax", classes, f"loss-{place}")
    return found


def _of_loss(formula: str, head: str, classes: int, name: str) -> list[Picture]:
    shown = portrait(formula, head, classes, name)
    return [*(picture for picture, _ in shown.pictures), *([shown.field] if shown.field else [])]


def _of_rows(rows: list[Comparison], plan: str) -> list[Picture]:
    before = f"{plan}-" if plan else ""
    x = common_limits(rows)
    found = [forest(group, f"{before}forest-{place}", x) for place, group in enumerate(groups(rows)[:_FORESTS], 1)]
    ranks = ranks_of(rows)
    if ranks is not None:
        diagram = critical_difference(ranks)
        diagram.name = before + diagram.name
        found.append(diagram)
    return found
