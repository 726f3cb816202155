"""A published table beside our own: the numbers, the paper's rule, and what is not there."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from statistics import fmean

import pytest
from tests.validation.test_comparison import compared

from lossforge.errors import SpaceError
from lossforge.validation.comparison import Comparison
from lossforge.validation.published import FUSION, NGL, Beside, published_table
from lossforge.validation.published_text import as_csv, as_latex, as_text


def rows(task: str, accuracies: dict[str, float], control: float, rivals: dict[str, float]) -> list[Comparison]:
    """Every loss, by its formula, beside every rival in one study."""
    return [
        replace(
            compared(100 * (accuracy - other), 0.01, rank=rank, rival=rival),
            study=task,
            formula=formula,
            accuracy=accuracy,
            rival_accuracy=other,
        )
        for rank, (formula, accuracy) in enumerate(accuracies.items(), start=1)
        for rival, other in {"cross_entropy": control, **rivals}.items()
    ]


def two_networks() -> list[Comparison]:
    first = rows("cifar10-inception_v3", {"f": 0.93, "g": 0.80}, 0.92, {"focal": 0.918})
    second = rows("cifar10-resnet50", {"f": 0.93, "g": 0.82}, 0.90, {"focal": 0.901})
    return [*first, *second, *rows("pcam-resnet50", {"f": 0.7, "g": 0.69}, 0.694, {"focal": 0.704})]


def test_the_published_numbers_agree_with_their_own_means() -> None:
    means = {"f1": -0.10, "f2": -1.22, "f3": -27.21, "f4": -1.32, "f5 = NGL": 2.11}
    assert {loss: round(fmean(values), 2) for loss, values in NGL.found.items()} == pytest.approx(means, abs=0.011)
    assert NGL.changes["ngl"] == NGL.found["f5 = NGL"]
    lengths = {len(values) for values in (NGL.control, *NGL.changes.values(), *NGL.found.values())}
    assert lengths == {len(NGL.sets)} == {7}


def test_a_set_is_the_mean_of_its_networks_for_losses_and_rivals_alike() -> None:
    beside = Beside(two_networks())
    assert beside.control("cifar10") == pytest.approx(91)
    assert beside.change("f", "cifar10") == pytest.approx((1 + 3) / 2)
    assert beside.change("g", "cifar10") == pytest.approx((-12 - 8) / 2)
    assert beside.change("focal", "cifar10") == pytest.approx((-0.2 + 0.1) / 2)
    assert beside.change("focal", "pcam") == pytest.approx(1)
    assert beside.change("f", "malaria") is None
    assert beside.own == ["f", "g"]


@pytest.mark.parametrize(("change", "word"), [(0.5, "same"), (-0.5, "same"), (0.51, "better"), (-0.51, "worse")])
def test_within_half_a_point_is_the_same_by_the_papers_rule(change: float, word: str) -> None:
    assert NGL.rule(change) == word


def test_the_text_has_both_tables_side_by_side_in_80_columns() -> None:
    text = as_text(Beside(two_networks()))
    assert max(map(len, text.splitlines())) <= 80
    cells = {tuple(line.split()[:-8]): line.split()[-8:] for line in text.splitlines() if len(line.split()) > 8}
    assert cells["CE", "paper"] == ["94.0", "69.4", "88.9", "92.8", "94.0", "68.2", "72.5", "82.8"]
    assert cells["CE", "here"] == ["-", "69.4", "-", "91.0", "-", "-", "-", "80.2"]
    assert cells["Focal", "here"] == ["-", "+1.00", "-", "-0.05=", "-", "-", "-", "+0.48="]
    assert cells["f3", "paper"][0] == "-27.98"
    assert cells["ours", "1", "here"][3] == "+2.00"
    told = " ".join(text.split())
    assert "ours 1: by the paper's rule better on 2, same on 0, worse on 0 of 2 data sets; by paired tests" in told
    assert "ours 2: g" in told


def test_every_measured_number_is_in_the_csv_in_full() -> None:
    found = list(csv.DictReader(io.StringIO(as_csv(Beside(two_networks())))))
    (one,) = [row for row in found if row["formula"] == "f" and row["data"] == "cifar10"]
    assert float(one["accuracy"]) == pytest.approx(93)
    assert float(one["change"]) == pytest.approx(2)
    assert one["rule"] == "better"
    assert one["verdicts"] == "inception_v3: better; resnet50: better"
    assert sum(row["origin"] == "paper" for row in found) == 7 * (1 + len(NGL.changes) + len(NGL.found))


def test_the_latex_is_a_booktabs_table_with_as_many_cells_everywhere() -> None:
    lines = as_latex(Beside(two_networks())).splitlines()
    assert [line for line in lines if "rule" in line] == [
        r"\toprule",
        r"\midrule",
        r"\midrule",
        r"\midrule",
        r"\bottomrule",
    ]
    body = [line for line in lines if line.endswith(r"\\")]
    assert {line.count("&") for line in body} == {9}
    assert any(line.startswith(r"ours 1 & here & -- & $\mathbf{+0.60}$") for line in body)
    assert sum(line.startswith("Focal") for line in body) == 2


def test_a_rival_that_the_paper_does_not_know_is_shown_by_its_name() -> None:
    beside = Beside(rows("pcam-a", {"f": 0.7}, 0.69, {"label_smoothing": 0.71}))
    assert beside.others == ["label_smoothing"]
    text = as_text(beside)
    assert any(line.split()[:3] == ["label", "sm.", "here"] for line in text.splitlines())
    assert "label sm. is label smoothing" in text


def test_studies_of_other_data_sets_are_left_out_and_none_at_all_is_refused() -> None:
    other = rows("digits-small_cnn", {"f": 0.7}, 0.6, {})
    assert Beside([*other, *two_networks()]).lines() == Beside(two_networks()).lines()
    with pytest.raises(SpaceError, match=r"no study is on a data set of the table 'ngl'; call them SET-NETWORK.*pcam"):
        Beside(other)
    with pytest.raises(SpaceError, match="'ngk' is no table that lossforge knows; did you mean 'ngl'"):
        published_table("ngk")


def test_the_fusion_papers_numbers_stand_where_it_prints_them() -> None:
    sets = list(FUSION.sets)
    assert len(FUSION.titles) == 63
    assert set(FUSION.changes) < set(FUSION.titles)
    assert FUSION.control[sets.index("brain_tumour_binary")] == pytest.approx(98.7)
    best = FUSION.changes["smooth_l1 + cross_entropy"]  # table 8, row 15; table 11, row 15; table 17, row 15
    assert best[sets.index("brain_tumour_binary")] == pytest.approx(99.47 - 98.7)
    assert best[sets.index("crack_binary")] == pytest.approx(50.1 - 97.1)
    assert best[sets.index("deepglobe")] == pytest.approx(60.26 - 56.11)
    assert FUSION.changes["tversky + binary_cross_entropy"][sets.index("deepglobe")] is None  # table 17 has no row 13
    assert sum(value is not None for values in FUSION.changes.values() for value in values) + 8 == 250


def test_sums_stand_beside_the_papers_at_80_columns() -> None:
    found = rows("crack_binary-cnn", {"smooth_l1 + cross_entropy": 0.9, "tversky + focal + dice": 0.92}, 0.91, {})
    text = as_text(Beside([replace(row, loss=row.formula) for row in found], FUSION))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    paper = next(line for line in lines if line.startswith("S+C ") and "paper" in line)
    assert "-47.00" in paper
    assert next(line for line in lines if line.startswith("S+C ") and "here" in line).split()[4] == "-1.00"
    assert next(line for line in lines if line.startswith("T+F+D")).split()[1] == "here"  # the paper lacks it
    assert "S+C: by its mean better on 0, same on 0, worse on 1 of 1 data sets" in text
