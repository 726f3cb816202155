"""What the parts of the check of a GPU are made of."""

from __future__ import annotations

import sys
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from gpu.marked_tests import marked_files, quickest_first
from gpu.profile_of_steps import kind_of
from gpu.steps import ChannelsLast, StepClock
from gpu.wheels import NAMES, unpack
from lossforge.models.registry import build_model
from lossforge.training.backends import make_backend

ROOT = Path(__file__).resolve().parents[2]


def test_a_clock_times_steps_and_then_ends_the_training() -> None:
    events: list[str] = []
    clock = StepClock("cpu", 1e-9, 3, warm_up=2, begin=lambda: events.append("begin"), end=lambda: events.append("end"))
    answers = [clock() for _ in range(7)]
    assert answers == [0.0] * 6 + [float("inf")]
    assert events == ["begin", "end"]
    assert clock.timed == 2
    assert clock.per_step > 0


@pytest.mark.parametrize("backend", ["vmap", "loop", "grouped"])
def test_channels_last_computes_the_same(backend: str) -> None:
    model = build_model("small_cnn", (3, 8, 8), 10, 4, 0)
    params, buffers = torch.func.stack_module_state([model, build_model("small_cnn", (3, 8, 8), 10, 4, 1)])
    inner = make_backend(backend, model.to("meta"), 2, "cuda", (3, 8, 8))
    x = torch.randn(2, 5, 3, 8, 8)
    with torch.no_grad():
        expected = inner.logits(params, buffers, x, training=False)
        found = ChannelsLast(inner).logits(params, buffers, x, training=False)
    torch.testing.assert_close(found, expected)


def test_the_tests_with_the_marker_are_found_and_the_quick_ones_come_first() -> None:
    names = [path.name for path in marked_files(ROOT / "tests")]
    assert "test_triton_kernel.py" in names
    assert "test_captured.py" in names
    assert quickest_first(["b[resnet8]", "b[mlp]", "a_one_launch", "other"]) == [
        "a_one_launch",
        "b[mlp]",
        "b[resnet8]",
        "other",
    ]


def test_kernels_are_counted_by_what_they_are_for() -> None:
    assert kind_of("sm90_xmma_fprop_implicit_gemm_bf16") == "convolutions"
    assert kind_of("void at::native::vectorized_elementwise_kernel<4, ...>") == "pointwise"
    assert kind_of("Memcpy DtoD (Device -> Device)") == "copies and casts"
    assert kind_of("something") == "others"


def test_only_absent_packages_are_unpacked_with_those_that_belong_to_them(tmp_path: Path) -> None:
    here = f"cp{sys.version_info.major}{sys.version_info.minor}"
    for name in ("numpy-1.0-py3-none-any", "absent_one-1.0-py3-none-any", f"absent_two-1.0-{here}-{here}-any"):
        _wheel(tmp_path, name)
    _wheel(tmp_path, "absent_other-1.0-cp27-cp27m-any")
    assert unpack(tmp_path, tmp_path / "site") == tmp_path / "site"
    assert {path.name for path in (tmp_path / "site").iterdir()} == {"absent_one", "absent_two"}
    (tmp_path / "present").mkdir()
    _wheel(tmp_path / "present", "numpy-1.0-py3-none-any")
    assert unpack(tmp_path / "present", tmp_path / "other") is None
    assert unpack(tmp_path / "no such folder", tmp_path / "other") is None


def _wheel(folder: Path, name: str) -> None:
    with zipfile.ZipFile(folder / f"{name}.whl", "w") as wheel:
        wheel.writestr(f"{name.split('-')[0]}/__init__.py", "")


def test_the_wheels_hold_what_the_small_packages_need() -> None:
    """No dependencies are fetched beside the list: whatever one of it needs stands in it, or comes with torch's kin."""
    listed = {Requirement(line).name for line in NAMES.read_text().splitlines() if line and not line.startswith("#")}
    there = {"numpy", "colorama"}
    for name in (
        "deap",
        "moocore",
        "pydantic",
        "pebble",
        "tomli-w",
        "typer",
        "rich",
        "filelock",
        "platformdirs",
        "pytest",
    ):
        assert name in listed
        for told in requires(name) or []:
            needed = Requirement(told)
            if "extra" not in str(needed.marker) and (needed.marker is None or needed.marker.evaluate()):
                assert needed.name.lower() in listed | there, (name, told)
