"""One loss on a page: typeset, as pictures, and what it does to three samples, in words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from html import escape

from lossforge.errors import LossforgeError
from lossforge.export.latex import latex, latex_by_class
from lossforge.expression.branches import class_functions
from lossforge.expression.tree import Expression
from lossforge.losses.analysis import nearest
from lossforge.losses.candidates import parse_candidate
from lossforge.report.loss_picture import Shown, loss_pictures, triangle
from lossforge.report.loss_words import in_words
from lossforge.report.mathml import mathml
from lossforge.report.page import figure
from lossforge.report.picture import Picture

_LONGEST = 40
"""Nodes of a formula up to which it is typeset; nobody reads a longer one."""


@dataclass(frozen=True, slots=True)
class Portrait:
    """A loss's formula as MathML, its pictures with captions, its sentences, and its nearest known relative."""

    formula: str
    by_class: str
    pictures: tuple[tuple[Picture, str], ...]
    field: Picture | None
    sentences: tuple[str, ...]
    relative: tuple[str, float] | None


@lru_cache(maxsize=64)
def portrait(formula: str, head: str, classes: int, name: str) -> Portrait:
    """All that a page shows of a loss; kept, since leaders stay from checkpoint to checkpoint."""
    written, by_class = typeset(formula)
    shown = Shown.of(formula, head, classes)
    if shown is None:
        return Portrait(written, by_class, (), None, ("It has no gradient near a uniform start.",), None)
    try:
        relative = nearest(shown.spec, head=shown.head)
    except (LossforgeError, ValueError, RuntimeError):
        relative = None
    pictures, field = tuple(loss_pictures(shown, name)), triangle(shown, f"{name}-triangle")
    return Portrait(written, by_class, pictures, field, tuple(in_words(shown)), relative)


def typeset(formula: str) -> tuple[str, str]:
    """The formula, and its two functions of one probability, as MathML; "" where there is none to read."""
    try:
        tree = parse_candidate(formula)
    except LossforgeError:
        return "", ""
    if not isinstance(tree, Expression) or tree.size > _LONGEST:
        return "", ""
    written, by_class = mathml(latex(tree)), ""
    if not tree.crosses_classes:
        try:
            by_class = mathml(latex_by_class(class_functions(tree)))
        except (LossforgeError, ValueError):
            by_class = ""
    return written, by_class


def card(title: str, formula: str, shown: Portrait, lines: list[str], *, searched: str = "") -> str:
    """The loss as an article; ``lines`` are facts and verdicts, ``searched`` what the search trained, if another."""
    parts = [f"<h3>{escape(title)}</h3>"]
    if shown.formula:
        parts.append(f'<div class="formula">{shown.formula}</div>')
    parts.append(f"<p><code>{escape(formula)}</code></p>")
    if searched and searched != formula:
        parts.append(f'<p class="note">The search trained it as <code>{escape(searched)}</code>.</p>')
    parts += [f"<p>{escape(line)}</p>" for line in lines]
    if shown.relative is not None:
        name, cosine = shown.relative
        close = "trains like it" if cosine > 0.999 else f"cosine of the gradients {cosine:.3f}"
        parts.append(f"<p>Nearest known loss: <b>{escape(name.replace('_', ' '))}</b> ({close}).</p>")
    if shown.by_class:
        parts.append(
            '<p class="note">With hard labels it is two functions of one probability p, summed over the classes:</p>'
            f'<div class="formula">{shown.by_class}</div>'
        )
    figures = "".join(figure(picture, caption) for picture, caption in shown.pictures)
    parts.append(f'<div class="grid four">{figures}</div>' if figures else "")
    told = f"<ul>{''.join(f'<li>{escape(one)}</li>' for one in shown.sentences)}</ul>"
    if shown.field is None:
        parts.append(told)
    else:
        caption = "Where a step moves predictions of three classes; grey: cross-entropy."
        parts.append(f'<div class="beside">{figure(shown.field, caption)}<div>{told}</div></div>')
    return f"<article>{''.join(parts)}</article>"
