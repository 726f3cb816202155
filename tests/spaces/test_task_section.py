"""The task's keys: what its fitness is measured in, and what goes into a training's identity."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lossforge.spaces.schema import AugmentationSection, SearchSpace, TaskSection
from lossforge.spaces.task_section import as_before_switches, metric_title

CLASSES = ("accuracy", "top5_accuracy", "balanced_accuracy", "precision", "f1")
MASKS = ("mean_iou", "dice", "balanced_accuracy", "accuracy")


def refusal(**keys: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        TaskSection(**keys)
    return str(caught.value)


def test_classes_are_judged_by_accuracy_and_masks_by_mean_iou() -> None:
    assert TaskSection(data="digits").measure == "accuracy"
    assert TaskSection(data="masks:cracks.npz").measure == "mean_iou"


@pytest.mark.parametrize(("data", "fitting"), [("digits", CLASSES), ("masks:a.npz", MASKS)])
def test_every_metric_fits_or_is_refused_with_the_choice(data: str, fitting: tuple[str, ...]) -> None:
    for metric in {*CLASSES, *MASKS, *LABELS}:
        if metric in fitting:
            assert TaskSection(data=data, metric=metric).measure == metric  # type: ignore[arg-type]
        else:
            told = refusal(data=data, metric=metric)
            assert f"metric: '{metric}' does not fit" in told
            assert f"choose {', '.join(fitting)}" in told


LABELS = ("mean_average_precision", "f1_micro", "f1_macro")


def test_labels_are_judged_by_mean_average_precision() -> None:
    labels = TaskSection(data="npz:a.npz", head="sigmoid")
    assert labels.measure == "mean_average_precision"
    assert TaskSection(data="npz:a.npz", head="binary").measure == "accuracy"
    assert TaskSection(data="masks:a.npz", head="sigmoid").measure == "mean_iou"
    for metric in (*LABELS, *CLASSES):
        assert TaskSection(data="npz:a.npz", head="sigmoid", metric=metric).measure == metric  # type: ignore[arg-type]
    for metric in LABELS:
        assert "of several labels a sample: head = 'sigmoid'" in refusal(data="npz:a.npz", metric=metric)
        assert "head" not in refusal(data="masks:a.npz", head="sigmoid", metric=metric).split("choose")[1]


def test_the_head_enters_the_identity_only_where_it_is_another() -> None:
    silent = TaskSection(data="npz:a.npz").identity()
    assert "head" not in silent
    assert TaskSection(data="npz:a.npz", head="softmax").identity() == silent
    assert TaskSection(data="npz:a.npz", head="binary").identity() == {**silent, "head": "binary"}


def test_a_head_is_known_and_fits_the_classes() -> None:
    assert "'softmax', 'sigmoid' or 'binary'" in refusal(data="digits", head="sigmod")
    own = {"python": "mine:train", "head": "binary"}
    assert TaskSection(**own, classes=2).head == "binary"
    assert "head: 'binary' is for two classes, and there are 3; use softmax or sigmoid" in refusal(**own, classes=3)


def test_tasks_of_a_space_have_one_head() -> None:
    tasks = [TaskSection(data="npz:a.npz", head="binary"), TaskSection(data="npz:b.npz", head="binary")]
    assert SearchSpace(name="one", task=tasks).head == "binary"
    with pytest.raises(
        ValidationError, match=r"task: all tasks of a space have one head, .*; give every task the same"
    ):
        SearchSpace(name="two", task=[*tasks, TaskSection(data="digits")])


def test_an_unknown_metric_is_refused() -> None:
    assert "mean_iou" in refusal(data="digits", metric="iou")


def test_noise_of_whole_labels_is_refused_for_masks() -> None:
    assert "label_noise: replaces labels of whole samples" in refusal(data="masks:a.npz", label_noise=0.1)


@pytest.mark.parametrize(("data", "usual", "other"), [("digits", "accuracy", "f1"), ("masks:a", "mean_iou", "dice")])
def test_the_metric_enters_the_identity_only_where_it_is_another(data: str, usual: Any, other: Any) -> None:
    silent = TaskSection(data=data).identity()
    assert "metric" not in silent
    assert TaskSection(data=data, metric=usual).identity() == silent
    assert TaskSection(data=data, metric=other).identity() == {**silent, "metric": other}


def test_a_space_names_each_metric_of_its_tasks_once() -> None:
    tasks = [
        TaskSection(data="digits"),
        TaskSection(data="masks:a.npz"),
        TaskSection(data="masks:b.npz"),
    ]
    space = SearchSpace(name="several", task=tasks)
    assert space.measure == "accuracy+mean_iou"
    assert metric_title(space.measure) == "accuracy and mean IoU"


@pytest.mark.parametrize(
    ("data", "title"),
    [("folder:.", "folder"), ("folder:..", "folder"), ("folder:a/..", "folder"), ("csv:a/b.csv#y", "b")],
)
def test_a_task_has_a_name_whatever_its_path_is(data: str, title: str) -> None:
    assert TaskSection(data=data).title == title


def test_keys_of_image_folders_enter_the_identity_where_they_change_what_is_read() -> None:
    silent = TaskSection(data="folder:pets").identity()
    assert TaskSection(data="folder:pets", skip_broken=True).identity() == {**silent, "skip_broken": True}
    # Folders in a class's folder are refused or read: no two trainings differ by it.
    assert TaskSection(data="folder:pets", nested=True).identity() == silent
    assert TaskSection(**as_before_switches({"data": "folder:pets"})).nested
    with pytest.raises(ValidationError, match="skip_broken: is for data of folder: and masks:"):
        TaskSection(data="csv:pets.csv", skip_broken=True)
    with pytest.raises(ValidationError, match="nested: is for data of folder:"):
        TaskSection(data="masks:pets", nested=True)


def test_noise_enters_the_identity_only_where_it_is_another() -> None:
    silent = TaskSection(data="digits", label_noise=0.2).identity()
    assert not {"noise_kind", "noise_pairs", "noise_file", "noise_key", "imbalance"} & set(silent)
    assert TaskSection(data="digits", label_noise=0.2, noise_kind="symmetric").identity() == silent
    kind: Any = {"noise_kind": "asymmetric", "noise_pairs": {"3": "8"}}
    assert TaskSection(data="digits", label_noise=0.2, **kind).identity() == {
        **silent,
        "noise_kind": "asymmetric",
        "noise_pairs": [["3", "8"]],
    }
    # Where nothing is made wrong it does not matter how.
    assert TaskSection(data="digits", **kind).identity() == TaskSection(data="digits").identity()


def test_pairs_are_a_table_or_a_list_and_come_back_as_they_were() -> None:
    keys: Any = {"data": "digits", "noise_kind": "asymmetric"}
    table = TaskSection(**keys, noise_pairs={"3": "8", "5": "6"})
    assert table == TaskSection(**keys, noise_pairs=[[3, 8], ["5", "6"]])
    assert hash(table) == hash(TaskSection(**table.model_dump(mode="json")))
    assert TaskSection(**keys, noise_pairs="cifar10").noise_pairs == "cifar10"


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"noise_kind": "human"}, "noise_file: noise_kind = 'human' needs the file"),
        ({"noise_kind": "human", "noise_file": "a.pt", "label_noise": 0.1}, "label_noise: .* the file decides"),
        ({"noise_file": "a.pt"}, "noise_file: is for noise_kind = 'human', not 'symmetric'"),
        ({"noise_key": "a", "noise_kind": "instance"}, "noise_key: is for noise_kind = 'human', not 'instance'"),
        ({"noise_pairs": {"a": "b"}}, "noise_pairs: is for noise_kind = 'asymmetric', not 'symmetric'"),
        ({"noise_kind": "asymmetric", "noise_pairs": [["a", "b"], ["a", "c"]]}, "noise_pairs: class 'a'"),
        ({"noise_kind": "asymmetric", "noise_pairs": [["a", "b", "c"]]}, "noise_pairs"),
        ({"data": "masks:a.npz", "noise_kind": "human", "noise_file": "a.pt"}, "noise_kind: is for data with a class"),
        ({"data": "masks:a.npz", "imbalance": 10}, "imbalance: is for data with a class for each sample"),
    ],
)
def test_keys_of_noise_that_do_not_go_together_are_refused(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        TaskSection(**({"data": "digits"} | keys))


def test_keys_of_matched_heads_and_further_scores_enter_the_identity_where_they_are_used() -> None:
    silent = TaskSection(data="csv:a.csv").identity()
    assert TaskSection(data="csv:a.csv", probe_train=20, probe_test=30).identity() == silent
    for key, value in (("output_init", "matched"), ("score_training", True)):
        assert TaskSection(**{"data": "csv:a.csv", key: value}).identity() == {**silent, key: value}
    probed = TaskSection(data="digits", probe="mnist", probe_train=20).identity()
    assert {key: probed[key] for key in probed.keys() - TaskSection(data="digits").identity().keys()} == {
        "probe": "mnist",
        "probe_train": 20,
        "probe_test": 1000,
    }


def test_matched_heads_and_further_scores_are_for_what_has_them() -> None:
    assert "output_init: 'matched' is for one neuron" in refusal(
        data="npz:a.npz", head="sigmoid", output_init="matched"
    )
    assert "probe: is for networks that give a class for each sample" in refusal(data="masks:a", probe="digits")
    assert "score_training: is for data with a class for each sample" in refusal(data="masks:a", score_training=True)
    assert "probe: means nothing beside python" in refusal(python="mine:train", classes=2, probe="digits")


def test_later_augmentations_enter_the_identity_only_where_they_are_used() -> None:
    def identity(**keys: Any) -> Any:
        return TaskSection(data="digits", augmentation=AugmentationSection(**keys)).identity().get("augmentation")

    assert identity() is None
    before = {"crop", "flip", "rotation", "brightness", "contrast", "saturation", "cutout"}
    assert {*identity(flip=True)} == before
    assert {*identity(flip=True, zoom=0.2)} == before | {"zoom"}
    assert {*identity(shift=0.1)} == before | {"shift"}
