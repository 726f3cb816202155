"""What is printed, at the widths of terminals and into a pipe: whole tokens, and no markup from data."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from lossforge.console import print_facts, print_hall_of_fame, print_losses, print_rows, print_validation
from lossforge.inspection.listings import LISTS, listing
from lossforge.search.hall_of_fame import Entry
from lossforge.validation.comparison import Comparison

FORMULA = "-min(max(abs(y_pred), -1.6342), sqrt(sqrt(y_true / -1.3931) / -1.5243)) + aq(y_pred, sin(y_true - 0.0262))"
TOKEN = re.compile(r"\d[\d.,]*\d|\w+")
WIDTHS = ["60", "80", "120", ""]
ENTRY = Entry(
    rank=1,
    formula=FORMULA,
    fitness=0.0325,
    gain=3.25,
    low=2.75,
    high=3.75,
    search_gain=4.44,
    size=19,
    seeds=12,
    accuracy=0.8642,
    control=0.8317,
    generation=3,
    origin="crossover",
    signature="abc",
)


def comparison(rank: int, rival: str, task: str = "digits") -> Comparison:
    return Comparison(
        rank=rank,
        formula=FORMULA,
        size=19,
        rival=rival,
        search_gain=3.25,
        gain=2.43,
        low=1.75,
        high=3.12,
        p=0.001,
        p_adjusted=0.003,
        seeds=12,
        task=task,
        accuracy=0.86,
        rival_accuracy=0.83,
        learning_rate=0.0006,
        rival_learning_rate=0.0012,
        failed=1,
    )


@pytest.fixture(params=WIDTHS)
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Columns of the terminal; a pipe has none."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if request.param:
        monkeypatch.setenv("COLUMNS", request.param)
    return int(request.param or 100_000)


def fits(printed: str, width: int) -> bool:
    """Whether lines end where the window does, but for what cannot be broken."""
    return all(len(line) <= width or " " not in line.strip() for line in printed.splitlines())


@pytest.mark.parametrize("what", LISTS)
def test_lists_break_no_token(what: str, width: int, capsys: pytest.CaptureFixture[str], in_root: object) -> None:
    rows = listing(what)
    print_rows(rows, json=False)
    printed = capsys.readouterr().out
    assert fits(printed, width)
    tokens = set(TOKEN.findall(printed))
    for row in rows:
        for value in row.values():
            if isinstance(value, str | int):
                assert set(TOKEN.findall(str(value))) - {"False", "True"} <= tokens
    if width > 1000:
        assert len(printed.splitlines()) == 1 + len(rows)


def test_the_hall_of_fame_breaks_neither_formulas_nor_numbers(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    print_hall_of_fame([ENTRY, replace(ENTRY, rank=2, formula="y_pred", gain=-0.5)], json=False, leader_seeds=12)
    printed = capsys.readouterr().out
    assert fits(printed, width)
    for number in ("+3.25", "+3.75", "-0.50", "+4.44", "86.42%", "83.17%", "cross-entropy"):
        assert number in printed
    assert [token for token in TOKEN.findall(FORMULA) if token not in TOKEN.findall(printed)] == []


def test_losses_that_are_alike_are_counted_and_listed_where_asked(capsys: pytest.CaptureFixture[str]) -> None:
    entries = [replace(ENTRY, relatives=2), replace(ENTRY, rank=2, signature="other")]
    print_hall_of_fame(entries, json=False, leader_seeds=12)
    assert "rank 1: and 2 like it ('lossforge top RUN --all' lists them)" in capsys.readouterr().out
    alike = {"abc": ["y_pred * y_true", "sqrt(y_pred)"], "other": []}
    print_hall_of_fame(entries, json=False, leader_seeds=12, relatives=alike)
    printed = capsys.readouterr().out
    assert "like rank 1:" in printed
    assert "like rank 2" not in printed
    assert "sqrt(y_pred)" in printed
    print_hall_of_fame(entries, json=True, leader_seeds=12, relatives=alike)
    assert '"like_it": [' in capsys.readouterr().out


def test_the_order_is_explained_where_it_is_not_the_gains(capsys: pytest.CaptureFixture[str]) -> None:
    few = replace(ENTRY, rank=2, gain=None, low=None, search_gain=3.5, seeds=4)
    print_hall_of_fame([ENTRY, few], json=False, leader_seeds=12)
    printed = " ".join(capsys.readouterr().out.split())
    assert "trained on 12 seeds or more come before those with fewer" in printed
    print_hall_of_fame([ENTRY, replace(ENTRY, rank=2)], json=False, leader_seeds=12)
    assert "come before" not in capsys.readouterr().out


def test_a_validation_shows_every_rival_and_breaks_no_interval(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    rivals = ["cross_entropy", "label_smoothing", "ngl", "max(y_pred, y_true)"]
    rows = [comparison(rank, rival, task) for task in ("digits", "mnist") for rank in (1, 2) for rival in rivals]
    print_validation(rows, json=False)
    printed = capsys.readouterr().out
    assert fits(printed, width)
    assert printed.count("+2.43 [+1.75, +3.12]") == len(rows)
    for heading in ("cross-entropy", "max(y_pred, y_true)", "mnist: 1.", "better"):
        assert heading in printed
    assert [token for token in TOKEN.findall(FORMULA) if token not in TOKEN.findall(printed)] == []


def test_a_shown_loss_breaks_no_token(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    loss: dict[str, Any] = {
        "loss": FORMULA,
        "head": "softmax",
        "formula": FORMULA,
        "mixes_classes": False,
        "label_smoothing": 0.0,
        "simplified": FORMULA,
        "latex": r"\frac{\hat{y}}{1.3931} + \log \hat{y}",
        "derivative": FORMULA,
        "derivative_latex": None,
        "size": 19,
        "signature": "abc",
        "screen": {"passed": True, "rejected_by": None, "reason": "", "sign_repaired": False},
        "minimiser": {"2": 0.5, "10": 0.25},
        "gradient_ratio": {"2": 1.0, "10": 2.0},
        "nearest": {"name": "ngl", "similarity": 0.5},
        "final": "y_pred",
        "true_class": {"value": FORMULA, "slope": "1"},
        "wrong_class": {"value": "0", "slope": None},
        "class_latex": None,
    }
    print_losses([loss, loss], json=False)
    printed = capsys.readouterr().out
    assert fits(printed, width)
    assert {*TOKEN.findall(FORMULA)} <= {*TOKEN.findall(printed)}


def test_markup_in_data_is_printed_as_it_is(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    marked = "[bold]a[/bold] [red]"
    print_rows([{"name": marked, "summary": marked}], json=False)
    print_facts({"run [red]": marked, "best_formula": marked}, json=False)
    print_hall_of_fame([replace(ENTRY, formula=marked, metric="[blue]")], json=False, leader_seeds=12)
    print_validation([replace(comparison(1, "[dim]x"), formula=marked, task="[bold]")], json=False)
    printed = capsys.readouterr().out
    assert printed.count("[bold]a[/bold]") == 6
    assert "[blue]" in printed
    assert "[dim]x" in printed
