"""What is public: named, documented, and typed, for programs that are checked with mypy --strict."""

from __future__ import annotations

import os
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import lossforge
from lossforge.export.torch_module import Export, module_source
from lossforge.expression.primitives import PRIMITIVES

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
from pathlib import Path

import torch

import lossforge


def use() -> None:
    criterion = lossforge.loss("focal", gamma=2)
    value: torch.Tensor = criterion(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long))
    run: lossforge.Run = lossforge.search({"name": "t", "task": {"data": "digits"}}, workers=1, progress=True)
    entries: list[lossforge.Entry] = run.top(3)
    formula: str = entries[0].formula
    status: lossforge.Status = run.status()
    audit: lossforge.AuditReport | None = status.audit
    rates: dict[str, float] = status.learning_rates
    rows: list[lossforge.Comparison] = lossforge.validate(run.path, seeds=4, rivals=["ngl"], device="cpu")
    gain: float = rows[0].gain + run.validation()[0].low
    path: Path = run.export("losses.py", number=3)
    options: lossforge.Execution = {"workers": 2, "executor": "ray"}
    run = lossforge.resume(path, overrides=["budget.generations=3"], **options)
    print(value, formula, audit, rates, gain)
"""
WRONG = """
import lossforge

run: int = lossforge.Run("runs/digits")
lossforge.serch("digits")
lossforge.search("digits", worker=2)
number: str = run
"""


def test_dir_names_what_is_public_and_help_tells_of_it() -> None:
    assert dir(lossforge) == sorted(lossforge.__all__)
    page = pydoc.plain(pydoc.render_doc(lossforge))
    for name in lossforge.__all__[1:]:
        assert name in page
    for told in ("top(self, number: 'int' = 10)", "seeds=32", "best_gain"):
        assert told in page
    assert "Any" not in page.replace("Any other", "")


@pytest.mark.parametrize("name", [name for name in lossforge.__all__ if not name.startswith("_")])
def test_everything_public_is_documented(name: str) -> None:
    assert (getattr(lossforge, name).__doc__ or "").strip()


def test_programs_and_exported_files_pass_mypy_strict(finished_run: Path, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    lossforge.Run(finished_run).export(tmp_path / "found.py", number=20)
    formulas = [f"y_true * {name}({', '.join(['y_pred'] * one.arity)})" for name, one in PRIMITIVES.items()]
    losses = [Export(f"Loss{number}", formula) for number, formula in enumerate([*formulas, "-y_true * log(y_pred)"])]
    (tmp_path / "every.py").write_text(module_source(losses, "a test"), encoding="utf-8")
    (tmp_path / "wrong.py").write_text(WRONG, encoding="utf-8")
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary"),
            *("--cache-dir", str(ROOT / ".mypy_cache" / "programs")),
            *map(str, sorted(tmp_path.glob("*.py"))),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MYPYPATH": str(ROOT / "src")},
    )
    lines = answer.stdout.splitlines()
    assert {line.split(":")[0].rsplit("/", 1)[-1] for line in lines} == {"wrong.py"}, answer.stdout + answer.stderr
    errors = [line for line in lines if " error: " in line]
    assert [line.split(":")[1] for line in errors] == ["4", "5", "6", "7"]
