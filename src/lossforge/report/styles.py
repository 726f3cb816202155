"""How marks and pages look: one table of colours, light and dark, from which the style sheets are made."""

from __future__ import annotations

from dataclasses import dataclass

COLOURS = {
    "paper": ("#ffffff", "#14161b"),
    "card": ("#f7f8fa", "#1b1e25"),
    "ink": ("#1b1f2a", "#e7e9ee"),
    "soft": ("#5d6573", "#a0a8b6"),
    "faint": ("#a4abb8", "#626a78"),
    "grid": ("#e7e9ee", "#2a2f39"),
    "accent": ("#3355d1", "#8fa6ff"),
    "worse": ("#b4481b", "#ef9a72"),
}
"""Light and dark of each colour, by its part; every text's contrast with paper is 4.5 or more."""


@dataclass(frozen=True, slots=True)
class Style:
    """Of a mark: ``colour`` is a key of `COLOURS`; widths, sizes and dashes are in a picture's units."""

    colour: str
    kind: str = "line"
    width: float = 1.0
    opacity: float = 1.0
    dash: tuple[float, ...] = ()
    size: float = 11.0
    bold: bool = False

    @property
    def light(self) -> str:
        """The colour on white paper."""
        return COLOURS[self.colour][0]


MARKS: dict[str, Style] = {
    "axis": Style("faint", width=1.0),
    "rule": Style("grid", width=1.0),
    "zero": Style("soft", width=1.0),
    "own": Style("accent", width=2.0),
    "own-thin": Style("accent", width=1.0),
    "second": Style("accent", width=1.4, dash=(5, 3)),
    "other": Style("faint", width=1.5),
    "reference": Style("soft", width=1.4, dash=(4, 3)),
    "random": Style("faint", width=1.2, dash=(1.5, 3)),
    "worse-line": Style("worse", width=2.0),
    "plain-line": Style("soft", width=2.0),
    "arrow": Style("accent", width=1.3),
    "arrow-other": Style("faint", width=1.1),
    "band": Style("accent", "fill", opacity=0.14),
    "bar": Style("accent", "fill"),
    "bar-soft": Style("accent", "fill", opacity=0.4),
    "bar-other": Style("faint", "fill", opacity=0.55),
    "track": Style("grid", "fill"),
    "margin": Style("soft", "fill", opacity=0.1),
    "point": Style("accent", "fill"),
    "point-worse": Style("worse", "fill"),
    "point-plain": Style("soft", "fill"),
    "point-other": Style("faint", "fill", opacity=0.6),
    "known": Style("ink", "fill"),
    "hit": Style("paper", "fill", opacity=0.0),
    "gain0": Style("faint", "fill", opacity=0.35),
    "gain1": Style("faint", "fill", opacity=0.7),
    "gain2": Style("accent", "fill", opacity=0.3),
    "gain3": Style("accent", "fill", opacity=0.55),
    "gain4": Style("accent", "fill", opacity=0.95),
    "label": Style("soft", "text"),
    "label-own": Style("accent", "text", bold=True),
    "label-ink": Style("ink", "text"),
    "small": Style("soft", "text", size=10.0),
    "small-ink": Style("ink", "text", size=10.0),
}
"""Every style a mark may have."""


def _variables(place: int) -> str:
    return "".join(f"--{name}:{colours[place]};" for name, colours in COLOURS.items())


def colours_css(where: str = ":root") -> str:
    """Colours as variables: light, dark where the reader's system is, light on printed paper."""
    return (
        f"{where}{{{_variables(0)}color-scheme:light dark}}"
        f"@media screen and (prefers-color-scheme:dark){{{where}{{{_variables(1)}}}}}"
    )


def marks_css() -> str:
    """A class for each style of mark."""
    rules = []
    for name, style in MARKS.items():
        colour = f"var(--{style.colour})"
        opacity = f"opacity:{style.opacity:g};" if style.opacity < 1 else ""
        if style.kind == "line":
            dash = f"stroke-dasharray:{' '.join(f'{one:g}' for one in style.dash)};" if style.dash else ""
            rule = f"fill:none;stroke:{colour};stroke-width:{style.width:g};stroke-linejoin:round;{dash}{opacity}"
        elif style.kind == "text":
            rule = f"fill:{colour};font-size:{style.size:g}px;{'font-weight:600;' if style.bold else ''}"
        else:
            rule = f"fill:{colour};{opacity}"
        rules.append(f".picture .{name}{{{rule}}}")
    return "".join(rules)


FONTS = 'system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif'


def picture_css() -> str:
    """What an SVG file needs to stand alone."""
    return f"{colours_css('.picture')}.picture{{background:var(--paper);font-family:{FONTS}}}{marks_css()}"


def page_css() -> str:
    """The style sheet of a page."""
    return colours_css() + marks_css() + _PAGE.replace("FONTS", FONTS).replace("\n", "")


_PAGE = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.6 FONTS}
main{max-width:1120px;margin:0 auto;padding:40px 24px 96px}
header{padding-bottom:8px}
h1{font-size:30px;line-height:1.2;font-weight:650;letter-spacing:-.015em;margin:0 0 6px;overflow-wrap:anywhere}
h2{font-size:21px;line-height:1.3;font-weight:620;letter-spacing:-.01em;margin:64px 0 6px}
h3{font-size:16px;font-weight:620;margin:28px 0 6px}
p{margin:0 0 14px;max-width:72ch}
a{color:var(--accent);text-decoration:none;border-bottom:1px solid transparent}
a:hover{border-color:currentColor}
.eyebrow{color:var(--soft);font-size:13px;letter-spacing:.04em;margin:0 0 10px}
.lead{color:var(--soft);max-width:72ch}
.note{color:var(--soft);font-size:14px}
.verdict{font-size:19px;line-height:1.55;border-left:3px solid var(--accent);padding:2px 0 2px 20px;
margin:30px 0 22px}
.verdict p:last-child{margin:0}
.verdict .note{font-size:15px;line-height:1.6}
nav{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:14px;margin:0 0 8px}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(132px,1fr));gap:1px;background:var(--grid);
border:1px solid var(--grid);border-radius:10px;overflow:hidden;margin:22px 0}
.facts>div{background:var(--paper);padding:13px 16px}
.facts dt,.facts .name{color:var(--soft);font-size:13px;line-height:1.35}
.facts .value{font-size:21px;font-weight:600;letter-spacing:-.01em;font-variant-numeric:tabular-nums;line-height:1.3}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr));gap:30px 36px;margin:20px 0}
.grid.four{grid-template-columns:repeat(auto-fill,minmax(min(100%,230px),1fr));gap:22px 24px}
.beside{display:grid;grid-template-columns:minmax(0,320px) minmax(0,1fr);gap:20px 36px;align-items:center;
margin:18px 0}
.wide{overflow-x:auto}.wide svg.picture{min-width:560px}
figure{margin:0;min-width:0}
figcaption{font-size:13.5px;line-height:1.5;color:var(--soft);margin-top:6px}
figcaption b{color:var(--ink);font-weight:600}
svg.picture{display:block;width:100%;height:auto;overflow:visible;font-family:FONTS}
article{border-top:1px solid var(--grid);padding:26px 0 12px;margin-top:22px}
article h3{margin:0 0 4px;font-size:15px;color:var(--soft);font-weight:600}
.formula{font-size:20px;overflow-x:auto;overflow-y:hidden;padding:10px 0 8px}
.formula math{font-size:1.12em;width:fit-content;margin:0;
font-family:"STIX Two Math","Latin Modern Math","Cambria Math","Noto Sans Math",math}
code,pre{font:13.5px/1.55 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
code{overflow-wrap:anywhere}
pre{background:var(--card);border:1px solid var(--grid);border-radius:8px;padding:12px 14px;overflow-x:auto;
margin:10px 0}
ul{padding-left:20px;margin:8px 0 14px;max-width:76ch}
li{margin:3px 0}
.scroll{overflow-x:auto;margin:14px 0}
table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums;min-width:100%}
th{color:var(--soft);font-weight:500;text-align:left;white-space:nowrap}
th,td{padding:7px 18px 7px 0;border-bottom:1px solid var(--grid);vertical-align:top}
td.number,th.number{text-align:right;white-space:nowrap}
td.better{color:var(--accent);font-weight:600}
td.worse{color:var(--worse);font-weight:600}
details{margin:12px 0}
summary{cursor:pointer;color:var(--accent);font-size:15px}
.key{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13.5px;color:var(--soft);margin:10px 0 0}
.key i{display:inline-block;width:22px;height:0;border-top:2px solid var(--accent);vertical-align:middle;
margin-right:7px}
.key i.reference{border-top:2px dashed var(--soft)}
.key i.random{border-top:2px dotted var(--faint)}
.key i.other{border-color:var(--faint)}
footer{margin-top:72px;color:var(--soft);font-size:13px;border-top:1px solid var(--grid);padding-top:16px}
#tip{position:fixed;pointer-events:none;background:var(--ink);color:var(--paper);font-size:12.5px;line-height:1.4;
padding:5px 9px;border-radius:6px;max-width:320px;overflow-wrap:anywhere;z-index:9}
#tip[hidden]{display:none}
@media(max-width:640px){.beside{grid-template-columns:minmax(0,1fr)}main{padding:24px 16px 64px}h1{font-size:25px}h2{
margin-top:48px}
.verdict{font-size:17px;padding-left:15px}.formula{font-size:17px}}
@media print{main{max-width:none;padding:0}.grid{grid-template-columns:repeat(2,1fr)}figure,article,tr{
break-inside:avoid}
h2,h3{break-after:avoid}nav{display:none}pre{white-space:pre-wrap}.formula,.scroll{overflow:visible}}
"""
