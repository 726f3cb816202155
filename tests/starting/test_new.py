"""From data to a space that searches them: decisions, trials, and the time that is promised."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import numpy
import pytest
from tests.helpers.folders import picture

from lossforge.errors import DataError, SpaceError
from lossforge.spaces.load import load_space
from lossforge.starting import new, trials
from lossforge.starting.asking import Asking
from lossforge.starting.cost import Unit, generation_seconds, search_steps, total_seconds
from lossforge.starting.dry_run import plan_of_search
from lossforge.starting.fit import fitted, largest_training
from lossforge.starting.new import new_space, seconds_of
from lossforge.starting.survey import survey
from lossforge.starting.trials import Noise, Setting
from lossforge.starting.write import space_text

RNG = numpy.random.default_rng(0)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("2h", 7200), ("1h 30m", 5400), ("45s", 45), ("1.5h", 5400)]
)
def test_a_time_has_its_unit(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "0m", "half an hour", "-3m"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(SpaceError, match="write it with its unit"):
        seconds_of(text)


def folder_of_photographs(root: Path) -> Path:
    for number in range(60):
        side = 70 + number % 7
        picture(root / f"class{number % 3}" / f"{number}.png", (80 * (number % 3), 4 * number, 99), (side, side))
    (root / "class0" / "broken.png").write_text("no image", encoding="utf-8")
    return root


def test_photographs_of_many_sizes_are_resized_and_a_broken_one_left_out(tmp_path: Path) -> None:
    asking = Asking()
    found = survey(str(folder_of_photographs(tmp_path / "photos")), {}, asking)
    assert found.task == {"data": f"folder:{tmp_path / 'photos'}", "resize": 64, "skip_broken": True}
    assert found.data.shape == (3, 64, 64)
    assert [told.partition(" =")[0] for told in asking.decided] == ["task.resize", "task.skip_broken"]
    assert any("broken.png" in told for _, _, told in found.rows)


def test_a_person_who_says_no_is_obeyed(tmp_path: Path) -> None:
    asked: list[str] = []

    def ask(question: str, proposed: str) -> str:
        asked.append(question)
        return "24" if "resize" in question else "no"

    with pytest.raises(DataError, match=r"broken\.png"):
        survey(str(folder_of_photographs(tmp_path / "photos")), {}, Asking(ask))
    assert len(asked) == 2


def test_a_table_with_words_gaps_and_names(tmp_path: Path) -> None:
    rows = "\n".join(
        f"{'red' if n % 2 else 'blue'},Name {n},{'' if n == 3 else n / 2},{int(n % 9 == 0)}" for n in range(90)
    )
    (tmp_path / "t.csv").write_text(f"colour,who,half,label\n{rows}\n", encoding="utf-8")
    found = survey(str(tmp_path / "t.csv"), {}, Asking())
    wanted = {"drop_columns": ["who"], "one_hot": True, "impute": "median", "metric": "balanced_accuracy"}
    assert {name: found.task[name] for name in wanted} == wanted
    fixed = survey(str(tmp_path / "t.csv"), {"metric": "f1", "impute": "mean"}, Asking())
    assert (fixed.task["metric"], fixed.task["impute"]) == ("f1", "mean")


TABLES: dict[str, Any] = {"name": "mine", "task": {"data": "digits"}, "recipe": {"epochs": 5, "batch_size": 32}}


@pytest.mark.parametrize(("time", "each"), [(60.0, 0.05), (1800.0, 0.2), (36_000.0, 0.05)])
def test_a_space_fits_its_time(time: float, each: float) -> None:
    unit = Unit(each, 16, 2, 0.97)
    found = fitted(TABLES, [0.001, 0.002, 0.004], unit, time)
    assert 0.7 * time < found.seconds < 1.3 * time
    assert found.seconds == pytest.approx(total_seconds(search_steps(found.space, unit)))
    assert found.generation == pytest.approx(generation_seconds(found.space, unit))
    assert found.space.recipe.learning_rates == [0.001, 0.002, 0.004]


def test_more_time_is_a_more_thorough_re_validation_and_too_little_none_at_all() -> None:
    unit = Unit(0.1, 16, 2)
    short, long = (fitted(TABLES, [0.001, 0.002], unit, time).space for time in (45.0, 900.0))
    assert (short.validation.top, short.validation.best_known) < (long.validation.top, long.validation.best_known)
    assert short.validation.seeds < long.validation.seeds
    with pytest.raises(SpaceError, match=r"--time: 30 s is too short .* the smallest takes about \d+ s"):
        fitted(TABLES, [0.001, 0.002], Unit(0.5, 16, 2), 30.0)


def test_keys_that_a_person_fixed_stay() -> None:
    tables = {
        **TABLES,
        "validation": {"seeds": 5},
        "evolution": {"elites": 1},
        "recipe": {**TABLES["recipe"], "epochs": 3},
    }
    found = fitted(tables, [0.001, 0.002], Unit(0.01, 16, 2), 600.0).space
    assert (found.validation.seeds, found.evolution.elites, found.recipe.epochs) == (5, 1, 3)


def test_cohorts_go_to_workers_whole() -> None:
    unit = Unit(1.0, 8, 2)
    assert unit.of(0) == 0
    assert unit.of(4) == unit.of(8) / 2 == 4  # one worker has them all
    assert unit.of(16) == 8
    assert 14 <= unit.of(24) <= 16  # three cohorts of two workers
    assert unit.of(16, 2.0) == 16


def test_a_training_is_as_long_as_the_time_allows() -> None:
    first = Setting("small_cnn", 8, 1000, 500, 5)
    short, long = (largest_training(1.0, 0.0, first, (8000, 4000), budget) for budget in (300.0, 30_000.0))
    assert short is not None
    assert long is not None
    assert short.train * short.epochs < long.train * long.epochs
    assert (long.epochs, long.train) == (30, 8000)
    assert largest_training(1.0, 0.0, first, (8000, 4000), 20.0) is None


def test_the_smallest_gain_shrinks_with_the_root_of_seeds() -> None:
    noise = Noise(0.9, 1.0, 2.0, 8, 0.1)
    assert noise.smallest_gain(400) == pytest.approx(2 * (1.966 + 0.843) / math.sqrt(400), rel=2e-3)
    assert noise.smallest_gain(8) > 2 * (1.96 + 0.84) / math.sqrt(8)


def test_what_is_written_reads_back_and_says_what_its_keys_mean() -> None:
    tables = {**TABLES, "description": 'a "quoted" \\ text', "task": {"data": "digits", "only": ["3", "8  9"]}}
    text = space_text(tables, ["One sentence that is told. " * 20], "./space.schema.json")
    assert text.startswith("#:schema ./space.schema.json\n# One sentence")
    assert tomllib.loads(text) == tables
    assert "# of a training in the search" in text
    assert max(map(len, text.splitlines())) < 120


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("mine", encoding="utf-8")
    with pytest.raises(SpaceError, match="is there already"):
        new_space(tmp_path / "mine.toml", "digits")
    assert (tmp_path / "mine.toml").read_text(encoding="utf-8") == "mine"


@pytest.mark.slow
def test_arrays_become_a_space_that_a_dry_run_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_TRIED_SEEDS", 1)
    monkeypatch.setattr(new, "_MOST_TRIED", 1)
    y = numpy.arange(600) % 4
    x = (RNG.integers(0, 200, (600, 8, 8)) + 10 * y[:, None, None]).astype(numpy.uint8)
    numpy.savez(tmp_path / "mine.npz", x=x, y=y)
    told: list[str] = []
    written = new_space(
        tmp_path / "mine.toml",
        str(tmp_path / "mine.npz"),
        time="10m",
        networks=["mlp_12_8"],
        asking=Asking(None, told.append),
        workers=1,
    )
    space = load_space(tmp_path / "mine.toml")
    assert space.task[0].model == "mlp_12_8"
    assert space.execution.workers == 1
    assert written.seconds < 1.3 * 600
    assert written.seen_in_validation > 0
    assert any(one.startswith("Noise: over ") for one in told)
    assert written.trial.rate == space.recipe.learning_rates[1]
    plan = plan_of_search(tmp_path / "mine.toml")
    assert any(f"{space.budget.generations} generations of {space.evolution.population}" in line for line in plan)
    assert plan[-1].endswith("nothing was written")
    assert [path.name for path in tmp_path.iterdir()].count("runs") == 0
