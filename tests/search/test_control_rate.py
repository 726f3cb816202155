"""Which sweeps decide other runs' learning rate too."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.store.test_sweep_cache import ROWS

from lossforge.evaluation.records import Outcome
from lossforge.search.control_rate import worth_keeping


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome.of_training])
def test_a_sweep_that_was_cut_short_is_not_kept_for_others(outcome: Outcome) -> None:
    failed = replace(ROWS[0], accuracy=None, outcome=str(outcome))
    assert worth_keeping(ROWS)
    assert worth_keeping([*ROWS, failed]) == (outcome == Outcome.DIVERGED)
