"""Labels that people gave, in the forms in which they are published."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from tests.helpers.cohorts import request_of

from lossforge.data.datasets import load_task
from lossforge.data.human_labels import label_file_digest
from lossforge.errors import DataError
from lossforge.evaluation.evaluate import make_plan
from lossforge.spaces.schema import RecipeSection, TaskSection
from lossforge.training.samples import Stream

COUNT = 120
RNG = numpy.random.default_rng(0)
CLEAN = numpy.arange(COUNT) % 3
NOISY = numpy.where(RNG.random(COUNT) < 0.3, (CLEAN + 1) % 3, CLEAN)
WORSE = (CLEAN + 2) % 3


@pytest.fixture
def data(tmp_path: Path) -> str:
    """A set whose samples say which they are, with two that are equal across its parts."""
    x = numpy.repeat(numpy.arange(COUNT, dtype=numpy.float32)[:, None], 4, 1)
    tests = numpy.full((12, 4), -1.0, dtype=numpy.float32)
    tests[:, 0] = numpy.arange(12)
    tests[0] = x[6]
    numpy.savez(tmp_path / "a.npz", x_train=x, y_train=CLEAN, x_test=tests, y_test=numpy.arange(12) % 3)
    return f"npz:{tmp_path / 'a.npz'}"


def held() -> dict[str, Any]:
    return {"clean_label": CLEAN, "aggre_label": NOISY, "worse_label": WORSE}


def saved(folder: Path, form: str, value: Any) -> str:
    path = folder / f"labels.{form}"
    if form == "pt":
        torch.save(value, path)
    elif form == "npz":
        numpy.savez(path, **value)
    else:
        numpy.save(path, value, allow_pickle=True)
    return str(path)


def task_of(data: str, file: str, key: str = "", **keys: Any) -> TaskSection:
    return TaskSection(data=data, noise_kind="human", noise_file=file, noise_key=key, model="mlp", width=1, **keys)


@pytest.mark.parametrize("form", ["pt", "npy", "npz"])
def test_labels_go_with_their_samples_through_parts_and_dropped_duplicates(
    data: str, tmp_path: Path, form: str
) -> None:
    loaded = load_task(task_of(data, saved(tmp_path, form, held()), "aggre_label"), "cpu")
    assert loaded.duplicates is not None
    assert loaded.duplicates.dropped_train + loaded.duplicates.dropped_validation == 1
    for part in (loaded.train, loaded.validation, loaded.pooled(), loaded.train.first(5)):
        place = part.x[:, 0].flatten().long().numpy()
        assert part.given is not None
        assert part.given.tolist() == NOISY[place].tolist()
        assert part.y.tolist() == CLEAN[place].tolist()
    assert loaded.test.given is None
    wrong = float((loaded.train.given != loaded.train.y).double().mean())  # type: ignore[union-attr]
    assert f"(aggre_label): {wrong:.1%} of the training labels differ" in loaded.labels[0]


def test_a_training_sees_them_and_scores_on_the_true_ones(data: str, tmp_path: Path) -> None:
    task = task_of(data, saved(tmp_path, "pt", held()), "worse_label")
    for part in ("validation", "test"):
        plan = make_plan(request_of(task, RecipeSection(batch_size=8), part=part), "cpu")
        labels = Stream.begin(plan, 1).labels
        assert labels is not None
        assert torch.equal(labels, (plan.train.y + 2) % 3)
        place = plan.score.x[:, 0].flatten().long()
        assert torch.equal(plan.score.y, place % 3)


def test_one_plain_array_will_do_and_so_do_names_of_classes(data: str, tmp_path: Path) -> None:
    for value in (NOISY, NOISY.astype(str), torch.from_numpy(NOISY)):
        form = "pt" if isinstance(value, torch.Tensor) else "npy"
        given = load_task(task_of(data, saved(tmp_path, form, value)), "cpu").train.given
        assert given is not None
        assert (
            given.tolist()
            == NOISY[
                load_task(task_of(data, saved(tmp_path, form, value)), "cpu").train.x[:, 0].flatten().long().numpy()
            ].tolist()
        )


def test_the_files_content_and_key_enter_the_identity_and_its_place_does_not(data: str, tmp_path: Path) -> None:
    def prints(file: str, key: str) -> str:
        request = request_of(task_of(data, file, key), RecipeSection())
        return request.replicas[0].fingerprint()

    (tmp_path / "moved").mkdir()
    first = saved(tmp_path, "pt", held())
    moved = tmp_path / "moved" / "labels.pt"
    moved.write_bytes(Path(first).read_bytes())
    assert prints(first, "aggre_label") == prints(str(moved), "aggre_label")
    assert prints(first, "aggre_label") != prints(first, "worse_label")
    other = saved(tmp_path / "moved", "npz", held() | {"aggre_label": CLEAN})
    assert prints(first, "aggre_label") != prints(other, "aggre_label")
    assert len(label_file_digest(first)) == 64


def test_a_file_that_is_written_anew_is_read_anew(data: str, tmp_path: Path) -> None:
    task = task_of(data, saved(tmp_path, "pt", held()), "aggre_label")
    first = load_task(task, "cpu").train
    saved(tmp_path, "pt", held() | {"aggre_label": WORSE})
    second = load_task(task, "cpu").train
    assert first.given is not None
    assert second.given is not None
    assert not torch.equal(first.given, second.given)
    assert torch.equal(second.given, (second.y + 2) % 3)


class Runs:
    """Runs a function when it is read as a pickle."""

    def __reduce__(self) -> Any:
        return print, ("ran",)


@pytest.mark.parametrize(
    ("value", "key", "told"),
    [
        (held(), "", "holds several labels a sample (aggre_label, worse_label); name one of them"),
        (held(), "worst_label", "has no 'worst_label'"),
        (
            held() | {"clean_label": WORSE},
            "aggre_label",
            "its clean_label differs from the data's labels for 120 of 120",
        ),
        (held() | {"aggre_label": NOISY[1:]}, "aggre_label", "'aggre_label' has shape (119,), and the data set's own"),
        (held() | {"aggre_label": NOISY + 1}, "aggre_label", "holds labels from 1 to 3; they must be whole numbers of"),
        (held() | {"aggre_label": NOISY + 0.5}, "aggre_label", "must be whole numbers of classes, 0 to 2"),
        (NOISY, "aggre_label", "holds one array and no keys"),
        (NOISY.astype(str).astype(object).astype("U3"), "", None),
        (numpy.array(["a"] * COUNT), "", "'labels' has class 'a'"),
        ({"clean_label": Runs()}, "", "cannot be read"),
    ],
)
@pytest.mark.parametrize("form", ["pt", "npy"])
def test_a_file_that_does_not_fit_is_refused_in_one_sentence(
    data: str, tmp_path: Path, form: str, value: Any, key: str, told: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if form == "pt" and isinstance(value, numpy.ndarray) and value.dtype.kind == "U":
        pytest.skip("torch keeps no arrays of text")
    task = task_of(data, saved(tmp_path, form, value), key)
    if told is None:
        load_task(task, "cpu")
        return
    with pytest.raises(DataError) as caught:
        load_task(task, "cpu")
    message = str(caught.value)
    assert message.startswith("task.noise_")
    assert "\n" not in message
    if told != "cannot be read" or form == "pt":
        assert told in message
    else:
        assert "builtins.print, which would run code when it is read" in message
    assert "ran" not in capsys.readouterr().out


def test_a_file_of_another_kind_a_damaged_one_and_none_are_told(data: str, tmp_path: Path) -> None:
    (tmp_path / "labels.pkl").write_bytes(pickle.dumps(NOISY))
    (tmp_path / "damaged.npy").write_bytes(b"nothing")
    for name, told in (
        ("labels.pkl", "must be a file .npy"),
        ("damaged.npy", "cannot be read"),
        ("no.pt", "there is no"),
    ):
        with pytest.raises(DataError, match=told):
            load_task(task_of(data, str(tmp_path / name)), "cpu")
    with pytest.raises(DataError, match=r"task\.noise_file: there is no file '.*no\.pt'"):
        label_file_digest(str(tmp_path / "no.pt"))
