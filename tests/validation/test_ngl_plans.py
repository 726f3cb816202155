"""The Next Generation Loss's plans: what they compare, and that the paper's table ends up beside what they found."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import ROOT

import lossforge
from lossforge.spaces.load import load_space
from lossforge.spaces.plan_schema import ContenderSection, Plan
from lossforge.spaces.plans import find_plan, load_plan, study_space
from lossforge.spaces.shipped import find_space
from lossforge.validation.plans import studies_of
from lossforge.validation.published import NGL

PLANS = ("ngl", "ngl_fast")


@pytest.fixture(params=PLANS)
def plan(request: pytest.FixtureRequest) -> Plan:
    return load_plan(find_plan(request.param))


def test_every_study_belongs_to_a_set_of_the_papers_table(plan: Plan) -> None:
    parts = [study.name.partition("-") for study in plan.study]
    assert {data for data, _, _ in parts} <= set(NGL.sets)
    networks = {network for _, _, network in parts}
    assert len(networks) == 2
    assert len(parts) == 2 * len({data for data, _, _ in parts})
    assert (plan.published, plan.seeds, plan.looks) == ("ngl", 5, False)


def test_every_loss_of_the_papers_table_is_compared_in_every_study(plan: Plan) -> None:
    for study in studies_of(plan):
        names = [one.name for one in [*study.losses, *study.rivals]]
        assert set(names) >= {"ngl", "ngl_sigmoid", "cross_entropy", *NGL.changes}
        decay = {one.name: one.space.recipe.weight_decay for one in study.rivals}
        assert decay["CE + L2"] > 0 == decay["cross_entropy"]


def test_the_whole_plan_has_all_sets_with_both_networks_at_the_published_rate() -> None:
    plan = load_plan(find_plan("ngl"))
    assert len(plan.study) == 14
    assert {study.name.partition("-")[0] for study in plan.study} == set(NGL.sets)
    for study in plan.study:
        space = study_space(plan, study)
        assert (space.recipe.learning_rate, space.recipe.schedule, space.recipe.optimizer) == (0.001, "plateau", "adam")
        assert space.task[0].model in ("inception_v3_ngl", "resnet50_ngl")
    assert any(isinstance(one, ContenderSection) for one in plan.rivals.named)
    tuned = load_plan(find_plan("ngl"), ["recipe.learning_rate=sweep"])
    assert all(one.fixed_rate is None for one in studies_of(tuned)[0].rivals)


@pytest.mark.parametrize(
    ("overrides", "tasks"),
    [
        ([], ["cifar10", "cifar100", "fashion_mnist"]),
        (["fitness.aggregate=worst"], ["cifar10", "cifar100", "fashion_mnist"]),
        (["fitness.measure=errors"], ["cifar10", "cifar100", "fashion_mnist"]),
        (["fitness.measure=likelihood"], ["cifar10", "cifar100", "fashion_mnist"]),
        (["task.cifar10=null", "task.fashion_mnist=null"], ["cifar100"]),
    ],
)
def test_the_five_searches_that_the_space_tells_of_can_be_asked_for(overrides: list[str], tasks: list[str]) -> None:
    text = find_space("ngl").read_text(encoding="utf-8")
    assert all(f"--set {one}" in text for one in overrides)
    assert [task.title for task in load_space(find_space("ngl"), overrides).task] == tasks


def small(*, data: dict[str, str], networks: tuple[str, str], **task: int) -> list[str]:
    """Overrides that make the plan in small a matter of seconds, on CIFAR-10 alone."""
    studies = {"cifar10-inception_small": networks[0], "cifar10-resnet20": networks[1]}
    others = [study.name for study in load_plan(find_plan("ngl_fast")).study if study.name not in studies]
    changes = [f"study.{name}=null" for name in others]
    for name, model in studies.items():
        for key, value in {**data, "model": model, "train": str(task["train"])}.items():
            changes.append(f"study.{name}.task.{key}={value}")
    kept = {"validation": 100, "test": task["test"], "width": task["width"]}
    changes += [f"task.{key}={value}" for key, value in kept.items()]
    recipe = {"precision": "float32", "epochs": 1, "batch_size": 32, "learning_rate": 0.005}
    return changes + [f"recipe.{key}={value}" for key, value in recipe.items()]


def published(folder: Path) -> list[dict[str, Any]]:
    with (folder / "published.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_run_of_the_plan_ends_with_the_papers_table_beside_it(tmp_path: Path) -> None:
    changes = small(data={"data": "digits"}, networks=("small_cnn", "mlp"), train=100, test=100, width=2)
    changes += ["task.augmentation.crop=0", "seeds=2"]
    rows = lossforge.compare(["y_pred - 2 * y_true * y_pred"], plan="ngl_fast", output=tmp_path, overrides=changes)
    assert {row.study for row in rows} == {"cifar10-inception_small", "cifar10-resnet20"}
    here = [row for row in published(tmp_path) if row["origin"] == "here"]
    assert {row["data"] for row in here} == {"cifar10"}
    assert [row["loss"] for row in here] == [
        *("CE", "SCE", "Focal", "CE+L2", "NGL", "NGL sigm.", "label smoothing", "ours 1")
    ]
    gains = [row.gain for row in rows if row.loss == "ngl" and row.rival == "cross_entropy"]
    (ngl,) = [row for row in here if row["loss"] == "NGL"]
    assert float(ngl["change"]) == pytest.approx(sum(gains) / 2)
    text = (tmp_path / "published.txt").read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 80
    assert r"\toprule" in (tmp_path / "published.tex").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.shared_data
def test_the_plan_in_small_on_real_images(tmp_path: Path) -> None:
    shared = ROOT.parent / "shared" / "data"
    if not (shared / "unpack.py").is_file():
        pytest.skip("the shared data are not there")
    unpack = [sys.executable, str(shared / "unpack.py"), str(tmp_path), "cifar10"]
    subprocess.run(unpack, check=True, capture_output=True)
    place = {"data": f"npz:{tmp_path / 'cifar10.npz'}"}
    changes = small(data=place, networks=("resnet8", "small_cnn"), train=300, test=300, width=2)
    rows = lossforge.compare(plan="ngl_fast", output=tmp_path / "out", overrides=changes)
    assert len(rows) == 2 * 2 * 5
    assert {row.seeds for row in rows} == {5}
    here = [row for row in published(tmp_path / "out") if row["origin"] == "here"]
    assert len(here) == 7
    assert all(5 < float(row["accuracy"]) < 60 for row in here)


def test_a_plan_without_a_study_on_the_papers_sets_says_so(tmp_path: Path) -> None:
    changes = small(data={"data": "digits"}, networks=("small_cnn", "mlp"), train=100, test=100, width=2)
    renamed = [*changes, "study.cifar10-inception_small=null", "study.0.name=digits"]
    with pytest.raises(lossforge.errors.SpaceError, match="call them SET-NETWORK, with SET one of malaria"):
        lossforge.compare(plan="ngl_fast", output=tmp_path / "out", overrides=renamed)
    assert not (tmp_path / "out").exists()
