"""A training of the user's own: called in a worker with each loss, its failures the loss's own."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.conftest import ROOT

import lossforge
from lossforge.errors import DataError, LossforgeError, ModelError, SpaceError
from lossforge.evaluation.evaluate import evaluate
from lossforge.evaluation.records import (
    Outcome,
    Setup,
    Training,
    TrainingRequest,
    pack,
    result_from_text,
    result_to_text,
)
from lossforge.executors.local import PoolExecutor
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.models.imported import source_digest
from lossforge.spaces.load import validate_space
from lossforge.spaces.schema import RecipeSection, TaskSection
from lossforge.store.ledger import Ledger

SCRIPT = """
import os, pathlib, subprocess, sys, threading, time, random, numpy, torch

def good(criterion, seed, device, part="validation"):
    z = torch.zeros(4, 3, requires_grad=True)
    criterion(z, torch.tensor([0, 1, 2, 0])).backward()
    return round(0.5 + seed / 100 + (part == "test") / 5 + float(torch.rand(())) / 1000, 4)

def raises(criterion, seed, device):
    raise KeyError("weights")

def nan(criterion, seed, device):
    return float("nan")

def percent(criterion, seed, device):
    return 93.0

def text(criterion, seed, device):
    return "good"

def hangs(criterion, seed, device):
    time.sleep(600)

def dies(criterion, seed, device):
    os._exit(3)

def ends(criterion, seed, device):
    os._exit(0)

def ends_once(criterion, seed, device):
    marker = pathlib.Path("ended")
    if not marker.exists():
        marker.touch()
        os._exit(0)
    return 0.5

def becomes_another(criterion, seed, device):
    os.execv(sys.executable, [sys.executable, "-c", "pass"])

def ends_before_its_child(criterion, seed, device):
    if os.fork() == 0:
        time.sleep(20)
    threading.Thread(target=time.sleep, args=(20,)).start()
    os._exit(0)

def leaves_a_bomb(criterion, seed, device):
    threading.Timer(0.3, os._exit, (0,)).start()
    return 0.5

def hog(criterion, seed, device):
    return float(torch.ones(2**34).sum())  # 64 GiB

def leaves(criterion, seed, device):
    sys.exit(0)

def leaves_in_words(criterion, seed, device):
    sys.exit("no data")

def interrupts(criterion, seed, device):
    raise KeyboardInterrupt

class Speechless(Exception):
    def __str__(self):
        raise RuntimeError

def speechless(criterion, seed, device):
    raise Speechless

def surrogate(criterion, seed, device):
    raise ValueError("\\ud800 in a name")

def text_of_a_number(criterion, seed, device):
    return "0.9"

def truth(criterion, seed, device):
    return True

def truth_of_torch(criterion, seed, device):
    return torch.tensor(1.0) > 0

def text_of_numpy(criterion, seed, device):
    return numpy.array("0.9")

def number_of_numpy(criterion, seed, device):
    return numpy.float32(0.5)

def number_of_torch(criterion, seed, device):
    return torch.tensor([0.5], dtype=torch.float16)

def two(criterion, seed, device):
    return torch.ones(2)

def reads(criterion, seed, device):
    return float(input())

x = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
y = torch.arange(90) % 3
x = x + 2 * torch.eye(4)[y]

def needs_a_file(criterion, seed, device, part="validation"):
    open(part).close()
    network = torch.nn.Linear(4, 3)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    for _ in range(20):
        optimizer.zero_grad()
        criterion(network(x[:60]), y[:60]).backward()
        optimizer.step()
    return (network(x[60:]).argmax(1) == y[60:]).float().mean().item()

def drawn(criterion, seed, device):
    return round((random.random() + numpy.random.rand() + float(torch.rand(()))) / 3, 6)
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    file = tmp_path / "own_training_of_this_test.py"
    file.write_text(SCRIPT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, file.stem, raising=False)
    source_digest.cache_clear()
    return file.stem


def request(
    path: str, formula: str = CROSS_ENTROPY, *, seed: int = 7, part: str = "validation", seconds: float = 60.0
) -> TrainingRequest:
    setup = Setup(TaskSection(python=path, classes=3), RecipeSection(), 1, part, seconds, gigabytes=4.0)
    (wanted,) = pack([Training(setup, "ce", LossSpec(formula), 1.0, 0, seed)])
    return wanted


def test_its_score_is_the_result_and_its_seed_decides(script: str) -> None:
    first = evaluate(request(f"{script}:good"), "cpu")
    assert first.outcomes == (Outcome.TRAINED,)
    assert 0.57 <= (first.accuracies[0] or 0) <= 0.571
    assert evaluate(request(f"{script}:good"), "cpu").accuracies == first.accuracies
    assert evaluate(request(f"{script}:good", part="test"), "cpu").accuracies[0] == pytest.approx(0.77, abs=0.001)
    assert evaluate(request(f"{script}:good", seed=8), "cpu").accuracies[0] == pytest.approx(0.58, abs=0.001)


@pytest.mark.parametrize(
    ("name", "outcome", "reason"),
    [
        ("raises", Outcome.CRASHED, "'own_training_of_this_test:raises' failed: KeyError: 'weights'"),
        ("nan", Outcome.DIVERGED, "its score is not a number"),
        ("percent", Outcome.CRASHED, "returned 93.0; it must return a number from 0 to 1, the more the better"),
        ("text", Outcome.CRASHED, "returned 'good'; it must return a number"),
        ("text_of_a_number", Outcome.CRASHED, "returned '0.9'; it must return a number from 0 to 1"),
        ("truth", Outcome.CRASHED, "returned True; it must return a number from 0 to 1"),
        ("truth_of_torch", Outcome.CRASHED, "returned tensor(True); it must return a number from 0 to 1"),
        ("text_of_numpy", Outcome.CRASHED, "it must return a number from 0 to 1"),
        ("hog", Outcome.CRASHED, "out of memory"),
        ("leaves", Outcome.CRASHED, "failed: it called sys.exit(0) (own_training_of_this_test.py, line "),
        (
            "leaves_in_words",
            Outcome.CRASHED,
            "failed: it called sys.exit('no data') (own_training_of_this_test.py, line ",
        ),
        ("interrupts", Outcome.CRASHED, "failed: KeyboardInterrupt (own_training_of_this_test.py, line "),
        ("speechless", Outcome.CRASHED, "failed: Speechless (own_training_of_this_test.py, line "),
        ("surrogate", Outcome.CRASHED, r"failed: ValueError: \ud800 in a name"),
        ("two", Outcome.CRASHED, "returned tensor([1., 1.]); it must return a number"),
        ("reads", Outcome.CRASHED, "failed: EOFError: EOF when reading a line"),
    ],
)
def test_a_failure_is_a_result_with_its_reason(script: str, name: str, outcome: Outcome, reason: str) -> None:
    result = evaluate(request(f"{script}:{name}"), "cpu")
    assert result.outcomes == (outcome,)
    assert reason in result.reasons[0]
    assert result.reasons[0].encode()
    if name == "leaves":
        line = SCRIPT.splitlines().index("    sys.exit(0)") + 1
        assert result.reasons[0].endswith(f"line {line})")
    assert ("Traceback" in result.traceback) == ("failed: " in result.reasons[0])
    assert result_from_text(result_to_text(result)) == result


@pytest.mark.parametrize("name", ["number_of_numpy", "number_of_torch"])
def test_a_number_of_any_library_is_a_score(script: str, name: str) -> None:
    assert evaluate(request(f"{script}:{name}"), "cpu").accuracies == (0.5,)


def test_whatever_it_draws_from_follows_its_seed(script: str) -> None:
    scores = [evaluate(request(f"{script}:drawn", seed=seed), "cpu").accuracies for seed in (7, 2**62, 7)]
    assert scores[0] == scores[2] != scores[1]


def test_it_keeps_what_its_module_sets_and_nobody_else_gets_it(script: str, tmp_path: Path) -> None:
    (tmp_path / f"{script}.py").write_text(
        """
import argparse, os, sys, torch
print("imported")
argparse.ArgumentParser().parse_args()
os.mkdir("there"); os.chdir("there")
torch.set_default_dtype(torch.float64)

def train(criterion, seed, device):
    argparse.ArgumentParser().parse_args()
    print("called")
    sys.stdout.close()
    assert os.path.basename(os.getcwd()) == "there"
    torch.set_default_dtype(torch.float16)
    return float(torch.get_default_dtype() == torch.float16 and sys.argv == [__name__])
""",
        encoding="utf-8",
    )
    before = sys.argv, sys.stdout, Path.cwd(), torch.get_default_dtype()
    for _ in range(2):
        assert evaluate(request(f"{script}:train"), "cpu").accuracies == (1.0,)
        assert (sys.argv, sys.stdout, Path.cwd(), torch.get_default_dtype()) == before


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "import sys; sys.exit(0)",
            r"importing it failed: it called sys.exit\(0\) \(own_training_of_this_test.py, line 2\)",
        ),
        ("raise KeyboardInterrupt", "importing it failed: KeyboardInterrupt"),
        (
            "import argparse; p = argparse.ArgumentParser(); p.add_argument('x'); p.parse_args()",
            r"called sys.exit\(2\)",
        ),
        ("x = = 1", r"SyntaxError: invalid syntax \(own_training_of_this_test.py, line 2\)"),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_sentence(script: str, tmp_path: Path, line: str, told: str) -> None:
    (tmp_path / f"{script}.py").write_text(f"\n{line}\ndef train(criterion, seed, device): ...\n", encoding="utf-8")
    with pytest.raises(ModelError, match=told) as caught:
        evaluate(request(f"{script}:train"), "cpu")
    assert "\n" not in str(caught.value)


def test_one_that_hangs_or_dies_costs_only_itself(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lossforge.executors.workers.GRACE_SECONDS", 6.0)
    wanted = [
        request(f"{script}:hangs", seconds=0.5),
        request(f"{script}:dies"),
        request(f"{script}:good"),
    ]
    pool = PoolExecutor(1, "cpu")
    try:
        found = dict(pool.run(wanted, lambda: False))
    finally:
        pool.close()
    assert [found[index].outcomes[0] for index in range(3)] == [Outcome.TIMED_OUT, Outcome.CRASHED, Outcome.TRAINED]
    assert found[2].accuracies == evaluate(wanted[2], "cpu").accuracies


@pytest.mark.parametrize("name", ["ends", "becomes_another", "ends_before_its_child"])
def test_one_that_ends_its_process_without_a_fault_has_died_at_once(script: str, name: str) -> None:
    pool = PoolExecutor(1, "cpu")
    try:
        ((_, found),) = pool.run([request(f"{script}:{name}", seconds=3600.0)], lambda: False)
    finally:
        pool.close()
    assert (found.outcomes, found.reasons) == ((Outcome.CRASHED,), ("its worker process died 2 times",))


def test_one_that_ends_its_process_once_is_asked_again(script: str) -> None:
    pool = PoolExecutor(1, "cpu")
    try:
        ((_, found),) = pool.run([request(f"{script}:ends_once", seconds=3600.0)], lambda: False)
    finally:
        pool.close()
    assert found.accuracies == (0.5,)


def test_a_thread_left_behind_that_ends_an_idle_worker_costs_nothing(script: str) -> None:
    pool = PoolExecutor(1, "cpu")
    try:
        for _ in range(2):
            ((_, found),) = pool.run([request(f"{script}:leaves_a_bomb")], lambda: False)
            assert found.accuracies == (0.5,)
            time.sleep(0.8)
        ((_, found),) = pool.run([request(f"{script}:good")], lambda: False)
        assert found.outcomes == (Outcome.TRAINED,)
    finally:
        pool.close()


def test_each_loss_has_the_scale_that_an_export_of_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tells_scale.py").write_text(
        "def scale(criterion, seed, device):\n    return 1e-3 * criterion.scale\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    formula = "1000 * (y_true - y_pred)**2"
    (found,) = evaluate(request("tells_scale:scale", formula), "cpu").accuracies
    expected = lossforge.loss(formula).match_classes(3).scale
    assert found == pytest.approx(1e-3 * expected)
    assert expected < 0.01
    flat = evaluate(request("tells_scale:scale", "sign(y_pred - y_true)"), "cpu")
    assert flat.outcomes == (Outcome.DIVERGED,)


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ({}, "give either data, or python"),
        ({"data": "digits", "python": "a:b"}, "give either data, or python"),
        ({"python": "a:b"}, "classes: say how many"),
        ({"data": "digits", "classes": 3}, "classes: is for task.python"),
        ({"python": "a:b", "classes": 3, "label_noise": 0.1}, "label_noise: means nothing beside python"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(task: dict[str, object], told: str) -> None:
    with pytest.raises(SpaceError, match=told):
        validate_space({"name": "x", "task": task}, "x")


def test_a_function_that_is_not_there_is_told_before_anything_is_written(script: str, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(f'name = "x"\n[task]\npython = "{script}:absent"\nclasses = 3\n')
    with pytest.raises(ModelError, match=r"task\.python: '.*' has no 'absent'|task\.python: .* has no 'absent'"):
        lossforge.search(tmp_path / "x.toml", run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_function_that_fails_with_cross_entropy_ends_the_search_with_its_error(script: str, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(f'name = "x"\n[task]\npython = "{script}:raises"\nclasses = 3\n')
    with pytest.raises(LossforgeError, match=r"cross-entropy itself failed .*KeyError: 'weights'") as caught:
        lossforge.search(tmp_path / "x.toml", run=tmp_path / "run", workers=1, overrides=["fitness.finalist_seeds=2"])
    assert "mend what failed in the function" in str(caught.value)
    assert "recipe" not in str(caught.value)


@pytest.mark.slow
def test_one_that_fails_for_what_is_not_in_it_goes_on_once_that_is_mended(script: str, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(
        f"""
name = "x"
task = {{ python = "{script}:needs_a_file", classes = 3 }}
fitness = {{ seeds = 1, finalists = 1, finalist_seeds = 2 }}
evolution = {{ population = 4, elites = 1 }}
budget = {{ generations = 1 }}
validation = {{ top = 1, seeds = 2, rivals = ["cross_entropy"] }}
execution = {{ workers = 1 }}
""",
        encoding="utf-8",
    )
    run = tmp_path / "run"
    with pytest.raises(LossforgeError, match=r"FileNotFoundError.*type 'lossforge resume .*run'"):
        lossforge.search(tmp_path / "x.toml", run=run)
    (tmp_path / "validation").touch()
    with pytest.raises(
        LossforgeError, match=r"of the rival .* crashed .*FileNotFoundError.*'lossforge validate .*run'"
    ):
        lossforge.resume(run)
    (tmp_path / "test").touch()
    assert lossforge.validate(run)


@pytest.mark.slow
def test_the_documented_example_searches_and_validates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "own-training.md").read_text(encoding="utf-8")
    for kind, name in (("python", "digits_mlp.py"), ("toml", "digits_mlp.toml")):
        found = re.search(rf"```{kind}\n(.*?)```", text, re.S)
        assert found is not None
        (tmp_path / name).write_text(found[1], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    small = ["evolution.population=4", "evolution.elites=1", "budget.generations=2", "fitness.finalist_seeds=2"]
    small += ["validation.top=1", "validation.seeds=2", "validation.rivals=['cross_entropy']"]
    run = lossforge.search(tmp_path / "digits_mlp.toml", run=tmp_path / "run", workers=2, overrides=small)
    assert run.hall_of_fame
    assert [row.learning_rate for row in run.validation()] == [1.0]
    assert all(row.rival_accuracy > 0.5 for row in run.validation())
    # Old scores must not stand beside those of an edited script.
    script = tmp_path / "digits_mlp.py"
    script.write_text(script.read_text(encoding="utf-8").replace("lr=0.01", "lr=0.001"), encoding="utf-8")
    source_digest.cache_clear()
    monkeypatch.delitem(sys.modules, "digits_mlp")
    with pytest.raises(DataError, match="'digits_mlp:train': its file is not what it was when the run began"):
        lossforge.resume(tmp_path / "run", overrides=["budget.generations=3"])
    ledger = Ledger(tmp_path / "run" / "ledger.sqlite", read_only=True)
    rows = ledger.trainings()
    ledger.close()
    assert {row.part for row in rows if row.stage == "validation"} == {"test"}
    assert not [row for row in rows if row.stage.startswith("sweep")]
