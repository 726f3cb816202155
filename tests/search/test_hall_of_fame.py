from __future__ import annotations

import csv
import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossforge.errors import StoreError
from lossforge.expression.final_form import final_form
from lossforge.expression.formula import parse_formula
from lossforge.expression.signature import signature
from lossforge.search.hall_of_fame import (
    LENGTH,
    Entry,
    Measured,
    checked_entries,
    hall_of_fame,
    read_hall_of_fame,
    write_hall_of_fame,
)
from lossforge.search.likeness import diversity, families
from lossforge.search.scores import Judged, Scores
from lossforge.search.statistics import paired_difference
from lossforge.spaces.schema import EvolutionSection, FitnessSection, RecipeSection, SearchSpace, TaskSection

SPACE = SearchSpace(
    name="t",
    task=[TaskSection(data="digits")],
    fitness=FitnessSection(seeds=2, finalists=2, finalist_seeds=4),
    evolution=EvolutionSection(niche=0),
)
ENTRY = Entry(1, "-y_true * log(y_pred)", 0.025, 2.5, 5, 8, 0.95, 0.925, 3, "crossover", "k")
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=20)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
ENTRIES = st.builds(
    Entry,
    rank=st.integers(1, 20),
    formula=TEXT,
    fitness=NUMBERS,
    gain=st.none() | NUMBERS,
    low=st.none() | NUMBERS,
    gain_over_known=st.none() | NUMBERS,
    search_gain=NUMBERS,
    size=st.integers(1, 200),
    seeds=st.integers(1, 1000),
    accuracy=st.floats(0, 1),
    control=st.floats(0, 1),
    generation=st.integers(1, 10**6),
    origin=TEXT,
    signature=TEXT,
)


def scores(count: int, seeds: int = 4) -> Scores:
    found = Scores()
    found.control = {"digits": dict.fromkeys(range(seeds), 0.5)}
    for number in range(count):
        judged = Judged(f"k{number:02}", f"y_pred * {number}", 3, number, "random")
        judged.accuracies = {"digits": dict.fromkeys(range(seeds), 0.5 + number / 100)}
        found.judged[judged.key] = judged
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hall_of_fame.csv"


def refusal(path: Path) -> str:
    with pytest.raises(StoreError) as caught:
        read_hall_of_fame(path)
    return str(caught.value)


def test_the_best_are_listed_with_all_that_is_known() -> None:
    (first, second) = hall_of_fame(scores(3), SPACE, control_key="k01")
    expected = Entry(1, "2 * y_pred", first.fitness, None, 3, 4, 0.52, 0.5, 3, "random", "k02", searched="y_pred * 2")
    expected = replace(expected, search_gain=2.0)
    assert replace(first, nearest_known="", cosine=0.0) == expected
    assert first.fitness == pytest.approx(0.02)
    assert (second.rank, second.signature, second.search_gain) == (2, "k00", 0.0)


def test_what_is_reported_comes_from_fresh_replicates_alone_and_changes_no_rank() -> None:
    gain = paired_difference([-1.0, 0.5, -0.2], resolution=0.01)
    measured = Measured(gain, paired_difference([-2.0, -0.5, -1.2], resolution=0.01), 0.47, 0.48)
    first, second = hall_of_fame(scores(3), SPACE, "k01", {"k02": measured}, "mae")
    assert (first.signature, first.gain, first.search_gain) == ("k02", pytest.approx(gain.mean), 2.0)
    assert (first.low, first.high) == (pytest.approx(gain.low), pytest.approx(gain.high))
    assert (first.seeds, first.accuracy, first.control) == (3, 0.47, 0.48)
    assert (first.known, first.gain_over_known) == ("mae", pytest.approx(-3.7 / 3))
    assert (second.gain, second.low, second.known) == (None, None, "")


def test_of_a_family_the_best_is_listed_and_says_how_many_it_has() -> None:
    found = scores(6)
    formulas = ("-y_true * log(y_pred)", "y_pred", "abs(y_true - y_pred)", "-y_true * y_pred", "sqrt(y_true - y_pred)")
    for judged, formula in zip(found.judged.values(), (*formulas, "2 * abs(y_pred - y_true) + 1"), strict=True):
        judged.formula = formula
    wide = SPACE.model_copy(update={"evolution": EvolutionSection(niche=0.001)})
    entries = hall_of_fame(found, wide, control_key="k01")
    assert [(entry.signature, entry.relatives) for entry in entries] == [("k05", 2), ("k04", 0), ("k00", 0)]
    assert (entries[0].nearest_known, entries[0].cosine) == ("mean_absolute_error", 1.0)
    assert (entries[2].nearest_known, entries[2].cosine) == ("cross_entropy", 1.0)
    assert entries[1].cosine < 0.99
    known = families(found, wide, "k01")
    assert known[0].relatives == ["k03", "k02"]
    assert 0 < diversity(wide, formulas) < 1
    assert diversity(wide, formulas[:1]) == 0


def test_the_table_is_not_longer_than_said() -> None:
    entries = hall_of_fame(scores(30), SPACE, control_key="none")
    assert [entry.rank for entry in entries] == list(range(1, LENGTH + 1))
    assert entries[0].signature == "k29"


def test_finalists_come_before_those_with_fewer_seeds() -> None:
    found = scores(3)
    found.judged["k02"].accuracies = {"digits": {0: 0.99, 1: 0.99}}
    assert [entry.signature for entry in hall_of_fame(found, SPACE, "none")] == ["k01", "k00", "k02"]


def test_failures_are_not_listed() -> None:
    found = scores(2)
    found.judged["k01"].accuracies["digits"][0] = None
    assert [entry.signature for entry in hall_of_fame(found, SPACE, "none")] == ["k00"]


@settings(deadline=None, max_examples=60)
@given(entries=st.lists(ENTRIES, max_size=5))
def test_a_table_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, entries: list[Entry]) -> None:
    path = tmp_path_factory.mktemp("table") / "hall_of_fame.csv"
    write_hall_of_fame(path, entries)
    assert read_hall_of_fame(path) == entries


def test_equal_leaders_give_equal_bytes(path: Path) -> None:
    contents = set()
    for _ in range(2):
        write_hall_of_fame(path, hall_of_fame(scores(5), SPACE, "none"))
        contents.add(path.read_bytes())
        path.unlink()
    assert len(contents) == 1
    assert b"\r" not in max(contents)
    assert contents.pop().startswith(b"rank,formula,fitness,gain,size,seeds,accuracy,control,generation,origin,")


def test_a_table_says_what_was_measured(path: Path) -> None:
    space = SPACE.model_copy(update={"task": [TaskSection(data="masks:cracks.npz")]})
    write_hall_of_fame(path, hall_of_fame(scores(2), space, "none"))
    assert {entry.metric for entry in read_hall_of_fame(path)} == {"mean_iou"}


def test_a_table_from_before_there_were_metrics_is_of_accuracy(path: Path) -> None:
    path.write_bytes(GOOD + b"1,y_pred,0.1,10.0,1,2,0.5,0.4,0,seed,k\n")
    (entry,) = read_hall_of_fame(path)
    assert (entry.metric, entry.signature, entry.control) == ("accuracy", "k", 0.4)
    assert entry.generation == 1  # such tables counted from 0


def test_a_table_of_nobody_is_read_as_such(path: Path) -> None:
    write_hall_of_fame(path, [])
    assert read_hall_of_fame(path) == []


def test_a_missing_table_is_told(path: Path) -> None:
    assert f"{path}: is not there yet; the search has not finished its first generation" in refusal(path)


GOOD = b"rank,formula,fitness,gain,size,seeds,accuracy,control,generation,origin,signature\n"
DAMAGED: dict[str, bytes] = {
    "empty": b"",
    "not text": b"\xff\xfe\x80",
    "no header": b"1,y_pred,0.1,10.0,1,2,0.5,0.4,0,seed,k\n",
    "column missing": b"rank,formula\n1,y_pred\n",
    "cut row": GOOD + b"1,y_pred,0.1,10.0,1,2,0.5",
    "cut last cell": GOOD.replace(b"\n", b",metric\n") + b"1,y_pred,0.1,10.0,1,2,0.5,0.4,0,seed,k\n",
    "cut in a formula": ",".join(Entry.__slots__).encode() + b"\n1,y_pred,0.1,10.0,1,2,0.5,0.4,0,seed,k,accuracy,y_pr",
    "row too long": GOOD + b"1,y_pred,0.1,10.0,1,2,0.5,0.4,0,seed,k,accuracy\n",
    "words": GOOD + b"first,y_pred,0.1,10.0,1,2,0.5,0.4,0,seed,k\n",
    "endless": GOOD + b"\x00" * 200_000,
    "open quote": GOOD + b'1,"y_pred,0.1\n' + b"x" * 200_000,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_table_names_file_and_remedy_and_stays(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    message = refusal(path)
    assert message.startswith(f"{path}: is damaged (")
    assert message.endswith(f"; type 'lossforge resume {path.parent}': it is written again")
    assert path.read_bytes() == content


def test_a_folder_in_its_place_is_told(path: Path) -> None:
    path.mkdir()
    assert str(path) in refusal(path)


def test_a_full_disk_keeps_the_old_table(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_hall_of_fame(path, [ENTRY])
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full_disk)
        with pytest.raises(StoreError, match="No space left on device") as caught:
            write_hall_of_fame(path, [ENTRY, replace(ENTRY, rank=2)])
    assert str(path) in str(caught.value)
    assert read_hall_of_fame(path) == [ENTRY]
    assert [item.name for item in path.parent.iterdir()] == ["hall_of_fame.csv"]


FOUND = "-min(max(abs(y_pred), -1.63), sqrt(sqrt(y_true / -1.39) / -1.52))"


def found_by(formula: str, **recipe: object) -> tuple[Entry, SearchSpace]:
    space = SPACE.model_copy(update={"recipe": RecipeSection(**recipe)})  # type: ignore[arg-type]
    made = scores(0)
    key = signature(parse_formula(formula)) or ""
    judged = Judged(key, formula, parse_formula(formula).size, 0, "random")
    judged.accuracies = {"digits": dict.fromkeys(range(4), 0.6)}
    made.judged[key] = judged
    (entry,) = hall_of_fame(made, space, "k")
    return entry, space


def test_a_loss_is_shown_in_the_form_that_is_validated_and_keeps_what_was_searched(path: Path) -> None:
    entry, space = found_by(FOUND)
    assert entry.searched == FOUND
    assert entry.formula == str(final_form(parse_formula(FOUND), soft_targets=False))
    assert "0.721 * y_true" in entry.formula
    assert "sqrt" not in entry.formula
    assert entry.size == parse_formula(entry.formula).size < parse_formula(FOUND).size
    write_hall_of_fame(path, [entry])
    assert checked_entries(path, space) == [entry]


def test_nothing_is_folded_where_labels_are_soft_in_training() -> None:
    entry, _ = found_by(FOUND, label_smoothing=0.1)
    assert "sqrt" in entry.formula


@pytest.mark.parametrize("column", ["formula", "searched"])
def test_an_edited_formula_of_either_column_is_told(column: str, path: Path) -> None:
    entry, space = found_by(FOUND)
    write_hall_of_fame(path, [replace(entry, **{column: "y_pred * y_true"})])  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="rank 1 is not the one that was searched"):
        checked_entries(path, space)


def test_a_formula_that_cannot_be_read_is_told_with_the_file(path: Path) -> None:
    entry, space = found_by(FOUND)
    write_hall_of_fame(path, [replace(entry, searched="-min(max(abs(y_pr")])
    with pytest.raises(StoreError, match=r"hall_of_fame\.csv: is damaged \(the formula of rank 1 cannot be read"):
        checked_entries(path, space.recipe)


def test_a_table_from_before_there_were_final_forms_is_read(path: Path) -> None:
    entry, space = found_by("-y_true * log(y_pred)")
    write_hall_of_fame(path, [entry])
    with path.open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    row["gain"] = "2.5"
    since = ("low", "high", "gain_over_known", "known", "search_gain", "relatives", "nearest_known", "cosine")
    before = [name for name in row if name not in ("searched", *since)]
    path.write_text(",".join(before) + "\n" + ",".join(row[name] for name in before) + "\n", encoding="utf-8")
    # Its gain was that of the seeds that chose it.
    was = replace(entry, generation=entry.generation + 1, search_gain=2.5, relatives=0, nearest_known="", cosine=0.0)
    assert checked_entries(path, space) == [was]
