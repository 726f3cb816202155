"""The audit: who is drawn, and what the report says."""

from __future__ import annotations

import pytest

from lossforge.search.audit import audit_report, drawn
from lossforge.store.ledger import CandidateRow, TrainingRow


def rejected(
    formula: str, by: str = "descent", reason: str = "descent reaches 3 %", key: str | None = None
) -> CandidateRow:
    return CandidateRow(0, 0, "fresh", formula, 3, key, "rejected", by, reason)


def training(key: str, accuracy: float | None, replicate: int = 0) -> TrainingRow:
    return TrainingRow(
        "f", 1, replicate, "audit", 0, key, "x", "digits", "validation", 0.1, 1, "trained", accuracy, "", 1.0
    )


def test_a_share_of_the_judged_rejections_is_drawn_whatever_their_order() -> None:
    rows = [rejected("y_pred * y_true", key=f"key {number}") for number in range(4000)]
    chosen = drawn(rows, 0.02, seed=1)
    assert 50 < len(chosen) < 115
    assert set(drawn(rows[::-1], 0.02, seed=1)) == set(chosen)
    assert set(drawn(rows, 0.02, seed=2)) != set(chosen)
    assert drawn(rows, 0.0, seed=1) == {}
    assert len(drawn(rows, 1.0, seed=1)) == 4000


def test_what_is_certain_is_not_audited() -> None:
    rows = [
        rejected("y_pred", "static", "y_true does not occur"),
        rejected("sign(y_pred) * y_true", "probe", "the gradient is zero"),
        rejected("sin(y_pred / y_true)", "guards", "an accident of its guards: ..."),
        rejected("y_true / y_pred", "probe", "the gradient reaches 1e13 times its usual size (limit 1e12)"),
    ]
    assert [row.formula for row in drawn(rows, 1.0, seed=0).values()] == ["y_true / y_pred"]


def test_a_formula_is_drawn_once() -> None:
    rows = [rejected("y_pred * y_true"), rejected("y_true * y_pred"), rejected("y_true / y_pred")]
    assert len(drawn(rows, 1.0, seed=0)) == 2


def test_the_report_counts_those_that_learned() -> None:
    control = [training("ce", 0.8, replicate) for replicate in range(2)]
    audited = [
        *(training("learned", accuracy, replicate) for replicate, accuracy in enumerate((0.71, 0.75))),
        *(training("better", 0.9, replicate) for replicate in range(2)),
        *(training("poor", 0.5, replicate) for replicate in range(2)),
        *(training("failed", None, replicate) for replicate in range(2)),
    ]
    report = audit_report([rejected("y_pred * y_true", key=str(number)) for number in range(9)], audited, control)
    assert (report.eligible, report.trained, report.false, report.better, report.rate) == (9, 4, 2, 1, 0.5)
    # Wilson's interval of 2 in 4.
    assert (report.low, report.high) == (pytest.approx(0.15, abs=0.01), pytest.approx(0.85, abs=0.01))
    assert str(report).startswith(
        "4 of 9 rejected losses were trained all the same, and 2 learned: false rejections 50%"
    )


def test_where_nobody_was_drawn_the_report_says_so() -> None:
    report = audit_report([rejected("y_pred * y_true"), rejected("y_pred", "static")], [], [training("ce", 0.8)])
    assert (report.eligible, report.trained, report.rate, report.low, report.high) == (1, 0, None, 0.0, 1.0)
    assert str(report) == "none of 1 rejected losses was drawn to be trained all the same"
