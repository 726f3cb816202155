"""A model card of each loss: what it was found on, how it was trained, where it holds, and where not.

After Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

from __future__ import annotations

from collections.abc import Sequence

from lossforge.export.latex import latex, words
from lossforge.export.torch_module import Export, quotable
from lossforge.expression.formula import parse_formula
from lossforge.losses.compiled import LossSpec
from lossforge.validation.comparison import Comparison


def model_cards(losses: Sequence[Export], comparisons: Sequence[Comparison], origin: str) -> str:
    """All cards as one Markdown text."""
    head = f"# Model cards\n\n{' '.join(quotable(origin).split())}\n"
    return "\n".join([head, *(_card(one, _of(one, comparisons)) for one in losses)])


def _of(loss: Export, comparisons: Sequence[Comparison]) -> list[Comparison]:
    return [row for row in comparisons if loss.formula in (row.formula, row.searched)]


def _card(loss: Export, rows: Sequence[Comparison]) -> str:
    """One card. Of a loss that was not re-validated it says so, and nothing more of where it holds."""
    lines = [f"## {loss.name}", "", f"`{quotable(loss.formula)}`", ""]
    if not LossSpec(loss.formula).is_term:
        expression = parse_formula(loss.formula)
        lines += [f"$${latex(expression)}$$", "", f"In words: {words(expression)}.", ""]
    lines += [f"**Where it is from.** {quotable(' '.join(loss.provenance))}", ""]
    if loss.classes:
        told = (
            f"Multiplied by {loss.scale!r} for {loss.classes} classes, so that cross-entropy's learning rates suit it."
        )
        lines += [f"**Scale.** {told}", ""]
    if not rows:
        return "\n".join(
            [*lines, "**Where it holds.** Not known: it was not re-validated, and its gain may be luck.", ""]
        )
    if loss.recipe:
        lines += ["**How it was trained.**", "", *(f"- {quotable(one)}" for one in loss.recipe), ""]
    better = [row for row in rows if row.low > 0]
    worse = [row for row in rows if row.high < 0]
    open_ = [row for row in rows if row not in better and row not in worse]
    lines += [f"**Where it holds.** {_against('better than', better) or 'Nowhere is it shown to be better.'}", ""]
    not_shown = [_against("worse than", worse), _against("not shown to be better than", open_)]
    limits = "Other data, networks, optimisers and numbers of classes were not tried unless they are named above."
    return "\n".join([*lines, f"**Where not.** {' '.join([*filter(None, not_shown), limits])}", ""])


def _against(verb: str, rows: Sequence[Comparison]) -> str:
    """A sentence on the rivals, with gain and interval in points."""
    if not rows:
        return ""
    told = ", ".join(
        f"{row.rival} ({row.gain:+.2f} [{row.low:+.2f}, {row.high:+.2f}], {row.seeds} seeds)" for row in rows
    )
    tasks = ", ".join(dict.fromkeys(row.task for row in rows))
    return f"On {tasks} it is {verb} {told}."
