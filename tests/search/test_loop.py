"""What a search makes of its space."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import SMOKE

from lossforge.evaluation.records import Outcome
from lossforge.search.control import control_key
from lossforge.search.hall_of_fame import read_hall_of_fame
from lossforge.search.loop import is_finished, screen_settings
from lossforge.spaces.load import load_space, validate_space
from lossforge.store.checkpoint import save_checkpoint
from lossforge.store.ledger import CandidateRow, Ledger, TrainingRow
from lossforge.store.run_folder import RunFolder


def test_the_screens_get_what_the_space_says() -> None:
    usual = screen_settings(load_space(SMOKE, []))
    assert (usual.guards, usual.label_smoothing) == (True, 0.0)
    changed = screen_settings(load_space(SMOKE, ["screening.guards=false", "recipe.label_smoothing=0.1"]))
    assert (changed.guards, changed.label_smoothing) == (False, 0.1)


def test_a_search_is_finished_when_those_who_led_have_their_seeds(tmp_path: Path) -> None:
    # What these seeds say may make others lead, who have fewer; they get no more, however often one resumes.
    budget = {"generations": 1}
    space = validate_space(
        {
            "name": "x",
            "task": {"data": "digits"},
            "fitness": {"seeds": 1, "finalists": 1, "finalist_seeds": 2, "fresh_seeds": 0},
            "budget": budget,
        },
        "x",
    )
    folder = RunFolder.create(tmp_path / "run", space)
    assert not is_finished(folder, space)
    ledger = Ledger(folder.ledger_file)
    ledger.add_candidates([candidate("first"), candidate("second", position=1)])
    ledger.add_trainings([training(control_key(space), number, 0.5, "control") for number in range(2)])
    ledger.add_trainings([training("first", 0, 0.9), training("second", 0, 0.8)])
    save_checkpoint(folder.checkpoint_file, {"generation": 0})
    assert not is_finished(folder, space)
    ledger.add_trainings([training("first", 1, 0.1, generation=1)])
    ledger.close()
    assert is_finished(folder, space)
    assert [entry.seeds for entry in read_hall_of_fame(folder.hall_of_fame_file)] == [2, 1]
    more = space.model_copy(update={"budget": space.budget.model_copy(update={"generations": 2})})
    assert not is_finished(folder, more)


def candidate(key: str, position: int = 0) -> CandidateRow:
    # Two that are not alike: of those that are the table has one.
    formula = "-y_true * y_pred" if key == "first" else "-y_true * log(y_pred + 0.5)"
    return CandidateRow(0, position, "test", formula, 4, key, Outcome.TRAINED, None, "")


def training(key: str, replicate: int, score: float, stage: str = "search", generation: int = 0) -> TrainingRow:
    return TrainingRow(
        fingerprint=key,
        seed=replicate,
        replicate=replicate,
        stage=stage,
        generation=generation,
        key=key,
        formula="-y_true * y_pred",
        task="digits",
        part="validation",
        learning_rate=0.01,
        epochs=1,
        outcome=Outcome.TRAINED,
        accuracy=score,
        reason="",
        seconds=1.0,
    )
