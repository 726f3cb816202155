"""The check of a GPU, as it is started: every part, in small, on a CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest

from gpu.child import run_part
from gpu.parts import PARTS, Settings
from gpu.record import read
from gpu.spaces import counts, images_file

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_check.py"


def check(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False, cwd="/")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Images with a pattern for every class."""
    draw = numpy.random.default_rng(0)
    patterns = draw.integers(0, 128, (10, 32, 32, 3), dtype=numpy.uint8)
    arrays: dict[str, Any] = {}
    for part, number in (("train", 300), ("test", 100)):
        y = numpy.arange(number) % 10
        arrays[f"x_{part}"] = patterns[y] + draw.integers(0, 128, (number, 32, 32, 3), dtype=numpy.uint8)
        arrays[f"y_{part}"] = y
    numpy.savez(tmp_path / "images.npz", **arrays)
    return tmp_path / "images.npz"


@pytest.mark.slow
def test_a_dry_run_goes_through_every_part(tmp_path: Path, images: Path) -> None:
    done = check("--dry-run", "--out", str(tmp_path / "out"), "--npz", str(images))
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert list(summary["parts"]) == [part.name for part in PARTS]
    for name, part in summary["parts"].items():
        assert part["status"] == "finished", (name, part)
        assert {case["status"] for case in part["cases"].values()} == {"done"}, name
        assert part == read(tmp_path / "out" / f"{name}.json")
    values = {case: found["values"] for part in summary["parts"].values() for case, found in part["cases"].items()}
    assert values["device"]["torch"]
    assert values["matrix product, bfloat16"]["tflops"] > 0
    rates = [found for name, found in values.items() if "captured" in name and "K=2" in found]
    assert {found["variant"]["backend"] for found in rates} == {"vmap", "loop", "grouped"}
    assert all(found[f"K={lanes}"]["network_steps_a_second"] > 0 for found in rates for lanes in (1, 2))
    assert set(values["epochs of a proxy"]) >= {"1 epochs", "best"}
    assert values["proxies an hour"]["second"]["trained"] == 2
    assert values["profile, captured"]["table"]
    assert values["killed and resumed"]["same_bytes"] is True
    assert values["killed and resumed"]["kills"] == 1
    assert values["halves"]["networks_at_once"] == [8, 4]
    # All that needs a GPU was found, and was left out for want of one.
    tests = summary["parts"]["marked_tests"]["cases"]
    assert len(tests) >= 12
    assert summary["advice"]["rule"]
    text = (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8")
    assert text == done.stdout[-len(text) - 1 : -1]
    assert "DRY RUN" in text
    assert "small_cnn, float32, K = 2: " in text


def test_results_of_an_earlier_check_are_kept(tmp_path: Path) -> None:
    (tmp_path / "machine.json").write_text("{}", encoding="utf-8")
    done = check("--dry-run", "--out", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path} holds results of an earlier check (machine.json)")
    assert (tmp_path / "machine.json").read_text(encoding="utf-8") == "{}"


def test_images_that_cannot_be_used_are_refused_before_anything_runs(tmp_path: Path) -> None:
    numpy.savez(tmp_path / "half.npz", x_train=numpy.zeros(3), y_train=numpy.zeros(3))
    (tmp_path / "none.npz").write_text("nothing", encoding="utf-8")
    for name, told in (("half", "has no 'x_test'"), ("none", "cannot be read"), ("missing", "cannot be read")):
        done = check("--dry-run", "--out", str(tmp_path / "out"), "--npz", str(tmp_path / f"{name}.npz"))
        assert done.returncode == 2
        assert told in done.stderr
    assert not (tmp_path / "out").exists()


def test_without_a_gpu_only_a_dry_run_is_of_use(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = check("--out", str(tmp_path / "out"), "--parts", "machine", "out_of_memory")
    assert done.returncode == 1
    told = "torch sees no GPU; with --dry-run every part runs on a CPU"
    assert f"out_of_memory.json): skipped: RuntimeError: {told}" in done.stdout


def test_without_images_there_are_random_ones(tmp_path: Path) -> None:
    settings = Settings(str(tmp_path), str(tmp_path), "cpu", dry=True)
    assert settings.images == "random images of CIFAR-10's shape"
    with numpy.load(images_file(settings)) as arrays:
        assert arrays["x_train"].shape[1:] == (32, 32, 3)
        assert arrays["x_train"].dtype == numpy.uint8
        assert set(arrays["y_test"].tolist()) == set(range(10))
        assert counts(settings) == (len(arrays["x_train"]), len(arrays["x_test"]))


def test_a_case_that_fails_is_told_and_the_next_one_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from gpu import child
    from gpu.parts import Case, Tell

    def fails(tell: Tell) -> None:
        tell("so far", 1.5)
        raise ValueError("not so")

    module = SimpleNamespace(cases=lambda settings: [Case("bad", fails), Case("good", lambda tell: tell("x", 1.0))])
    monkeypatch.setattr(child, "import_module", lambda name: module)
    settings = Settings(str(tmp_path), str(tmp_path), "cpu", dry=True)
    assert run_part("any", settings, tmp_path / "any.json", 60) == 0
    cases = read(tmp_path / "any.json")["cases"]
    assert cases["bad"]["values"] == {"so far": 1.5}
    assert cases["bad"]["reason"].startswith("ValueError: not so (test_gpu_check.py:")
    assert (cases["good"]["status"], cases["good"]["values"]) == ("done", {"x": 1.0})
    assert run_part("any", settings, tmp_path / "late.json", -1) == 0
    assert {case["status"] for case in read(tmp_path / "late.json")["cases"].values()} == {"left out"}
