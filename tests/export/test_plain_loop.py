"""What was validated is what is exported: a loop of torch's, by the docstring's recipe, repeats the accuracy."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest
from benchmarks.exported_file import plain, validated, write_data
from scipy import stats

import lossforge
from lossforge.store.run_folder import RunFolder

SPACE = {
    "name": "plain_loop",
    "expression": {"seeds": ["sin(max(y_pred, y_true))", "y_pred / y_true"]},
    "task": {"data": "digits", "train": 800, "validation": 500, "test": 497, "label_noise": 0.4, "width": 8},
    "recipe": {"epochs": 8, "batch_size": 32, "learning_rate": 0.002, "cohort": 16},
    "fitness": {"seeds": 1, "finalists": 2, "finalist_seeds": 2},
    "evolution": {"population": 4, "elites": 1},
    "budget": {"generations": 1},
    "validation": {
        "top": 2,
        "seeds": 12,
        "epochs": 20,
        "tuning_seeds": 1,
        "learning_rates": [0.002, 0.004],
        "rivals": ["cross_entropy"],
        "best_known": 0,
        "looks": False,
        "second_optimizer": "none",
    },
}


@pytest.mark.slow
def test_the_exported_file_alone_reaches_the_validated_accuracy(tmp_path: Path) -> None:
    run = lossforge.search(SPACE, run=tmp_path / "run", workers=1)
    exported = run.export(tmp_path / "losses.py", 2)
    folder = RunFolder.open(run.path)
    write_data(folder, tmp_path / "data.npz")
    rows = run.validation()
    assert len(rows) == 2
    for row in rows:
        known = validated(folder, row)
        (found,) = plain(exported, f"Discovered{row.rank}", tmp_path / "data.npz", "--seeds", "12").values()
        assert len(known) == len(found) == 12
        # Both losses learn: with a wrong scale or rate they would not.
        assert fmean(known) > 85
        # The means of twelve seeds differ by half a point now and then; a loss with another scale by tens.
        assert abs(fmean(found) - fmean(known)) < 1.5
        assert stats.ttest_ind(found, known, equal_var=False).pvalue > 0.001
