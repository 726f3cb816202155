"""What the commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json as json_module
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.text import Text

from lossforge.inspection.runs import leader_seeds
from lossforge.layout import Column, Line, Style, facts, grouped, table, wrapped
from lossforge.search.progress import Progress, shown
from lossforge.standard_output import kept_clean
from lossforge.validation.comparison import LEGEND, Comparison, how_measured, summaries, told
from lossforge.validation.sentences import collapse_sentences, loss_sentences

if TYPE_CHECKING:
    from lossforge.report.fusion_tables import Table as FusionTable
    from lossforge.report.term_shares import TermShares
    from lossforge.run import Run
    from lossforge.search.hall_of_fame import Entry
    from lossforge.starting.new import Written


_UNLIMITED = 100_000
"""Columns of a pipe or a file: a row is a line there."""


def _width() -> int:
    terminal = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal()
    return shutil.get_terminal_size().columns if terminal else _UNLIMITED


def _print(lines: Sequence[Line]) -> None:
    """Print lines as they are: nothing in them is markup, and none is folded."""
    console = Console(highlight=False, markup=False)
    for line in lines:
        console.print(Text.assemble(*line), soft_wrap=True)


def _prose(text: str, style: Style = "") -> None:
    """Print a sentence, folded at spaces."""
    _print([[(part, style)] for part in wrapped(text, _width())])


@contextmanager
def progress() -> Iterator[Progress]:
    """Progress, shown on standard error; nothing else is printed within it."""
    with kept_clean(), shown() as told:
        yield told


def print_json(value: object) -> None:
    """Print JSON to standard output."""
    sys.stdout.write(json_module.dumps(value, indent=1) + "\n")


def print_rows(rows: Sequence[Mapping[str, Any]], json: bool) -> None:
    """Print dictionaries of the same keys."""
    if json:
        print_json([dict(row) for row in rows])
        return
    if not rows:
        _prose("nothing here")
        return
    cells = [[_text(value, none="") for value in row.values()] for row in rows]
    columns = [Column(name, _kind(name, [row[place] for row in cells])) for place, name in enumerate(rows[0])]
    _print_table(columns, cells)


def _print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """A table whose formulas name the user's own operations; what those are stands once below it."""
    from lossforge.expression.tree import WHERE

    own: dict[str, None] = {}
    shown = []
    for row in rows:
        cells = list(row)
        for place, column in enumerate(columns):
            if column.kind == "formula":
                cells[place], _, meanings = row[place].partition(WHERE)
                own.update(dict.fromkeys(meanings.split("; ") if meanings else ()))
        shown.append(cells)
    _print(table(columns, shown, _width()))
    for meaning in own:
        _prose(f"where {meaning}", "dim")


def print_library(rows: Sequence[Mapping[str, Any]], json: bool) -> None:
    """Print losses of the library by group; one alone with all that is known of it."""
    if json:
        print_json([dict(row) for row in rows])
    elif len(rows) == 1:
        settings = [f"{classes}: {_text(setting)}" for classes, setting in rows[0]["settings"].items()]
        print_facts({name: value for name, value in {**rows[0], "settings": settings}.items() if value}, json)
    elif _width() == _UNLIMITED:
        print_rows(rows, json)
    else:
        groups: dict[str, list[tuple[str, str]]] = {}
        for row in rows:
            groups.setdefault(row["group"], []).append((row["name"], _in_short(row)))
        _print(grouped([Column("name"), Column("what it is", "text")], groups, _width()))
        _print([[]])
        _prose("lossforge list losses NAME: its formula, source, settings; lossforge show NAME: how it behaves", "dim")


def _in_short(row: Mapping[str, Any]) -> str:
    """What a loss is, its parameters and its other names."""
    aliases = [f"also {name}" for name in row["aliases"]]
    further = [f"{name} {value:g}" for name, value in row["parameters"].items()] + aliases
    return str(row["summary"]) + (f" [{', '.join(further)}]" if further else "")


def _kind(name: str, cells: Sequence[str]) -> Literal["word", "text", "formula"]:
    if name == "formula":
        return "formula"
    return "text" if any(" " in cell for cell in cells) else "word"


def print_facts(found: Mapping[str, Any], json: bool) -> None:
    """Print one dictionary."""
    if json:
        print_json(dict(found))
        return
    _print(facts([(name.replace("_", " "), _text(value)) for name, value in found.items()], _width()))


def _text(value: object, none: str = "none") -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items()) or none
    if isinstance(value, Sequence) and not isinstance(value, str):
        texts = [*map(str, value)]
        return ("; " if any(", " in text for text in texts) else ", ").join(texts) or none
    if isinstance(value, bool):
        return "yes" if value else ("no" if none else "")
    if isinstance(value, float):
        return f"{value:.4g}"
    return none if value is None else str(value)


def print_losses(losses: list[dict[str, Any]], json: bool) -> None:
    """Print what `lossforge.inspection.losses.explain` found."""
    if json:
        print_json(losses)
        return
    for loss in losses:
        _print(facts([(name, str(value)) for name, value in _loss_rows(loss)], _width()))
        if loss is not losses[-1]:
            _print([[]])


_SHORT = 100
"""Characters up to which the LaTeX of a derivative, or the slope of a class's function, is worth a line."""
_MIXED = "none: the loss of a sample mixes its classes, and is no function of one probability"
_UNREADABLE = "no readable form of it was found"
_LONG = 200
"""Characters up to which the LaTeX of both classes' functions is."""


def _loss_rows(loss: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Name and text of everything that is told of a loss; what it does not have, or would repeat, is left out."""
    yield "loss", loss["loss"]
    yield "formula", loss["formula"] + _with_head(loss["head"])
    yield from _part_rows(loss.get("parts") or ())
    if loss["label_smoothing"]:
        yield "smoothing", f"targets mixed with {loss['label_smoothing']:g} of the uniform distribution"
    if loss["simplified"] not in (loss["formula"], loss["final"]):
        yield "simplified", loss["simplified"]
    if loss["final"] != loss["formula"]:
        yield "final form", loss["final"]
    for name, title in (("true_class", "true class"), ("wrong_class", "wrong class")):
        if loss[name] is not None:
            yield title, loss[name]["value"] + _with_slope(loss[name]["slope"])
    if loss["class_latex"] and len(loss["class_latex"]) <= _LONG:
        yield "their LaTeX", loss["class_latex"]
    if loss["latex"]:
        yield "LaTeX", loss["latex"]
        yield "df/dp", loss["derivative"] or (_MIXED if loss["mixes_classes"] else _UNREADABLE)
    if loss["derivative_latex"] and len(loss["derivative_latex"]) <= _SHORT:
        yield "its LaTeX", loss["derivative_latex"]
    yield from _name_rows(loss)
    yield "screens", _verdict(loss["screen"])
    yield from _asked_rows(loss)


def _part_rows(parts: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, object]]:
    """A line for each loss of a sum."""
    for part in parts:
        shares = _by_classes(part["share"], "{:.0%}")
        alike = _by_classes(part["matched_weight"], "{:.4g}")
        yield f"part {part['weight']:g} x", f"{part['loss']}   gradient near a uniform start: {shares} of the parts'"
        yield "", f"as long as cross-entropy's with the weight {alike}"


def _name_rows(loss: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """What it is counted and known by."""
    if loss["size"] is not None:
        yield "size", loss["size"]
    if loss["size"] is not None or loss["signature"]:
        yield "signature", loss["signature"] or "none: the gradient is zero"


def _asked_rows(loss: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """What a loss asks for: one without a gradient asks for nothing."""
    relative = loss["nearest"]
    if relative is None:
        return
    yield "least at", _by_classes(loss["minimiser"], "p_t = {:.3g}")
    yield "gradient", _by_classes(loss["gradient_ratio"], "{:.3g} x cross-entropy's")
    yield "nearest", f"{relative['name']} (cosine of the gradients {relative['similarity']:.3f})"


def _with_head(head: str) -> str:
    return "" if head == "softmax" else f"   behind the head {head}"


def _with_slope(slope: str | None) -> str:
    readable = slope is not None and len(slope) <= _SHORT
    return f"   with slope {slope}" if readable else "   (no readable slope was found)"


def _verdict(screen: Mapping[str, Any]) -> str:
    verdict = "passes" if screen["passed"] else f"rejected by {screen['rejected_by']}: {screen['reason']}"
    return verdict + (" (with its sign repaired: -f descends)" if screen["sign_repaired"] else "")


def _by_classes(values: Mapping[str, float], form: str) -> str:
    return ", ".join(f"{form.format(value)} for {classes} classes" for classes, value in values.items())


def print_hall_of_fame(
    entries: list[Entry],
    json: bool,
    leader_seeds: int,
    verdicts: Mapping[str, str] | None = None,
    relatives: Mapping[str, Sequence[str]] | None = None,
    sparks: Mapping[str, str] | None = None,
) -> None:
    """Print the leaders of a run; those with ``leader_seeds`` or more come before all others.

    ``verdicts`` are a re-validation's, by formula; ``relatives`` the losses that are like one, by its signature, and
    ``sparks`` its gains by seed as a few bars.
    """
    said = verdicts or {}
    if json:
        rows_told = [{**asdict(entry), "verdict": said.get(entry.formula)} for entry in entries]
        if relatives is not None:
            rows_told = [{**row, "like_it": list(relatives.get(row["signature"], ()))} for row in rows_told]
        print_json(rows_told)
        return
    from lossforge.spaces.task_section import metric_title, searched_title

    metric = entries[0].metric if entries else "accuracy"
    measured = metric_title(metric)
    known = next((entry.known for entry in entries if entry.known), "")
    over = [f"over {known}"] if known else []
    drawn = ["by seed"] if sparks else []
    names = ("rank", "formula", "size", "gain", *over, "in the search", *drawn, "seeds", measured, "cross-entropy")
    columns = [Column(name, "formula" if name == "formula" else "word") for name in names]
    rows = [
        (
            str(entry.rank),
            entry.formula,
            str(entry.size),
            _gain(entry),
            *([_signed(entry.gain_over_known)] if known else []),
            f"{entry.search_gain:+.2f}",
            *([sparks.get(entry.signature, "")] if sparks else []),
            str(entry.seeds),
            f"{entry.accuracy:.2%}",
            f"{entry.control:.2%}",
        )
        for entry in entries
    ]
    _print_table(columns, rows)
    _prose(
        f"gain: percentage points of {searched_title(metric)} over cross-entropy, with its 95 % interval, on fresh "
        "seeds that had no part in choosing the loss (-: not measured); in the search: on those that chose it, so with "
        "luck",
        "dim",
    )
    _print_relatives(entries, relatives)
    for entry in entries:
        if entry.formula in said:
            _prose(f"rank {entry.rank}, re-validated: {said[entry.formula]}")
    if entries and not said:
        _prose("not re-validated: the gains may be luck", "dim")
    if any(entry.gain is None and entry.seeds < leader_seeds for entry in entries):
        _prose(
            f"order: losses that were trained on {leader_seeds} seeds or more come before those with fewer, whose gain "
            "is more likely luck; then by gain, and among equals the smaller formula",
            "dim",
        )


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


def _gain(entry: Entry) -> str:
    if entry.low is None or entry.high is None:
        return "-"
    return f"{_signed(entry.gain)} [{entry.low:+.2f}, {entry.high:+.2f}]"


def _print_relatives(entries: Sequence[Entry], relatives: Mapping[str, Sequence[str]] | None) -> None:
    """How many losses are like each, or, where it is known, which."""
    some = [entry for entry in entries if entry.relatives]
    if relatives is None and some:
        counts = "; ".join(f"rank {entry.rank}: and {entry.relatives} like it" for entry in some)
        _prose(f"{counts} ('lossforge top RUN --all' lists them)", "dim")
    if relatives is None:
        return
    for entry in some:
        _prose(f"like rank {entry.rank}:")
        alike = relatives.get(entry.signature, ())
        _print_table([Column("formula", "formula")], [(formula,) for formula in alike])


def print_validation(rows: list[Comparison], json: bool) -> None:
    """Print comparisons: a block for each loss, a line for each rival, and what they amount to in words."""
    if json:
        print_json(told(rows))
        return
    from lossforge.report.comparison_table import comparison_lines, mean_lines, rank_lines
    from lossforge.validation.second_optimizer import under_both

    if not rows:
        return
    _print(comparison_lines(rows, _width()))
    _print([[]])
    if means := mean_lines(rows, _width()):
        _print([*means, []])
    _prose(f"gain: {how_measured(rows)}; {LEGEND}", "dim")
    if sentence := under_both(rows):
        _prose(sentence, "dim")
    for sentence in [
        *collapse_sentences(rows),
        *summaries(rows, shortened=True),
        *loss_sentences(rows),
        *rank_lines(rows),
    ]:
        _prose(sentence)


def print_plan(lines: Sequence[str], json: bool) -> None:
    """Print what a command would do."""
    if json:
        print_json(list(lines))
        return
    for line in lines:
        _prose(line)


def print_new(written: Written, json: bool) -> None:
    """Print which space was written, what it costs, and what to type next; the story was told on the way."""
    facts_ = {
        "space": str(written.path),
        "seconds": round(written.seconds, 1),
        "generation_seconds": round(written.generation, 1),
        "noise_between_seeds_points": round(written.noise.spread, 3),
        "smallest_gain_in_the_search_points": round(written.seen_in_search, 3),
        "smallest_gain_in_the_re_validation_points": round(written.seen_in_validation, 3),
    }
    if json:
        print_json({**facts_, "told": list(written.story)})
        return
    _print(
        [[], [("written: ", ""), (str(written.path), "bold")], [(f"  search it  lossforge search {written.path}", "")]]
    )
    _print([[(f"  first see  lossforge search {written.path} --dry-run", "")]])


def print_fusion_tables(tables: Sequence[FusionTable], json: bool) -> None:
    """Print tables of sums of losses, each below its title."""
    if json:
        print_json([asdict(one) for one in tables])
        return
    from lossforge.report.fusion_tables import LEGEND, cells

    for place, one in enumerate(tables):
        if place:
            _print([[]])
        _print([[(one.title, "bold")]])
        head, *rows = cells(one, ("*", "*"))
        _print_table([Column(name, "formula" if name == "loss" else "word") for name in head], rows)
    _prose(f"{LEGEND}; *best* of its column", "dim")


def print_term_shares(shares: Sequence[TermShares], json: bool) -> None:
    """Print what each loss of each sum had of the gradient in some epochs."""
    if json:
        print_json([asdict(one) for one in shares])
        return
    from lossforge.report.term_shares import share_cells

    for place, one in enumerate(shares):
        if place:
            _print([[]])
        _print([[(f"{one.name} on {one.task}, means over {one.trainings} trainings", "bold")]])
        head, *rows = share_cells(one)
        _print_table([Column(name, "formula" if name == "loss" else "word") for name in head], rows)
    _prose("share of the lengths of the losses' gradients on the logits of each epoch's last batch", "dim")


def print_run(run: Run, json: bool) -> None:
    """Print what a search found, and what to type next."""
    rows = run.validation() if run.space.validation.after_search else []
    if json:
        print_json(
            {
                "run": str(run.path),
                "hall_of_fame": [asdict(entry) for entry in run.hall_of_fame],
                "validation": told(rows),
                "verdict": summaries(rows),
                "loss_verdicts": loss_sentences(rows),
            }
        )
        return
    if rows:
        print_validation(rows, json)
    else:
        print_hall_of_fame(run.top(5), json, leader_seeds(run.path))
    more = 2 * run.space.budget.generations
    further = f"  more generations  lossforge resume {run.path} --set budget.generations={more}"
    if run.space.evolution.strategy == "grid":  # it has been asked to its end
        further = f"  all of its sums   lossforge tables {run.path}"
    _print(
        [
            [],
            [("run folder: ", ""), (str(run.path), "bold")],
            [(further, "")],
            [(f"  validate further  lossforge validate {run.path} --seeds 32", "")],
            [(f"  export as Python  lossforge export {run.path}", "")],
        ]
    )
