"""The page of a run: verdict, best losses, how the search went, and how to repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path

from lossforge.report.candidates_plots import curves, origins, pareto
from lossforge.report.comparison_sections import comparison_body
from lossforge.report.history import by_generation, by_time, funnel, surrogate, work
from lossforge.report.likeness_map import likeness_map
from lossforge.report.loss_card import card, portrait
from lossforge.report.page import facts, figure, page, paragraph, section, table
from lossforge.report.run_data import RunData, read_run
from lossforge.report.verdict_text import evidence, headline, judged, measured
from lossforge.search.progress import duration
from lossforge.spaces.task_section import searched_title
from lossforge.validation.sentences import verdicts_by_formula

LOSSES = 5
"""Losses that have pictures."""
_CLASSES = 10


def run_page(path: Path) -> str:
    """The page of a run as HTML. Raises LossforgeError for what is no run."""
    return page_of(read_run(path))


def page_of(data: RunData) -> str:
    """The page of what was read of a run."""
    sections = [
        section("losses", "The best losses", _losses(data)),
        section("validation", "Re-validation", _validation(data)),
        section("search", "How the search went", _search(data)),
        section("candidates", "Everything that was tried", _candidates(data)),
        section("sums", "Sums of losses", _sums(data)),
        section("time", "Where the time went", _time(data)),
        section("repeat", "To repeat it", _repeat(data)),
    ]
    return page(f"{data.space.name} · lossforge", _header(data), sections)


def _header(data: RunData) -> str:
    space = data.space
    tasks = ", ".join(dict.fromkeys(task.title for task in space.task))
    state = "finished" if data.finished else "under way, or stopped; reload to see it go on"
    eyebrow = f"lossforge search · {tasks} · seed {space.seed} · {state}"
    rows = data.comparisons.get("", [])
    said = "".join(f"<li>{escape(one)}</li>" for one in evidence(rows))
    said = f'<ul class="note">{said}</ul><p class="note">{escape(measured(rows))}</p>' if rows else ""
    trouble = "".join(paragraph(f"Not all could be read: {one}", "note") for one in data.trouble)
    return (
        f'<p class="eyebrow">{escape(eyebrow)}</p><h1>{escape(space.name)}</h1>'
        f'<p class="lead">{escape(space.description)}</p>'
        f'<div class="verdict"><p>{escape(headline(data))}</p>{_by_plans(data)}{said}</div>'
        f"{trouble}{facts(_figures(data))}"
    )


def _by_plans(data: RunData) -> str:
    """What comparisons by plans say: of other data, often something else."""
    told = (
        f"By the plan “{plan}”: {judged(rows, 'of the losses compared')}"
        for plan, rows in data.comparisons.items()
        if plan
    )
    return "".join(paragraph(one) for one in told)


def _figures(data: RunData) -> dict[str, str]:
    found = {
        "generations": f"{data.generations_done} of {data.space.budget.generations}",
        "losses generated": f"{sum(data.tally.values()):,}",
        "losses trained": f"{len(data.judged):,}",
        "trainings": f"{data.trainings:,}",
    }
    if data.control is not None:
        found[f"cross-entropy’s {searched_title(data.space.measure)}"] = f"{data.control:.1%}"
    if data.entries:
        found["the leader’s gain, points"] = (
            f"{data.entries[0].search_gain:+.2f}" if data.entries[0].gain is None else f"{data.entries[0].gain:+.2f}"
        )
    return found


def classes_of(data: RunData) -> int:
    """Number of classes that losses are drawn for: the task's where a comparison knows it, else 10."""
    known = [row.classes for rows in data.comparisons.values() for row in rows if row.classes > 1]
    return 2 if data.head == "binary" else min(known[0], 1000) if known else _CLASSES


def _losses(data: RunData) -> str:
    if not data.entries:
        return ""
    said = verdicts_by_formula(data.comparisons.get("", []))
    cards = []
    for entry in data.entries[:LOSSES]:
        one = data.judged.get(entry.signature)
        half = None if one is None else one.half
        interval = f" ± {half:.2f}" if half is not None else ""
        lines = [f"In the search {entry.search_gain:+.2f}{interval} points over cross-entropy; size {entry.size}."]
        if entry.gain is not None and entry.low is not None and entry.high is not None:
            over = "" if entry.gain_over_known is None else f", {entry.gain_over_known:+.2f} over {entry.known}"
            lines.append(
                f"On {entry.seeds} fresh replicates, which chose nobody: {entry.gain:+.2f} ({entry.low:+.2f} to "
                f"{entry.high:+.2f}){over}; {entry.accuracy:.2%} against {entry.control:.2%}."
            )
        if entry.relatives:
            like = "one more loss is" if entry.relatives == 1 else f"{entry.relatives} more losses are"
            lines.append(f"It stands for a family: {like} like it for all a training can tell.")
        if entry.formula in said:
            lines.append(f"Re-validated: {said[entry.formula]}.")
        came = entry.origin if data.space.fusion.losses else f"generation {entry.generation}, by {entry.origin}"
        title = f"Rank {entry.rank} · {came}"
        shown = portrait(entry.formula, data.head, classes_of(data), f"rank-{entry.rank}")
        cards.append(card(title, entry.formula, shown, lines, searched=entry.searched))
    rows = [
        (
            str(one.rank),
            f"{one.search_gain:+.2f}",
            "" if one.gain is None else one.told_gain,
            str(one.seeds),
            f"{one.accuracy:.2%}",
            str(one.size),
            one.formula,
        )
        for one in data.entries
    ]
    names = ("rank", "gain in the search", "on fresh seeds", "seeds", "score", "size", "formula")
    whole = table(names, rows, (0, 1, 3, 4, 5))
    key = (
        '<p class="key"><span><i></i>the loss</span><span><i class="reference"></i>cross-entropy</span></p>'
        f'<p class="note">Losses are drawn for {classes_of(data)} classes, scaled so that their gradient at a uniform '
        "prediction is as long as cross-entropy’s; values are shifted so that the least is 0. Neither changes what is "
        "learned.</p>"
    )
    more = f"<details><summary>All {len(rows)} of the hall of fame</summary>{whole}</details>"
    return key + "".join(cards) + more


def _validation(data: RunData) -> str:
    parts = []
    for plan, rows in data.comparisons.items():
        title = f"<h3>By the plan “{escape(plan)}”</h3>" if plan else ""
        told = "" if not plan else "".join(paragraph(one, "note") for one in (*evidence(rows), measured(rows)))
        parts.append(title + told + comparison_body(rows, plan or "forest"))
    return "".join(parts)


def _search(data: RunData) -> str:
    first, second, third = by_generation(data), by_time(data), funnel(data)
    figures = []
    if first is not None:
        caption = (
            "<b>Gain by generation.</b> Bold: the leader. Thin: the median of each generation’s new losses, with the "
            "middle half shaded."
        )
        figures.append(figure(first, caption))
    if second is not None:
        figures.append(figure(second, "<b>The leader’s gain by time.</b> Pauses between stop and resume count."))
    if third is not None:
        caption = "<b>From generated to trained.</b> What was left after each step."
        figures.append(figure(third, caption))
    named = curves(data)
    if named is not None:
        caption = (
            "<b>Training curves</b> of the best losses (blue; rank 2 dashed, rank 3 thin) and of cross-entropy (grey), "
            "each from its first value to its lowest: values of different losses do not compare."
        )
        figures.append(figure(named, caption))
    trust = surrogate(data)
    if trust is not None:
        caption = (
            "<b>Does the surrogate rank rightly?</b> Rank correlation of what it predicted with the gains that came "
            "next; dashed: with gains that its trees had left out."
        )
        figures.append(figure(trust, caption))
    luck = (
        '<p class="note">The leader’s gain is a mean over the seeds it was chosen by, and so too high on average; it '
        "falls where a leader gets further seeds.</p>"
        if first is not None
        else ""
    )
    return f'<div class="grid">{"".join(figures)}</div>{luck}' if figures else ""


def _candidates(data: RunData) -> str:
    figures = []
    located = likeness_map(data)
    if located is not None:
        picture, share = located
        caption = (
            "<b>Losses by the likeness of their gradients</b>, darker with more gain; crosses are known losses. Those "
            f"that lie together train alike; the two directions show {share:.0%} of all differences."
        )
        figures.append(figure(picture, caption))
    best = pareto(data)
    if best is not None:
        figures.append(figure(best, "<b>Gain against size.</b> The line: no smaller loss is as good."))
    if not figures:
        return ""
    rows = [(name, f"{count:,}", f"{middle:+.2f}", f"{most:+.2f}") for name, count, middle, most in origins(data)]
    if data.space.fusion.losses:  # there the names of the losses in a sum
        rows = []
    came = "" if not rows else table(("how it came about", "trained", "median gain", "best gain"), rows, (1, 2, 3))
    return f'<div class="grid">{"".join(figures)}</div>{came}'


def _sums(data: RunData) -> str:
    if not data.space.fusion.losses:
        return ""
    from lossforge.errors import LossforgeError
    from lossforge.report.fusion_tables import LEGEND, cells, fusion_tables

    try:
        found = fusion_tables(data.path)
    except LossforgeError:
        return ""
    parts = []
    for one in found:
        head, *rows = cells(one, ("", ""))
        parts.append(f"<h3>{escape(one.title)}</h3>{table(head, rows, range(1, len(head)))}")
    return "".join(parts) + paragraph(LEGEND, "note") if parts else ""


def _time(data: RunData) -> str:
    picture = work(data)
    if picture is None:
        return ""
    total = sum(data.work.values())
    told = (
        f"{duration(total)} of workers’ time in {data.trainings:,} trainings; trainings that run together count once."
    )
    failed = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in sorted(data.failures.items()))
    failed = f" Not trained to the end: {failed}." if failed else ""
    rates = "; ".join(f"{title} {rate:g}" for title, rate in data.learning_rates.items())
    rates = f" Learning rate, cross-entropy’s best: {rates}." if rates else ""
    return figure(picture, escape(told + failed + rates))


def _repeat(data: RunData) -> str:
    manifest = data.manifest
    command = manifest.get("command")
    typed = shlex.join(map(str, command)) if isinstance(command, list) else ""
    again = f"lossforge search space.toml --seed {data.space.seed} --run NEW_FOLDER"
    packages = manifest.get("packages") or {}
    hardware = manifest.get("hardware") or {}
    rows = [
        ("commit", str(manifest.get("commit") or "not known")),
        ("Python", str(manifest.get("python") or "")),
        ("packages", ", ".join(f"{name} {number}" for name, number in packages.items())),
        ("machine", ", ".join(str(value) for value in hardware.values())),
        ("begun", data.began),
        ("last line of the log", data.ended),
        ("folder", str(data.path)),
    ]
    return (
        f"<p>From this run’s folder, with the space that it froze:</p><pre>{escape(again)}</pre>"
        + (f'<p class="note">It was begun by <code>{escape(typed)}</code>.</p>' if typed else "")
        + table(("", ""), [row for row in rows if row[1]])
        + f"<details><summary>space.toml</summary><pre>{escape(_space_text(data))}</pre></details>"
        + _log(data.log)
    )


def _space_text(data: RunData) -> str:
    from lossforge.spaces.load import dump_space

    return dump_space(data.space)


def _log(lines: Sequence[str]) -> str:
    shown = [*lines[:60], "…", *lines[-140:]] if len(lines) > 200 else list(lines)
    text = escape("\n".join(line[:400] for line in shown))
    return f"<details><summary>log.txt</summary><pre>{text}</pre></details>" if shown else ""
