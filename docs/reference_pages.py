"""Reference pages in Markdown, made from the code: commands, Python, keys of spaces and plans, losses, operations."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lossforge.inspection.listings import listing

_NO_DEFAULT = "required"


def reference_page(name: str) -> str:
    """One of ``PAGES`` as Markdown."""
    return PAGES[name]()


def _commands() -> str:
    from typer.main import get_command

    from lossforge.cli import app

    group: Any = get_command(app)
    lines = [
        "# Commands",
        "",
        "What prints a table takes `--json`. Exit codes: 0 done; 1 the run or the file is at fault,",
    ]
    lines += ["one clear sentence on standard error; 2 usage; 130 after Ctrl-C.", ""]
    for title, command in sorted(group.commands.items()):
        given = " ".join(one.metavar or one.name.upper() for one in command.params if one.param_type_name == "argument")
        lines += [
            f"## lossforge {title}",
            "",
            _cell(command.help or ""),
            "",
            "```",
            f"lossforge {title} {given}".rstrip(),
        ]
        lines += ["```", "", "| option | meaning |", "|---|---|"]
        for one in command.params:
            if one.param_type_name == "option" and one.name != "help":
                lines.append(f"| `{', '.join(one.opts)}` | {_cell(one.help or '')} |")
        lines.append("")
    return "\n".join(lines)


def _python() -> str:
    import lossforge

    lines = ["# Python", "", *(inspect.getdoc(lossforge) or "").split("\n\n", 1)[0].splitlines(), ""]
    for name in lossforge.__all__:
        found = getattr(lossforge, name)
        if callable(found):
            lines += [
                f"## lossforge.{name}",
                "",
                "```python",
                f"{name}{_signature(found)}",
                "```",
                "",
                *_doc(found),
                "",
            ]
            lines += _members(found)
    return "\n".join(lines)


def _members(found: Any) -> Iterator[str]:
    """Public methods and properties of a class that are documented."""
    if not inspect.isclass(found) or issubclass(found, Exception):
        return
    for name, member in vars(found).items():
        if name.startswith("_") or not inspect.getdoc(member) or isinstance(member, type):
            continue
        if isinstance(member, property) or inspect.isfunction(member):
            shown = name if isinstance(member, property) else f"{name}{_signature(member)}"
            yield from (f"### {found.__name__}.{name}", "", "```python", shown, "```", "", *_doc(member), "")


def _signature(found: Any) -> str:
    try:
        return str(inspect.signature(found))
    except (TypeError, ValueError):
        return "(...)"


def _doc(found: Any) -> list[str]:
    """A docstring as Markdown: literals in single backticks, indented lines as code."""
    return (inspect.getdoc(found) or "").replace("``", "`").splitlines()


def _schema_page(kind: str) -> str:
    from lossforge.spaces.json_schema import json_schema

    schema = json_schema(kind)
    sections = schema["definitions"]
    lines = [f"# Keys of a {'search space' if kind == 'space' else 'plan'}", ""]
    lines += [f"`lossforge schema{'' if kind == 'space' else ' --plan'}` writes them as a JSON schema for editors.", ""]
    lines += _keys("at the top", schema)
    own = [name for name in sections if kind == "space" or name not in json_schema("space")["definitions"]]
    for name in own:
        if "properties" in sections[name]:
            lines += _keys(name.removesuffix("Section").lower(), sections[name])
    return "\n".join(lines)


def _keys(title: str, section: Mapping[str, Any]) -> list[str]:
    lines = [f"## {title}", "", _cell(section.get("description", "")).replace("``", "`"), ""]
    told = meanings().get(title, {})
    lines += ["| key | kind | default | meaning |", "|---|---|---|---|"]
    for name, key in section["properties"].items():
        default = _NO_DEFAULT if name in section.get("required", ()) else _shown(key.get("default", ""))
        lines.append(f"| `{name}` | {_cell(_kind(key))} | {_cell(default)} | {_cell(told.get(name, ''))} |")
    return [*lines, ""]


def meanings() -> dict[str, dict[str, str]]:
    """What the default space says of each key, by section: it names all of them."""
    from lossforge.spaces.shipped import shipped_spaces

    found: dict[str, dict[str, str]] = {}
    section = "at the top"
    for line in shipped_spaces()["digits"].read_text(encoding="utf-8").splitlines():
        if header := re.match(r"\[([a-z.]+)\]", line):
            section = header[1].rpartition(".")[2]
        elif key := re.match(r"(?:# )?([a-z0-9_]+) = .*?\s#\s+(?!\.\.\. \[)(.+)", line):
            found.setdefault(section, {})[key[1]] = key[2]
    return found


def _kind(key: Mapping[str, Any]) -> str:
    """What a key holds, in words."""
    if "enum" in key:
        return ", ".join(map(str, key["enum"][:12])) + (", ..." if len(key["enum"]) > 12 else "")
    if "const" in key:
        return str(key["const"])
    if "$ref" in key:
        return str(key["$ref"]).rpartition("/")[2].removesuffix("Section").lower()
    if "anyOf" in key:
        return " or ".join(dict.fromkeys(_kind(one) for one in key["anyOf"]))
    if key.get("type") == "array":
        return f"list of {_kind(key['items'])}" if isinstance(key.get("items"), Mapping) else "list"
    ends = [f"{sign} {key[name]:g}" for name, sign in _ENDS.items() if name in key]
    return " ".join([str(key.get("type", "any")), *ends]).replace("null", "nothing")


_ENDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def _shown(value: object) -> str:
    text = repr(value) if value != "" else ""
    return text if len(text) < 60 else f"{text[:57]}..."


def _losses() -> str:
    lines = [
        "# Losses of the library",
        "",
        "`lossforge.loss(NAME)`; `lossforge list losses NAME` tells all that is known.",
    ]
    for group in dict.fromkeys(row["group"] for row in listing("losses")):
        lines += ["", f"## {group}", "", "| name | what it is | source |", "|---|---|---|"]
        rows = [row for row in listing("losses") if row["group"] == group]
        lines += [f"| `{row['name']}` | {_cell(row['summary'])} | {_cell(row['source'])} |" for row in rows]
    return "\n".join(lines) + "\n"


def _operations() -> str:
    lines = ["# Operations and leaves of formulas", "", "| name | arguments | meaning |", "|---|---|---|"]
    lines += [f"| `{row['name']}` | {row['arity']} | {_cell(row['meaning'])} |" for row in listing("primitives")]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """A text on one line of a table."""
    return " ".join(text.split()).replace("|", "\\|")


PAGES: dict[str, Callable[[], str]] = {
    "commands": _commands,
    "python": _python,
    "space": lambda: _schema_page("space"),
    "plan": lambda: _schema_page("plan"),
    "losses": _losses,
    "operations": _operations,
}
"""Every page by name."""
