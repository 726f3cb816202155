"""Captured steps: replays train as the steps themselves do, whichever cohort they stand for.

Without a GPU a capture is played in two ways. A tape records each of torch's operations with the very tensors and
numbers that it had, and repeats them, as a CUDA graph does: what is no tensor stays what it was. It cannot record the
interpreter of losses, which on a CPU is no operation of torch's; for that the step itself is called again.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lossforge.data.datasets import load_task
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.models.registry import build_model
from lossforge.spaces.schema import RecipeSection, TaskSection
from lossforge.training import captured, train
from lossforge.training.plan import Plan, Replica, ReplicaScore
from lossforge.training.train import train_cohort

TASK = TaskSection(data="digits", train=320, validation=200, width=4, label_noise=0.2)
Captured = tuple[Callable[[], object], Tensor]


class Tape(TorchDispatchMode):
    """Records operations, and repeats them on the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Any]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, tree_leaves(result)))
        return result

    def replay(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, before in self.operations:
                for old, new in zip(before, tree_leaves(func(*args, **kwargs)), strict=True):
                    if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


def taped(step: Callable[[], Tensor]) -> Captured:
    step()
    with Tape() as tape:
        logits = step()
    return tape.replay, logits


def called_again(step: Callable[[], Tensor]) -> Captured:
    logits = step().clone()
    return lambda: logits.copy_(step()), logits


@pytest.fixture(autouse=True)
def _nothing_is_known_yet() -> Iterator[None]:
    captured._captured.clear()
    yield
    captured._captured.clear()


def plan(model: str = "mlp", **recipe: Any) -> Plan:
    data = load_task(TASK, "cpu")
    return Plan(
        train=data.train,
        score=data.validation,
        classes=data.classes,
        # What our own kernels do on a CPU, a tape of torch does not see.
        recipe=RecipeSection(batch_size=32, stop_at=0.0, **{"backend": "vmap", **recipe}),
        epochs=3,
        label_noise=TASK.label_noise,
        build=lambda seed: build_model(model, data.shape, data.classes, TASK.width, seed),
        identity=f"{model} {recipe}",
    )


def cohort(*formulas: str, seed: int = 0, rates: tuple[float, ...] = (0.01,)) -> list[Replica]:
    specs = [LossSpec(formula, class_mean=place == 1) for place, formula in enumerate(formulas)]
    return [Replica(spec, seed + place // 2, rates[place % len(rates)]) for place, spec in enumerate(specs)]


def trained(of: Plan, replicas: list[Replica], capture: Callable[..., Captured] | None) -> list[ReplicaScore]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "stepping", partial(captured.stepping, capture=capture))
        return train_cohort(of, replicas)


def same(found: list[ReplicaScore], wanted: list[ReplicaScore], share: float = 1e-3) -> None:
    for mine, other in zip(found, wanted, strict=True):
        assert (mine.accuracy is None) == (other.accuracy is None)
        assert mine.metrics["curve"] == pytest.approx(other.metrics["curve"], rel=share)
        assert mine.metrics["negative_log_likelihood"] == pytest.approx(
            other.metrics["negative_log_likelihood"], rel=share
        )
        assert mine.accuracy == pytest.approx(other.accuracy, abs=max(0.011, 3 * share))


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": "adam"},
        {"optimizer": "adamw", "weight_decay": 0.05, "schedule": "cosine"},
        {"optimizer": "sgd", "weight_decay": 0.01, "clip_norm": 0.5},
        {"optimizer": "muon", "weight_decay": 0.01},
        {"optimizer": "adam", "schedule": "constant", "precision": "bfloat16"},
        {"optimizer": "adam", "precision": "float16"},
    ],
)
def test_what_is_recorded_once_trains_every_step_of_every_cohort(recipe: dict[str, Any]) -> None:
    of = plan(match_gradient=False, **recipe)
    for replicas in (
        cohort(CROSS_ENTROPY, CROSS_ENTROPY, CROSS_ENTROPY, rates=(0.01, 0.002, 0.03)),
        cohort(CROSS_ENTROPY, CROSS_ENTROPY, CROSS_ENTROPY, rates=(0.004, 0.01, 0.001), seed=9),
    ):
        replicas = [replace(one, loss=LossSpec(CROSS_ENTROPY)) for one in replicas]
        # A step that is not captured rounds Adam's otherwise, and float16 makes more of it.
        share = 1e-2 if recipe.get("precision") == "float16" else 1e-3
        same(trained(of, replicas, taped), trained(of, replicas, None), share)
    assert len(captured._captured) == 1
    assert None not in captured._captured.values()


@pytest.mark.parametrize("model", ["mlp", "small_cnn"])
def test_losses_are_data_one_capture_serves_them_all(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    captures = []

    def counted(step: Callable[[], Tensor]) -> Captured:
        captures.append(step)
        return called_again(step)

    of = plan(model)
    for replicas in (
        cohort("(y_true - y_pred)**2", "exp(y_pred) - y_true * log(y_pred)", CROSS_ENTROPY, "sin(max(y_pred, y_true))"),
        cohort(CROSS_ENTROPY, CROSS_ENTROPY, "abs(y_true - y_pred)", "tanh(y_pred - y_true)**2", seed=5),
    ):
        same(trained(of, replicas, counted), trained(of, replicas, None))
    assert len(captures) == 1


@pytest.mark.parametrize("seeds", [((0, 0, 1, 1), (5, 6, 6, 6)), ((0, 1, 1, 1), (5, 5, 5, 6))])
def test_lanes_meet_their_own_seed_s_samples_however_seeds_are_shared_out(seeds: tuple[tuple[int, ...], ...]) -> None:
    of = plan("mlp")
    for some in seeds:
        replicas = [
            replace(one, seed=seed) for one, seed in zip(cohort(*["(y_true - y_pred)**2"] * 4), some, strict=True)
        ]
        same(trained(of, replicas, called_again), trained(of, replicas, None))


def test_an_attempt_draws_no_random_number_of_the_run_s() -> None:
    def drawing(step: Callable[[], Tensor]) -> Captured:
        torch.rand(3)
        raise RuntimeError("no")

    torch.manual_seed(3)
    of, replicas = plan(), cohort(CROSS_ENTROPY, "(y_true - y_pred)**2")
    states = []
    for capture in (None, drawing):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trained(of, replicas, capture)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_heats_take_turns_in_one_captured_step() -> None:
    of = replace(plan("mlp"), recipe=RecipeSection(batch_size=32, stop_at=0.4, stop_below=0.5, heats=2, cohort=2))
    replicas = [replace(one, floor=0.3) for one in cohort("(y_true - y_pred)**2", "y_pred - y_true", seed=1)]
    replicas += [replace(one, floor=0.3) for one in cohort("-y_pred * y_true", "y_pred * (0.001 - y_true)", seed=1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "stepping", partial(captured.stepping, capture=called_again))
        found = train_cohort(of, replicas, lanes=2)
    wanted = train_cohort(of, replicas, lanes=2)
    assert [one.stopped for one in found] == [one.stopped for one in wanted]
    assert [one.accuracy for one in found] == pytest.approx([one.accuracy for one in wanted], abs=0.011)


def test_what_cannot_be_captured_is_told_once_and_trains_as_ever() -> None:
    def refused(step: Callable[[], Tensor]) -> Captured:
        raise RuntimeError("operation not permitted when stream is capturing\nmore of it")

    of, replicas = plan(), cohort(CROSS_ENTROPY, "(y_true - y_pred)**2")
    with pytest.warns(UserWarning, match="not captured.*operation not permitted when stream is capturing$"):
        first = trained(of, replicas, refused)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert trained(of, replicas, refused) == first == trained(of, replicas, None)


def test_a_capture_that_computes_something_else_is_not_used() -> None:
    def wrong(step: Callable[[], Tensor]) -> Captured:
        logits = step().clone()
        return lambda: [step(), step()], logits

    of, replicas = plan(), cohort(CROSS_ENTROPY, "(y_true - y_pred)**2")
    with pytest.warns(UserWarning, match="a replay differs from the step itself"):
        assert trained(of, replicas, wrong) == trained(of, replicas, None)


def test_terms_and_short_trainings_are_not_captured() -> None:
    def never(step: Callable[[], Tensor]) -> Captured:
        raise AssertionError("captured")

    trained(plan(), cohort("dice(e=1.0)", CROSS_ENTROPY), never)
    trained(replace(plan(), epochs=1), cohort(CROSS_ENTROPY), never)
    trained(replace(plan(), identity=""), cohort(CROSS_ENTROPY), never)


@pytest.mark.gpu
@pytest.mark.parametrize("model", ["small_cnn", "mlp", "resnet8"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_on_a_gpu_replays_train_as_launches_do(model: str, precision: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    data = load_task(TASK, "cuda")
    of = replace(plan(model, precision=precision), train=data.train, score=data.validation)
    for seed in (0, 7):
        replicas = cohort("(y_true - y_pred)**2", CROSS_ENTROPY, "exp(y_pred) - y_true * log(y_pred)", seed=seed)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(captured, "_known", lambda *arguments: None)
            launched = train_cohort(of, replicas)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            replayed = train_cohort(of, replicas)
        for one, other in zip(replayed, launched, strict=True):
            assert one.accuracy == pytest.approx(other.accuracy, abs=0.05)
    assert len(captured._captured) == 1
    assert None not in captured._captured.values()
