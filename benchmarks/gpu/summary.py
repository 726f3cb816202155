"""The summary of all result files: text for people, JSON for programs. It never fails for what a part did not write."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gpu.advice import THROUGHPUT, Found, comparisons, goals, notes, rates_of, rule_advice
from gpu.parts import Part, Settings, result_file
from gpu.record import DONE, FINISHED, RUNNING, read, write_json, write_text


def write_summary(out: Path, parts: Sequence[Part], settings: Settings) -> None:
    """Write ``summary.txt`` and ``summary.json`` anew, from the result files as they are."""
    results = {part.name: read(result_file(out, part.name)) for part in parts}
    found = {name: _values(result) for name, result in results.items()}
    advice = {
        "goals": _safely(lambda: goals(found)),
        "rule": _safely(lambda: rule_advice(found.get(THROUGHPUT, {}))),
        "gains": _safely(lambda: comparisons(found.get(THROUGHPUT, {}))),
        "notes": _safely(lambda: notes(found.get(THROUGHPUT, {}))),
    }
    written = time.strftime("%Y-%m-%d %H:%M:%S")
    write_json(
        out / "summary.json",
        {"written": written, "dry_run": settings.dry, "images": settings.images, "advice": advice, "parts": results},
    )
    write_text(
        out / "summary.txt",
        "\n".join([*_head(settings, written), *_told(parts, results), *_next(advice, dry=settings.dry)]) + "\n",
    )


def succeeded(out: Path, parts: Sequence[Part]) -> bool:
    """Whether every part came to its end, or was left out, and no case of any failed."""
    for part in parts:
        result = read(result_file(out, part.name))
        if result.get("status") not in (FINISHED, "skipped"):
            return False
        if any(case.get("status") not in (DONE, "left out") for case in result.get("cases", {}).values()):
            return False
    return True


def _values(result: dict[str, Any]) -> Found:
    return {name: case.get("values", {}) for name, case in result.get("cases", {}).items()}


def _safely(lines: Callable[[], list[str]]) -> list[str]:
    """The lines, or why there are none: a file may hold anything."""
    try:
        return lines()
    except Exception as error:
        return [f"could not be told: {type(error).__name__}: {error}"]


def _head(settings: Settings, written: str) -> list[str]:
    dry = ["DRY RUN on a CPU, in small: no figure here says anything of a GPU."] if settings.dry else []
    return [f"lossforge on a GPU, {written}; {settings.images}", *dry]


def _told(parts: Sequence[Part], results: dict[str, dict[str, Any]]) -> list[str]:
    lines = []
    for number, part in enumerate(parts, 1):
        result = results[part.name]
        status = result.get("status", "not begun")
        took = f" after {result['seconds']:g} s" if "seconds" in result and status != "skipped" else ""
        reason = f": {result['reason']}" if result.get("reason") else ""
        lines += ["", f"{number}. {part.title} ({part.name}.json): {status}{took}{reason}"]
        lines += _safely(lambda result=result: _cases(result))  # type: ignore[misc]
        if status not in (FINISHED, RUNNING, "skipped", "not begun") and result.get("output"):
            lines += [f"     | {line}" for line in str(result["output"]).splitlines()[-6:]]
    return lines


def _cases(result: dict[str, Any]) -> list[str]:
    lines = []
    for name, case in result.get("cases", {}).items():
        values = _rates(case["values"]) if any(map(_is_rate, case["values"])) else _short(case["values"])
        status = "" if case["status"] == DONE else f" [{case['status']}: {case['reason']}]"
        lines.append(f"   {name}: {values}{status}".rstrip())
    return lines


def _rates(values: dict[str, Any]) -> str:
    """Network steps a second by K."""
    found = {one.lanes: one for one in rates_of({"": values})}
    told = [f"K={lanes} {one.rate:.0f}" for lanes, one in found.items()]
    told += [
        f"{name} out of memory" for name, one in values.items() if name.startswith("K=") and "out_of_memory" in one
    ]
    captured = "all captured" if all(one.captured for one in found.values()) else "captured: none"
    some = [str(lanes) for lanes, one in found.items() if one.captured]
    if some and captured != "all captured":
        captured = f"captured: K = {', '.join(some)}"
    return f"{', '.join(told) or 'nothing'}; {captured}"


def _is_rate(name: str) -> bool:
    return name.startswith("K=")


def _short(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_number(value)}" for name, value in values.items() if not isinstance(value, list))


def _number(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "(" + ", ".join(f"{name} {_number(one)}" for name, one in value.items() if not isinstance(one, list)) + ")"
        )
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _next(advice: dict[str, list[str]], *, dry: bool) -> list[str]:
    titles = {
        "goals": "The goals",
        "rule": "What to do next: the rule in src/lossforge/training/backends.py (choose_backend)"
        + (", were this no dry run" if dry else ""),
        "gains": "What each choice gains",
        "notes": "To be looked at",
    }
    lines = []
    for name, title in titles.items():
        lines += ["", title, *(f"   {line}" for line in advice[name] or ["nothing was measured"])]
    return lines
