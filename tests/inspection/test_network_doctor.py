"""How a network will be run, told by name; and what cannot be, refused by name."""

from __future__ import annotations

import pytest

from lossforge.evaluation import precision
from lossforge.inspection.network_doctor import examine_network
from lossforge.spaces.schema import RecipeSection


def told(name: str, *overrides: str) -> dict[str, tuple[str, str]]:
    return {row["check"]: (row["state"], row["told"]) for row in examine_network(name, overrides=list(overrides))}


def test_it_tells_back_end_reason_and_share_of_the_peak() -> None:
    found = told("resnet8", "task.width=4", "recipe.batch_size=4", "recipe.backend=loop", "execution.device=cpu")
    assert {state for state, _ in found.values()} <= {"good", "note"}
    assert "on 3×32×32, 10 classes" in found["network"][1]
    assert found["back end"][1].startswith("loop, ")
    assert "channels_last; 7 of its BatchNorms" in found["memory format"][1]
    assert "% of the peak of a core" in found["training"][1]


def test_what_cannot_be_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "resnet9" in told("resnet9")["network"][1]
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    state, reason = told("resnet8", "recipe.precision=bf16", "execution.device=cpu")["network"]
    assert state == "bad"
    assert "neither AVX-512 BF16 nor AMX" in reason


def test_a_re_validation_is_in_float32() -> None:
    recipe = RecipeSection.model_validate({"precision": "bf16"})
    assert recipe.precision == "bfloat16"
    assert recipe.validated().precision == "float32"
