"""Linear-probe transfer: whose features, of what, and how good a classifier on them is."""

from __future__ import annotations

from dataclasses import replace

import numpy
import pytest
import torch
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lossforge.data.splits import Part
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.models.output_layer import output_layer
from lossforge.models.registry import build_model
from lossforge.spaces.schema import RecipeSection
from lossforge.training.plan import Plan, Replica
from lossforge.training.probe import Probe, features, probe_accuracy
from lossforge.training.train import _Run, train_cohort

SHAPE = (1, 8, 8)


def images(samples: int, seed: int, classes: int = 3) -> Part:
    """Noise in which a class has a bright row."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (samples,), generator=generator)
    x = torch.rand(samples, *SHAPE, generator=generator)
    x[torch.arange(samples), 0, 2 * y] += 0.4
    return Part(x, y)


def plan_of(name: str, backend: str) -> Plan:
    part = images(96, 0)
    return Plan(
        train=part,
        score=images(40, 1),
        classes=3,
        recipe=RecipeSection(batch_size=32, backend=backend, stop_at=0.0),  # type: ignore[arg-type]
        epochs=4,
        label_noise=0.0,
        build=lambda seed: build_model(name, SHAPE, 3, 4, seed),
        test=True,
        probe=Probe(images(80, 2, classes=4), images(50, 3, classes=4), lambda x: x),
    )


REPLICAS = [Replica(LossSpec(CROSS_ENTROPY), seed, 0.01) for seed in (1, 2)]
CASES = [
    *(("small_cnn", backend) for backend in ("layers", "grouped", "vmap")),
    *(("resnet8", backend) for backend in ("vmap", "loop")),
    ("mlp", "loop"),
]


@pytest.mark.parametrize(("name", "backend"), CASES)
def test_a_cohorts_probes_are_those_of_its_networks_one_by_one(name: str, backend: str) -> None:
    plan = plan_of(name, backend)
    assert plan.probe is not None
    found = train_cohort(plan, REPLICAS)
    run = _Run.begin(plan, REPLICAS, 0, range(2))
    run.advance(plan.steps)
    for lane, score in enumerate(found):
        model = plan.build(0)
        model.load_state_dict(run.cohort.state_of(lane))
        body = torch.nn.Sequential(*list(model.eval().children())[:-1])
        with torch.no_grad():
            fitted, scored = (body(part.x).double().numpy() for part in (plan.probe.train, plan.probe.test))
        classifier = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=numpy.logspace(-2, 6, 17)))
        classifier.fit(fitted, plan.probe.train.y.numpy())
        expected = classifier.score(scored, plan.probe.test.y.numpy())
        assert score.metrics["linear_probe"] == pytest.approx(expected, abs=0.021)  # one sample of 50
        assert score.metrics["linear_probe"] > 0.3
    assert [one.metrics for one in train_cohort(plan, REPLICAS)] == [one.metrics for one in found]


@pytest.mark.parametrize("name", ["small_cnn", "resnet8", "mlp"])
def test_features_are_what_the_last_layer_makes_logits_of(name: str) -> None:
    plan = plan_of(name, "rule")
    run = _Run.begin(plan, REPLICAS, 0, range(2))
    run.advance(plan.steps)
    model = plan.build(7)
    layer, x = output_layer(model, SHAPE), plan.score.x
    with torch.no_grad():
        logits = run.cohort.logits(x[None], training=False)
        for lane in range(2):
            state = run.cohort.state_of(lane)
            found = features(model, layer, state, x)
            made = found @ state[f"{layer}.weight"].T + state[f"{layer}.bias"]
            torch.testing.assert_close(made, logits[lane], rtol=1e-4, atol=1e-4)


def test_a_probe_changes_nothing_else_and_is_not_there_unless_asked_for() -> None:
    plan = plan_of("small_cnn", "rule")
    with_probe, without = train_cohort(plan, REPLICAS), train_cohort(replace(plan, probe=None), REPLICAS)
    for one, other in zip(with_probe, without, strict=True):
        assert one.metrics.keys() - other.metrics.keys() == {"linear_probe"}
        assert {**one.metrics, "linear_probe": 0} == {**other.metrics, "linear_probe": 0}
        assert one.accuracy == other.accuracy


def clouds(samples: int, seed: int, classes: int = 5) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Points about the middle of their class, 12 numbers each."""
    generator = numpy.random.Generator(numpy.random.PCG64(seed))
    y = generator.integers(classes, size=samples)
    middles = numpy.random.Generator(numpy.random.PCG64(99)).normal(size=(classes, 12))
    return middles[y] + generator.normal(size=(samples, 12)), y


def test_it_is_about_as_good_as_logistic_regression() -> None:
    (x, y), (x_test, y_test) = clouds(400, 1), clouds(400, 2)
    logistic = LogisticRegression(max_iter=1000).fit(x, y).score(x_test, y_test)
    assert probe_accuracy(x, y, x_test, y_test) == pytest.approx(logistic, abs=0.04)


def test_the_size_of_a_feature_does_not_matter() -> None:
    (x, y), (x_test, y_test) = clouds(200, 1), clouds(200, 2)
    sizes = numpy.logspace(-6, 6, 12)
    expected = probe_accuracy(x, y, x_test, y_test)
    assert probe_accuracy(x * sizes + 3, y, x_test * sizes + 3, y_test) == pytest.approx(expected, abs=0.006)


def test_dead_features_tell_nothing() -> None:
    (x, y), (x_test, y_test) = clouds(200, 1), clouds(200, 2)
    commonest = numpy.bincount(y).argmax()
    dead = numpy.full_like(x, 0.3)
    assert probe_accuracy(dead, y, dead, y_test) == (y_test == commonest).mean()
    assert probe_accuracy(x, numpy.zeros_like(y), x_test, y_test) == (y_test == 0).mean()
    half = numpy.concatenate([x, dead], 1)
    assert probe_accuracy(half, y, numpy.concatenate([x_test, dead], 1), y_test) == probe_accuracy(x, y, x_test, y_test)


def test_features_that_are_not_finite_have_no_score() -> None:
    plan = plan_of("mlp", "loop")
    assert plan.probe is not None
    model = plan.build(0)
    state = {name: torch.full_like(value, float("nan")) for name, value in model.state_dict().items()}
    assert plan.probe.accuracy(model, output_layer(plan.build(0), SHAPE), state) is None
