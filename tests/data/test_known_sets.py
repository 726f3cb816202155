from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.helpers.known_sets import TEST, TRAIN, WITHOUT_TEST, WRITERS

from lossforge.data.datasets import _SUMMARIES, DATASETS, FORMATS, load_task
from lossforge.data.places import data_folder as found_folder
from lossforge.data.places import using_data_folder
from lossforge.errors import DataError
from lossforge.spaces.schema import TaskSection


def loaded(name: str, **keys: Any) -> Any:
    resize = 8 if WRITERS[name][1] == (3, 8, 8) else None
    return load_task(TaskSection(data=name, resize=resize, **keys), "cpu")


@pytest.fixture(params=sorted(WRITERS))
def known(request: pytest.FixtureRequest, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    WRITERS[name][0](data_folder, monkeypatch)
    return name


def test_every_set_is_tried_and_described() -> None:
    # The others are tried in test_published_sets and test_fusion_sets.
    published = {"malaria", "colorectal_histology", "voc2012", "coco_stuff"}
    fusion = {"deepglobe", "deepglobe_scenes", "brain_tumour", "tomato_leaf", "tomato_leaf_5", "crack_segmentation"}
    fusion |= {"crack_sources"}
    assert set(DATASETS) == {"digits", *WRITERS, *published, *fusion}
    assert all(source.summary for source in (*DATASETS.values(), *FORMATS.values()))
    assert set(_SUMMARIES) < set(DATASETS)


def test_a_known_set_is_read_from_its_own_files(known: str) -> None:
    data = loaded(known)
    assert data.shape == WRITERS[known][1]
    assert data.train.x.dtype == torch.uint8
    sizes = (len(data.train), len(data.validation), len(data.test))
    assert sizes == ((18, 4, 8) if known in WITHOUT_TEST else (TRAIN * 4 // 5, TRAIN // 5, TEST))
    assert data.classes == len(data.names)
    for part in (data.train, data.validation, data.test):
        light = part.x.float().mean((1, 2, 3)) > 125
        assert torch.equal(part.y, light.long())
        assert set(part.y.tolist()) == {0, 1}


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_offline_and_absent_one_sentence_says_what_to_put_where(
    name: str, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError) as caught:
        loaded(name)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"task.data: '{name}' is not whole in {data_folder} ")
    assert "; put " in message
    assert message.endswith("or name another folder with --data-dir or LOSSFORGE_DATA")
    assert not list(data_folder.rglob("*.jpg"))


def test_a_damaged_file_is_told_in_one_sentence(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, file in (("cifar10", "cifar-10-batches-py/data_batch_3"), ("mnist", "MNIST/raw/train-images-idx3-ubyte")):
        WRITERS[name][0](data_folder, monkeypatch)
        whole = (data_folder / file).read_bytes()
        (data_folder / file).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=f"'{name}' is not whole in") as caught:
            loaded(name)
        assert "\n" not in str(caught.value)


def test_pcam_without_its_package_says_so(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match="pip install h5py"):
        loaded("pcam")


def test_the_data_folder_is_the_one_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOSSFORGE_DATA", "/elsewhere")
    assert found_folder() == Path("/elsewhere")
    with using_data_folder(str(tmp_path)):
        assert found_folder() == tmp_path
        with using_data_folder(""):
            assert found_folder() == tmp_path
    assert found_folder() == Path("/elsewhere")
    monkeypatch.delenv("LOSSFORGE_DATA")
    with using_data_folder(str(tmp_path)):
        assert found_folder() == tmp_path
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert found_folder() == tmp_path / "cache" / "lossforge" / "data"


def test_sets_in_two_folders_are_two_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name in ("a", "b"):
        with using_data_folder(str(tmp_path / name)):
            WRITERS["mnist"][0](tmp_path / name, monkeypatch)
            found.append(loaded("mnist").train)
    assert [len(part) for part in found] == [24, 24]
    assert not torch.equal(found[0].x, found[1].x)


def test_what_is_there_is_read_from_a_folder_that_cannot_be_written(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WRITERS["svhn"][0](data_folder, monkeypatch)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("nothing is to be downloaded")

    monkeypatch.setattr("torchvision.datasets.SVHN.download", refuse)
    assert len(loaded("svhn").train) == 24
    assert not list(data_folder.glob(".*"))


def test_what_is_absent_is_downloaded_once(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def download(self: Any) -> None:
        calls.append(self.split)
        if len(calls) == 1:
            written = data_folder / "a"
            WRITERS["svhn"][0](written, monkeypatch)
            for file in written.iterdir():
                file.rename(data_folder / file.name)

    monkeypatch.setattr("torchvision.datasets.SVHN.download", download)
    # The class looks its checksums up after the download: they are the tiny files' by then.
    assert len(loaded("svhn").test) == TEST
    assert calls == ["train"]
