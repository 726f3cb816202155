"""Tables and diagrams of comparisons: nothing is left out, names are escaped, files repeat byte for byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lossforge.report.comparison_files import write_files
from lossforge.report.comparison_table import comparison_lines, rank_lines
from lossforge.report.comparison_tex import comparison_tex, escaped
from lossforge.validation.comparison import Comparison
from lossforge.validation.standings import scores_by_study

ROW = Comparison(
    rank=1,
    formula="-y_true * log(y_pred)**2",
    size=5,
    rival="cross_entropy",
    search_gain=0.0,
    gain=1.25,
    low=0.5,
    high=2.0,
    p=0.001,
    p_adjusted=0.002,
    seeds=8,
    task="digits",
    accuracy=0.9125,
    rival_accuracy=0.9,
    learning_rate=0.001,
    rival_learning_rate=0.003,
    loss="my_loss",
    study="clean",
    low_images=-0.1,
    high_images=2.6,
)
ROWS = [
    replace(ROW, study=study, rank=rank, loss=loss, rival=rival, gain=gain, low=gain - 0.5, high=gain + 0.5)
    for study in ("clean", "noisy_40")
    for rank, (loss, gain) in enumerate((("focal", 1.0), ("a % b & c_d", -1.0), ("ngl", 0.2)), 1)
    for rival in ("cross_entropy", "max(y_pred, y_true)")
]


def test_a_latex_table_has_every_interval_and_prints_every_name() -> None:
    text = comparison_tex(ROWS)
    assert text.count(r"\\") == 1 + 6
    assert text.count("$+1.00$ [$+0.50$, $+1.50$]") == 4
    assert r"a \% b \& c\_d" in text
    assert r"\texttt{max(y\_pred, y\_true)}" in text or r"max(y\_pred, y\_true)" in text
    assert "noisy\\_40" in text
    assert text.count("{") == text.count("}")
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == 1


@pytest.mark.parametrize("special", list("\\&%$#_{}~^<>"))
def test_no_character_of_a_name_means_something_to_latex(special: str) -> None:
    assert escaped(f"a{special}b") not in (f"a{special}b", "ab")
    assert escaped("ab") == "ab"


def test_files_are_whole_and_the_same_twice(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
        written = write_files(folder, ROWS)
        assert {path.name for path in written} == {
            *("table.tex", "forest.svg", "forest.png", "critical_difference.svg", "critical_difference.png"),
        }
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()
        if path.suffix == ".svg":
            assert ElementTree.parse(path).getroot().tag.endswith("svg")  # our own file
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG")


def test_one_study_has_no_ranks(tmp_path: Path) -> None:
    rows = [row for row in ROWS if row.study == "clean"]
    assert {path.name for path in write_files(tmp_path, rows)} == {"table.tex", "forest.svg", "forest.png"}
    assert rank_lines(rows) == []
    assert write_files(tmp_path, []) == []


def test_scores_are_of_losses_and_rivals_that_are_in_every_study() -> None:
    scores = scores_by_study([*ROWS, replace(ROW, study="third", loss="focal")])
    assert set(scores) == {"focal", "cross_entropy"}
    assert {len(values) for values in scores.values()} == {3}


def test_each_loss_of_each_study_stands_above_its_rivals() -> None:
    text = ["".join(part for part, _ in line) for line in comparison_lines(ROWS, 80)]
    assert all(len(line) <= 80 for line in text)
    heads = [line for line in text if ". " in line[:14]]
    assert len(heads) == 6
    assert sum(line.startswith("cross-entropy ") for line in text) == 6
    assert sum(line.startswith("max(y_pred, y_true) ") for line in text) == 6


def test_a_loss_stands_once_however_many_seeds_its_pairs_had() -> None:
    early = replace(ROWS[0], seeds=4, accuracy=0.7)
    text = ["".join(part for part, _ in line) for line in comparison_lines([early, *ROWS[1:6]], 80)]
    assert len([line for line in text if ". " in line[:14]]) == 3
    assert "91.25%" in next(line for line in text if line.startswith("1. "))
