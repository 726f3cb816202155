"""What a check of a GPU advises follows from what it measured, and from nothing else."""

from __future__ import annotations

from typing import Any

from gpu.advice import comparisons, fastest, goals, notes, rule_advice

USUAL = {
    "network": "resnet8",
    "backend": "vmap",
    "precision": "float32",
    "graphs": True,
    "channels_last": False,
    "deterministic": True,
}


def rates(rule: str = "vmap", **numbers: float) -> dict[str, Any]:
    return {
        name.replace("_", "="): {"network_steps_a_second": rate, "rule": rule, "captured": True}
        for name, rate in numbers.items()
    }


def variant(rule: str = "vmap", K: dict[int, float] | None = None, **changes: Any) -> dict[str, Any]:  # noqa: N803
    return {"variant": {**USUAL, **changes}, **rates(rule, **{f"K_{lanes}": rate for lanes, rate in (K or {}).items()})}


def test_the_rule_is_to_be_changed_where_another_back_end_is_faster() -> None:
    found = {
        "a": variant(K={1: 100.0, 16: 1000.0, 64: 1000.0}),
        "b": variant(K={1: 104.0, 16: 500.0, 64: 1500.0}, backend="loop"),
        "c": variant(K={64: 9000.0}, backend="loop", channels_last=True),
    }
    assert rule_advice(found) == [
        "resnet8, float32, K = 1: loop 104, vmap 100 network steps a second; leave the rule at vmap",
        "resnet8, float32, K = 16: vmap 1000, loop 500 network steps a second; leave the rule at vmap",
        "resnet8, float32, K = 64: loop 1500, vmap 1000 network steps a second; CHANGE the rule from vmap to loop "
        "(1.50 x)",
    ]


def test_a_back_end_without_a_rival_gives_no_advice() -> None:
    assert rule_advice({"a": variant(K={1: 1.0}), "b": {"unfinished": 1}}) == []
    one = {"a": variant("grouped", K={1: 1.0}), "b": variant("grouped", K={1: 2.0}, backend="loop")}
    assert rule_advice(one)[0].endswith("the rule's grouped was not measured")


def test_the_fastest_way_is_one_that_a_recipe_can_ask_for() -> None:
    found = {
        "a": variant(K={1: 10.0, 8: 80.0}),
        "b": variant(K={8: 90.0}, precision="bfloat16"),
        "c": variant(K={8: 500.0}, channels_last=True),
        "d": variant(K={8: 900.0}, network="mlp"),
    }
    best = fastest(found, "resnet8")
    assert best is not None
    assert (best.lanes, best.rate, best.variant["precision"]) == (8, 90.0, "bfloat16")
    assert fastest({}, "resnet8") is None


def test_goals_are_reached_missed_or_not_measured() -> None:
    cost = {"cross_entropy_microseconds": 30.0, "stand-alone": 1.4, "interpreter, all in one call": 0.3}
    found = {
        "machine": {"matrix product, bfloat16": {"tflops": 800.0}},
        "loss_cost_on_device": {
            "512×10": cost,
            "K losses in one call": {"1 losses": {"kernels": 1, "cost": 1.0}, "64 losses": {"kernels": 2, "cost": 3.0}},
        },
        "throughput_on_device": {
            "operations": {"resnet8": 1e10},
            "plain loop": {"network_steps_a_second": 1000.0},
            "one": variant(K={1: 2000.0, 64: 24000.0}),
            "proxies an hour": {"proxies_an_hour": 19_000.0},
        },
    }
    assert goals(found) == [
        "trainings of resnet8, times those of a plain loop: 24.0 (goal: at least 5.0): reached",
        "trainings of resnet8, times those of the engine with K = 1: 12.0 (goal: at least 5.0): reached",
        "proxies an hour: 19,000 (goal: at least 20,000): MISSED",
        "share of the roof: 30.0% (goal: at least 25.0%): reached",
        "a loss at 512×10, stand-alone, times F.cross_entropy: 1.40 (goal: at most 1.00): MISSED",
        "a loss at 512×10, interpreter, all in one call, times F.cross_entropy: 0.30 (goal: at most 1.00): reached",
        "kernels of a call for 1 losses, 64 losses, at most: 2 (goal: at most 1): MISSED",
    ]
    assert all("not measured" in line for line in goals({}))


def test_gains_compare_what_differs_in_one_thing() -> None:
    found = {
        "a": variant(K={16: 100.0}),
        "b": variant(K={16: 50.0}, graphs=False),
        "c": variant(K={16: 150.0}, precision="bfloat16"),
        "d": variant(K={16: 300.0}, precision="bfloat16", channels_last=True),
    }
    assert comparisons(found) == [
        "launched one by one instead of captured: resnet8 vmap K=16 0.50 x",
        "in bfloat16: resnet8 vmap K=16 1.50 x",
        "with channels last: resnet8 vmap K=16 2.00 x",
    ]


def test_what_memory_did_not_hold_and_what_was_warned_of_is_told() -> None:
    found = {"a": {"K=1": {"warnings": ["slow"]}, "K=2": {"out_of_memory": "CUDA out of memory"}}}
    assert notes(found) == ["a, K=1: warned: slow", "a, K=2: out of memory"]
