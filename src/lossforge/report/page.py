"""The frame of a page: one file without a script that anything depends on, and without a request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.metadata import PackageNotFoundError, version

from lossforge.report.picture import Picture
from lossforge.report.styles import page_css

# Hovering tells at once, and everywhere alike, what a browser tells after a second; without scripts that is left.
_SCRIPT = (
    "(function(){var t=document.getElementById('tip');document.querySelectorAll('svg title').forEach(function(e){"
    "var p=e.parentNode,s=e.textContent;p.removeChild(e);p.addEventListener('pointermove',function(m){t.hidden=false;"
    "t.textContent=s;var x=Math.min(m.clientX+12,innerWidth-t.offsetWidth-8),y=m.clientY+16;"
    "if(y+t.offsetHeight>innerHeight)y=m.clientY-t.offsetHeight-8;t.style.left=x+'px';t.style.top=y+'px'});"
    "p.addEventListener('pointerleave',function(){t.hidden=true})})})();"
)


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f"<p{_class(kind)}>{escape(text)}</p>"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def figure(picture: Picture, caption: str, *, wide: bool = False) -> str:
    """A picture with its caption, which is HTML; a ``wide`` one scrolls on a small screen and does not shrink."""
    style = f' style="max-width:{1.3 * picture.width:.0f}px"'
    drawn = picture.svg().replace('class="picture"', f'class="picture"{style}', 1)
    drawn = f'<div class="wide">{drawn}</div>' if wide else drawn
    return f"<figure>{drawn}<figcaption>{caption}</figcaption></figure>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """A table of plain texts that scrolls within the page where it is too wide; ``numbers`` are columns of those."""
    right = set(numbers)

    def cells(tag: str, row: Sequence[str]) -> str:
        kinds = (' class="number"' if place in right else "" for place in range(len(row)))
        return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for cell, kind in zip(row, kinds, strict=True))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{cells("th", head)}</tr></thead><tbody>{body}</tbody></table></div>'


def facts(rows: Mapping[str, str]) -> str:
    """Figures in a row, each under its name."""
    cells = (
        f'<div><div class="value">{escape(value)}</div><div class="name">{escape(name)}</div></div>'
        for name, value in rows.items()
    )
    return f'<div class="facts">{"".join(cells)}</div>'


def section(identity: str, title: str, body: str) -> tuple[str, str, str]:
    """A part of a page, for `page`."""
    return identity, title, body


def page(title: str, header: str, sections: Sequence[tuple[str, str, str]], footer: str = "") -> str:
    """The whole file. ``header`` and the sections' bodies are HTML; empty sections are left out."""
    kept = [one for one in sections if one[2]]
    links = "".join(f'<a href="#{identity}">{escape(name)}</a>' for identity, name, _ in kept)
    body = "".join(f'<section id="{key}"><h2>{escape(name)}</h2>{text}</section>' for key, name, text in kept)
    written = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by lossforge {_version()}"
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        '<meta name="color-scheme" content="light dark"/><link rel="icon" href="data:,"/>'
        f"<title>{escape(title)}</title><style>{page_css()}</style></head><body><main>"
        f'<header>{header}</header><nav aria-label="Sections">{links}</nav>{body}'
        f'<footer>{footer}<p>Written {written}.</p></footer></main><div id="tip" hidden="hidden"></div>'
        f"<script>{_SCRIPT}</script></body></html>\n"
    )


def _version() -> str:
    try:
        return version("lossforge")
    except PackageNotFoundError:
        return "(not installed)"
