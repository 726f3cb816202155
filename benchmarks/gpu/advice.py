"""What to do next, from what was measured: what the rule of back ends should choose, and which goals are reached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Found = dict[str, dict[str, Any]]
"""The values of each case of a part."""

THROUGHPUT = "throughput_on_device"
ALIKE = 1.05
"""Rates within this factor of each other are alike."""
SPEEDUP, PROXIES, SHARE, COST = 5.0, 20_000, 0.25, 1.0
"""Goals: trainings beside one at a time, proxies an hour, share of the roof, a loss beside cross-entropy's time."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Network steps a second of a variant (see `gpu.steps.Variant`) with so many networks at once."""

    variant: dict[str, Any]
    lanes: int
    rate: float
    rule: str = ""
    captured: bool = False

    @property
    def usual(self) -> bool:
        """Whether a recipe can ask for it, and does unless told otherwise."""
        return bool(self.variant["graphs"] and self.variant["deterministic"] and not self.variant["channels_last"])

    def with_(self, **changes: Any) -> tuple[dict[str, Any], int]:
        """What another has that differs in these only."""
        return {**self.variant, **changes}, self.lanes


def rates_of(found: Found) -> list[Rate]:
    """All rates that were measured."""
    return [
        Rate(
            values["variant"],
            int(name[2:]),
            one["network_steps_a_second"],
            one.get("rule", ""),
            one.get("captured", False),
        )
        for values in found.values()
        for name, one in values.items()
        if name.startswith("K=") and "network_steps_a_second" in one
    ]


def fastest(found: Found, network: str) -> Rate | None:
    """The fastest way to train a network that a recipe can ask for."""
    usual = [one for one in rates_of(found) if one.usual and one.variant["network"] == network]
    return max(usual, key=lambda one: one.rate, default=None)


def rule_advice(found: Found) -> list[str]:
    """For each network, precision and K that several back ends were measured for: which the rule should choose."""
    groups: dict[tuple[str, str, int], list[Rate]] = {}
    for one in rates_of(found):
        if one.usual:
            groups.setdefault((one.variant["network"], one.variant["precision"], one.lanes), []).append(one)
    lines = []
    for (network, precision, lanes), rivals in groups.items():
        if len(rivals) > 1:
            told = ", ".join(f"{one.variant['backend']} {one.rate:.0f}" for one in sorted(rivals, key=_falling))
            lines.append(f"{network}, {precision}, K = {lanes}: {told} network steps a second; {_verdict(rivals)}")
    return lines


def _falling(one: Rate) -> float:
    return -one.rate


def _verdict(rivals: list[Rate]) -> str:
    best = max(rivals, key=lambda one: one.rate)
    taken = next((one for one in rivals if one.variant["backend"] == one.rule), None)
    if taken is None:
        return f"the rule's {best.rule or 'own'} was not measured"
    if best.rate <= ALIKE * taken.rate:
        return f"leave the rule at {best.rule}"
    return f"CHANGE the rule from {best.rule} to {best.variant['backend']} ({best.rate / taken.rate:.2f} x)"


def goals(found: dict[str, Found]) -> list[str]:
    """Each goal with what was measured of it."""
    rates = found.get(THROUGHPUT, {})
    best = fastest(rates, "resnet8")
    lines = []
    plain = rates.get("plain loop", {}).get("network_steps_a_second")
    alone = max(
        (one.rate for one in rates_of(rates) if one.variant["network"] == "resnet8" and one.lanes == 1), default=0
    )
    for name, rival in (("a plain loop", plain), ("the engine with K = 1", alone)):
        ratio = best.rate / rival if best and rival else None
        lines.append(_goal(f"trainings of resnet8, times those of {name}", ratio, SPEEDUP, "{:.1f}"))
    hour = rates.get("proxies an hour", {}).get("proxies_an_hour")
    lines.append(_goal("proxies an hour", hour, PROXIES, "{:,.0f}"))
    lines.append(_goal("share of the roof", _share(found, best), SHARE, "{:.1%}"))
    for shape, values in found.get("loss_cost_on_device", {}).items():
        for name in ("stand-alone", "interpreter, all in one call"):
            if "cross_entropy_microseconds" in values:
                told = f"a loss at {shape}, {name}, times F.cross_entropy"
                lines.append(_goal(told, values.get(name), COST, "{:.2f}", at_most=True))
    calls = found.get("loss_cost_on_device", {}).get("K losses in one call", {})
    counts = {name: one["kernels"] for name, one in calls.items() if one.get("kernels") is not None}
    most = max(counts.values(), default=None)
    told = f"kernels of a call for {', '.join(counts) or 'K losses'}, at most"
    return [*lines, _goal(told, most, 1, "{:.0f}", at_most=True)]


def _goal(name: str, value: float | None, goal: float, form: str, *, at_most: bool = False) -> str:
    wanted = f"{'at most' if at_most else 'at least'} {form.format(goal)}"
    if value is None:
        return f"{name}: not measured (goal: {wanted})"
    reached = value <= goal if at_most else value >= goal
    return f"{name}: {form.format(value)} (goal: {wanted}): {'reached' if reached else 'MISSED'}"


def _share(found: dict[str, Found], best: Rate | None) -> float | None:
    """The share of the bfloat16 roof that the fastest way uses."""
    roof = found.get("machine", {}).get("matrix product, bfloat16", {}).get("tflops")
    operations = found.get(THROUGHPUT, {}).get("operations", {}).get("resnet8")
    return best.rate * operations / (1e12 * roof) if best and roof and operations else None


def comparisons(found: Found) -> list[str]:
    """What each choice gains, other things being equal."""
    rates = rates_of(found)
    lines = []
    for told, changes in (
        ("launched one by one instead of captured", {"graphs": False}),
        ("in bfloat16", {"precision": "bfloat16"}),
        ("with channels last", {"channels_last": True}),
        ("not deterministic", {"deterministic": False}),
    ):
        ratios = list(_ratios(rates, changes))
        if ratios:
            gains = ", ".join(
                f"{one.variant['network']} {one.variant['backend']} K={one.lanes} {gain:.2f} x" for one, gain in ratios
            )
            lines.append(f"{told}: {gains}")
    return lines


def _ratios(rates: Iterable[Rate], changes: dict[str, Any]) -> Iterator[tuple[Rate, float]]:
    """Each rate for which another was measured that differs in the changes alone, and the gain."""
    known = {(tuple(sorted(one.variant.items())), one.lanes): one for one in rates}
    for one in known.values():
        variant, lanes = one.with_(**changes)
        other = known.get((tuple(sorted(variant.items())), lanes))
        if other is not None and other is not one:
            yield one, other.rate / one.rate


def notes(found: Found) -> list[str]:
    """What else is to be known of the rates: what was not captured, what memory did not hold, what was warned of."""
    lines = []
    for case, values in found.items():
        for name, one in values.items():
            if not name.startswith("K="):
                continue
            if "out_of_memory" in one:
                lines.append(f"{case}, {name}: out of memory")
            for warning in one.get("warnings", []):
                lines.append(f"{case}, {name}: warned: {warning}")
    return lines
