"""Searches behind other heads, as a user starts them: several labels a sample, and one logit of two classes."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy
import pytest
import torch
from tests.conftest import ROOT, SMOKE
from tests.helpers.cohorts import request_of

import lossforge
from lossforge.errors import LossError, LossforgeError, SpaceError
from lossforge.evaluation.evaluate import evaluate
from lossforge.evaluation.feasibility import check_fit
from lossforge.evaluation.records import Outcome
from lossforge.losses.heads import HEADS
from lossforge.spaces.load import load_space
from lossforge.spaces.schema import RecipeSection, TaskSection
from lossforge.store.ledger import Ledger
from lossforge.store.run_folder import RunFolder

KEYS = (
    "task.model=mlp",
    "task.width=1",
    "task.normalize=true",
    "task.train=300",
    "task.validation=120",
    "task.test=180",
    "recipe.epochs=2",
    "recipe.batch_size=20",
    "recipe.learning_rate=0.03",
    "evolution.population=6",
    "budget.generations=2",
    "validation.after_search=false",
    "validation.top=1",
    "validation.seeds=2",
    "validation.epochs=2",
    "validation.learning_rates=[0.03]",
    "validation.second_optimizer=none",
    "validation.best_known=0",
)
SIGMOID = HEADS["sigmoid"].cross_entropy_formula


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 samples with four labels of shares from a half to a twelfth, which follow from the features."""
    rng = numpy.random.default_rng(0)
    x = rng.normal(size=(600, 8)).astype(numpy.float32)
    scores = x @ rng.normal(size=(8, 4)) + 0.5 * rng.normal(size=(600, 4))
    cuts = [numpy.quantile(scores[:, label], 1 - share) for label, share in enumerate((0.5, 0.3, 0.15, 0.08))]
    path = tmp_path_factory.mktemp("data") / "many.npz"
    numpy.savez(path, x=x, y=(scores > cuts).astype(numpy.uint8))
    return path


def search(run: Path, data: str, head: str, *further: str, workers: int = 1) -> lossforge.Run:
    keys = [f"task.data='{data}'", f"task.head={head}", "task.label_noise=0", *KEYS, *further]
    return lossforge.search(SMOKE, run=run, seed=1, workers=workers, overrides=keys)


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("exported", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_search_over_several_labels_resumes_validates_and_exports(many: Path, tmp_path: Path) -> None:
    data = f"npz:{many}"
    whole = search(tmp_path / "whole", data, "sigmoid", "task.label_noise=0.1")
    table = (tmp_path / "whole" / "hall_of_fame.csv").read_bytes()
    best = whole.hall_of_fame[0]
    assert best.metric == "mean_average_precision"
    assert best.control > 0.5  # far above the labels' mean share
    space = RunFolder.open(tmp_path / "whole").space()
    assert space.expression.seeds == [SIGMOID]
    # Cut after one generation, gone on with by two workers: the same bytes.
    search(tmp_path / "cut", data, "sigmoid", "task.label_noise=0.1", "budget.generations=1")
    lossforge.resume(tmp_path / "cut", workers=2, overrides=["budget.generations=2"])
    assert (tmp_path / "cut" / "hall_of_fame.csv").read_bytes() == table

    ledger = Ledger(RunFolder.open(tmp_path / "whole").ledger_file, read_only=True)
    control = next(row for row in ledger.trainings() if row.stage == "control")
    ledger.close()
    assert control.formula == SIGMOID
    figures = json.loads(control.metrics)
    assert figures["mean_average_precision"] == control.accuracy
    assert {"f1_micro", "f1_macro", "subset_accuracy", "negative_log_likelihood"} <= set(figures)
    assert len(figures["label_average_precision"]) == 4

    rows = lossforge.validate(tmp_path / "whole", rivals=["focal(gamma=2)"])
    assert [row.rival for row in rows] == ["cross_entropy", "label_smoothing", "ngl", "focal(gamma=2)"]
    assert all(row.classes == 4 and row.metric == "mean_average_precision" for row in rows)
    with pytest.raises(LossError, match=r"--rivals: loss 'dice' cannot have the head 'sigmoid' here: it counts"):
        lossforge.validate(tmp_path / "whole", rivals=["dice"])

    criterion = loaded(whole.export(tmp_path / "losses.py")).Discovered1()
    trained = lossforge.loss(rows[0].formula, head="sigmoid", match=4)
    z, labels = torch.randn(7, 4), torch.randint(2, (7, 4))
    torch.testing.assert_close(criterion(z, labels), trained(z, labels))
    told = " ".join((criterion.__doc__ or "").split())
    assert "head: sigmoid, a logit of its own for each label" in told
    assert "label noise: 10% of the training labels replaced for every seed" in told


@pytest.mark.shared_data
def test_a_search_behind_one_logit(tmp_path: Path) -> None:
    pima = ROOT.parent / "shared" / "data" / "pima.csv"
    if not pima.exists():
        pytest.skip("the shared data are not there")
    run = search(tmp_path / "run", f"csv:{pima}", "binary", "budget.generations=1")
    best = run.hall_of_fame[0]
    assert best.metric == "accuracy"
    assert best.control > 0.68  # two thirds of the samples are of one class
    table = (tmp_path / "run" / "hall_of_fame.csv").read_bytes()
    (tmp_path / "run" / "hall_of_fame.csv").unlink()
    lossforge.resume(tmp_path / "run")
    assert (tmp_path / "run" / "hall_of_fame.csv").read_bytes() == table
    rows = lossforge.validate(tmp_path / "run", rivals=["dice"])
    assert rows[0].classes == 2
    criterion = loaded(run.export(tmp_path / "losses.py")).Discovered1()
    trained = lossforge.loss(rows[0].formula, head="binary", match=2)
    z, target = torch.randn(9, 1), torch.randint(2, (9,))
    torch.testing.assert_close(criterion(z, target), trained(z, target))


def recipe(**keys: Any) -> RecipeSection:
    return RecipeSection(**{"epochs": 4, "batch_size": 20, **keys})


def task_of(many: Path, **keys: Any) -> TaskSection:
    return TaskSection(
        **{"data": f"npz:{many}", "head": "sigmoid", "model": "mlp", "width": 2, "normalize": True, **keys}
    )


@pytest.mark.parametrize("formula", [SIGMOID, "(y_true - y_pred)**2", "bce()"])
def test_every_lane_trains_on_its_own_labels(many: Path, formula: str) -> None:
    task = task_of(many, label_noise=0.3)
    together = evaluate(
        request_of(task, recipe(), epochs=4, seeds=(1, 2, 3), formula=formula, learning_rate=0.03), "cpu"
    )
    assert set(together.outcomes) == {Outcome.TRAINED}
    assert len(set(together.accuracies)) == 3
    clean = evaluate(
        request_of(task_of(many), recipe(), epochs=4, seeds=(1, 2, 3), formula=formula, learning_rate=0.03), "cpu"
    )
    for noisy, plain in zip(together.accuracies, clean.accuracies, strict=True):
        assert noisy is not None
        assert plain is not None
        assert 0.45 < noisy < plain
    assert math.isclose(
        clean.metrics[0]["curve"][-1], min(clean.metrics[0]["curve"]), rel_tol=0.2
    )  # the loss falls, scaled or not


def test_a_cohort_of_one_logit_is_one_of_two_logits_in_what_it_learns(tmp_path: Path) -> None:
    rng = numpy.random.default_rng(1)
    x = rng.normal(size=(600, 6)).astype(numpy.float32)
    numpy.savez(tmp_path / "two.npz", x=x, y=(x @ rng.normal(size=6) > 0.3).astype(int))
    found = {}
    for head in ("binary", "softmax"):
        task = task_of(tmp_path / "two.npz", head=head)
        result = evaluate(request_of(task, recipe(), epochs=8, seeds=(1, 2), formula="(y_true - y_pred)**2"), "cpu")
        found[head] = result.accuracies[0] or 0
        assert result.metrics[0]["confusion_matrix"] is not None
    assert found["binary"] > 0.9
    assert abs(found["binary"] - found["softmax"]) < 0.05


@pytest.mark.parametrize("head", ["sigmoid", "binary"])
def test_pixels_train_behind_every_head(head: str, tmp_path: Path) -> None:
    rng = numpy.random.default_rng(2)
    x = rng.integers(0, 100, (40, 16, 16, 1)).astype(numpy.uint8)
    masks = numpy.zeros((40, 16, 16), numpy.uint8)
    for place, (row, column) in enumerate(rng.integers(0, 10, (40, 2))):
        masks[place, row : row + 6, column : column + 6] = 255
    numpy.savez(tmp_path / "masks.npz", x_train=x + (masks // 2)[..., None], m_train=masks)
    task = TaskSection(data=f"masks:{tmp_path / 'masks.npz'}", head=head, model="unet", width=1)
    for formula in (HEADS[head].cross_entropy_formula, "(y_true - y_pred)**2", "dice(e=1.0)"):
        result = evaluate(request_of(task, recipe(batch_size=4), epochs=12, seeds=(1,), formula=formula), "cpu")
        assert result.outcomes == (Outcome.TRAINED,), result.reasons
        assert (result.accuracies[0] or 0) > 0.4


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (
            "validation.rivals=['cross_entropy','dice']",
            SpaceError,
            "rivals: loss 'dice' cannot have the head 'sigmoid' here",
        ),
        ("task.metric=accuracy", LossforgeError, "accuracy is for one class a sample"),
        ("task.head=binary", LossforgeError, "several labels for a sample, or none"),
        ("task.head=softmax", LossforgeError, 'to train all of them, set task.head = "sigmoid"'),
        ("task.head=sigmod", SpaceError, "did you mean 'sigmoid'"),
    ],
)
def test_what_does_not_fit_a_table_of_labels_is_one_sentence(
    change: str, error: type[Exception], told: str, many: Path, tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        search(tmp_path / "run", f"npz:{many}", "sigmoid", change)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_parts_without_a_label_are_refused(tmp_path: Path) -> None:
    rng = numpy.random.default_rng(3)
    y = (rng.random((600, 3)) < 0.4).astype(int)
    y[:, 2] = 0
    y[[5, 77], 2] = 1
    numpy.savez(tmp_path / "rare.npz", x=rng.normal(size=(600, 4)), y=y)
    told = "no training sample has label '2', so nothing about it can be learned; make train larger, or leave it out"
    with pytest.raises(LossforgeError, match=f"task.train: 'npz:.*rare.npz': {told}"):
        check_fit(task_of(tmp_path / "rare.npz", train=20, validation=300, test=280))
    y[:] = 0
    y[1:5] = 1
    numpy.savez(tmp_path / "none.npz", x=rng.normal(size=(600, 4)), y=y)
    with pytest.raises(LossforgeError, match=r"task\.validation: no sample of the validation part of .* has a label"):
        check_fit(task_of(tmp_path / "none.npz", train=500, validation=10, test=90))


def test_an_own_training_is_given_a_criterion_behind_its_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_head.py").write_text(
        "import torch\n"
        "def train(criterion, seed, device):\n"
        "    generator = torch.Generator().manual_seed(seed)\n"
        "    x = torch.randn(200, 5, generator=generator)\n"
        "    y = (x @ torch.tensor([[1.0, -1, 0, 2, 0], [0, 1, 1, 0, -1], [1, 1, 1, 1, 1]]).T > 0.3)\n"
        "    net = torch.nn.Linear(5, 3)\n"
        "    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)\n"
        "    for _ in range(60):\n"
        "        optimizer.zero_grad()\n"
        "        criterion(net(x), y).backward()\n"
        "        optimizer.step()\n"
        "    return float(((net(x) > 0) == y).float().mean())\n",
        encoding="utf-8",
    )
    task = TaskSection(python="own_head:train", classes=3, head="sigmoid")
    good, bad = (
        evaluate(request_of(task, RecipeSection(), formula=formula), "cpu").accuracies[0]
        for formula in (SIGMOID, "(2 * y_true - 1) * y_pred")
    )
    assert good is not None
    assert bad is not None
    assert good > 0.9
    assert bad < 0.3


def test_the_shipped_spaces_have_a_softmax_but_for_the_table_of_two_classes() -> None:
    heads = {path.stem: load_space(path).head for path in sorted((ROOT / "search_spaces").glob("*.toml"))}
    assert heads.pop("fusion_pima") == "binary"
    assert set(heads.values()) == {"softmax"}
