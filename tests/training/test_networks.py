"""Every named network trains in a cohort, on every kind of sample that it takes."""

from __future__ import annotations

import pytest
import torch

from lossforge.data.splits import Part
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.models.registry import MODELS, build_model
from lossforge.spaces.schema import RecipeSection
from lossforge.training import backends
from lossforge.training.cohort import Cohort
from lossforge.training.plan import Plan, Replica
from lossforge.training.train import train_cohort

KINDS = {"grey": (1, 28, 28), "colour": (3, 32, 32), "large": (3, 80, 80), "tabular": (30, 1, 1)}
SLOW = {"resnet50", "resnet18", "inception_v3", "vgg16", "inception_v3_ngl", "resnet50_ngl"}
CLASSES = 3


def plan(name: str, shape: tuple[int, int, int], samples: int = 4, width: int = 2, epochs: int = 1) -> Plan:
    model = MODELS[name]
    generator = torch.Generator().manual_seed(0)
    labels = (samples, *shape[1:]) if model.dense else (samples,)
    part = Part(torch.rand(samples, *shape, generator=generator), torch.randint(CLASSES, labels, generator=generator))
    return Plan(
        train=part,
        score=part,
        classes=CLASSES,
        recipe=RecipeSection(optimizer="sgd", batch_size=samples),
        epochs=epochs,
        label_noise=0.0,
        build=lambda seed: build_model(name, shape, CLASSES, width if model.scales else 16, seed, dense=model.dense),
    )


def cases() -> list[object]:
    found = []
    for model in MODELS.values():
        for kind, shape in KINDS.items():
            takes = min(shape[1:]) >= model.smallest
            if takes and (kind != "large" or model.smallest > 32):
                marks = [pytest.mark.slow] if model.name in SLOW else []
                found.append(pytest.param(model.name, shape, id=f"{model.name}-{kind}", marks=marks))
    return found


@pytest.mark.parametrize(("name", "shape"), cases())
def test_every_network_trains_in_a_cohort(
    name: str, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "HEAVY", float("inf"))  # vmap, wherever it can
    cohorts = []
    setting_up = Cohort.__init__

    def kept(self: Cohort, plan: Plan, replicas: list[Replica]) -> None:
        setting_up(self, plan, replicas)
        cohorts.append((self, [value.detach().clone() for value in self.params]))

    monkeypatch.setattr(Cohort, "__init__", kept)
    scores = train_cohort(plan(name, shape), [Replica(LossSpec(CROSS_ENTROPY), seed, 0.01) for seed in (0, 1)])
    # Inception v3 starts so steep that one step's running statistics are too far off for float32.
    assert all(score.accuracy is not None for score in scores) or name.startswith("inception_v3")
    ((cohort, before),) = cohorts
    assert cohort.backend.name == ("grouped" if name == "small_cnn" else "vmap")
    assert all(bool(value.isfinite().all()) for value in cohort.params)
    moved = [not torch.equal(old, value) for old, value in zip(before, cohort.params, strict=True)]
    # A dead ReLU or a dropped branch may leave a layer where it is, in one step of four samples.
    assert sum(moved) > 0.8 * len(moved)
    means = [value for key, value in cohort.lanes.buffers.items() if key.endswith("running_mean")]
    assert all(bool(mean.flatten(1).any(1).all()) for mean in means)


def test_pixels_are_learned() -> None:
    """A class for every pixel: here, whether it is bright."""
    data = plan("unet", (1, 16, 16), samples=8, width=4, epochs=25)
    bright = (data.train.x[:, 0] > 0.5).long()
    bright_plan = Plan(
        train=Part(data.train.x, bright),
        score=Part(data.train.x, bright),
        classes=2,
        recipe=RecipeSection(batch_size=4),
        epochs=25,
        label_noise=0.0,
        build=lambda seed: build_model("unet", (1, 16, 16), 2, 4, seed, dense=True),
    )
    losses = [LossSpec(CROSS_ENTROPY), LossSpec("(y_true - y_pred)**2")]
    for score in train_cohort(bright_plan, [Replica(loss, seed, 0.01) for seed, loss in enumerate(losses)]):
        assert score.accuracy is not None
        assert score.accuracy > 0.9
