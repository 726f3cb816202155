"""Streamed images: which files are found, how they are cut, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tests.helpers.folders import picture
from tests.helpers.imagenet import COLOURS, imagenet_folder

from lossforge.data.image_stream import MEAN, StreamedImages, as_input, image_stream
from lossforge.data.places import VARIABLE
from lossforge.errors import DataError
from lossforge.spaces.schema import TaskSection


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imagenet_folder(tmp_path_factory.mktemp("images"), train=6, val=3)


def task(root: Path | str, **keys: Any) -> TaskSection:
    return TaskSection(**{"data": f"folder:{root}", "resize": 16, "distributed": 2, **keys})


def test_the_classes_are_the_folders_and_val_is_what_is_scored(root: Path) -> None:
    stream = image_stream(task(root))
    assert stream.names == tuple(sorted(COLOURS))
    assert (len(stream.train), stream.validation, len(stream.test)) == (18, None, 9)
    assert stream.train.counts(3).tolist() == [6, 6, 6]
    for file, label in zip(stream.test.files, stream.test.labels.tolist(), strict=True):
        assert Path(file).parent == root / "val" / stream.names[label]


def test_imagenet_is_looked_for_in_the_data_folder(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(DataError, match=r"'imagenet' is not whole in .*put imagenet/ with train/ and val/"):
        image_stream(task("", data="imagenet"))
    # Beside the parts may lie test images without labels.
    for part in ("train", "val"):
        (tmp_path / "imagenet").mkdir(exist_ok=True)
        (tmp_path / "imagenet" / part).symlink_to(root / part)
    picture(tmp_path / "imagenet" / "test" / "x.png", (1, 2, 3))
    assert len(image_stream(task("", data="imagenet", resize=8)).train) == 18


def test_a_part_to_tune_on_is_drawn_by_the_split_seed(root: Path) -> None:
    drawn = [image_stream(task(root, validation=10, split_seed=seed)) for seed in (0, 1, 0)]
    first, second = (set(one.validation.files) for one in drawn[:2] if one.validation is not None)
    assert first != second
    assert len(first) == 10
    assert not first & set(drawn[0].train.files)
    assert sorted(drawn[0].pooled().files) == sorted(image_stream(task(root)).train.files)
    assert drawn[0].train == drawn[2].train
    with pytest.raises(DataError, match=r"task\.validation: is 18, and .* has 18 training images"):
        image_stream(task(root, validation=18))


def test_a_cut_is_the_seeds_and_the_middle_is_no_ones(root: Path) -> None:
    images = StreamedImages(image_stream(task(root)).train, 16)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    cuts = [images[0, seed][0] for seed in (1, 2, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(cuts[0], cuts[2])
    assert not torch.equal(cuts[0], cuts[1])
    assert all((cut.shape, cut.dtype) == ((3, 16, 16), torch.uint8) for cut in cuts)
    assert torch.equal(images[0, -1][0], images[0, -1][0])


def test_what_is_scored_is_the_middle_of_the_image(tmp_path: Path) -> None:
    # A frame as wide as is cut away of the longer side, around another colour.
    image = Image.new("RGB", (320, 160), (255, 0, 0))
    image.paste((0, 0, 255), (80, 0, 240, 160))
    for part in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            image.save(tmp_path / part / name / "x.png")
    middle, label = StreamedImages(image_stream(task(tmp_path)).test, 56)[1, -1]
    assert label == 1
    assert torch.equal(middle, torch.tensor([0, 0, 255], dtype=torch.uint8).view(3, 1, 1).expand(3, 56, 56))


def test_the_input_is_normalised_by_imagenets_colours() -> None:
    grey = (torch.tensor(MEAN) * 255).round().to(torch.uint8).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    assert float(as_input(grey, torch.device("cpu")).abs().max()) < 0.01


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for name in ("a", "b"):
            picture(tmp_path / part / name / "x.png", (1, 2, 3))
    (tmp_path / "train" / "a" / "y.jpg").write_bytes(b"no image")
    images = StreamedImages(image_stream(task(tmp_path)).train, 16)
    with pytest.raises(DataError, match=r"train/a/y\.jpg: cannot be read as an image \(.*\); mend or remove it"):
        images[1, 0]


def test_without_a_part_to_score_on_it_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / "train" / name / "x.png", (1, 2, 3))
    with pytest.raises(DataError, match="has no folder 'val' or 'test' beside 'train'"):
        image_stream(task(tmp_path))
    with pytest.raises(DataError, match="there is no folder"):
        image_stream(task(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"data": "cifar10"}, "distributed: is for data = 'imagenet' and folder:PATH"),
        ({"resize": None}, "resize: say which size"),
        ({"augmentation": {"flip": True}}, "augmentation: is not for streamed images"),
        ({"drop_duplicates": True}, "drop_duplicates: is not for streamed images"),
        ({"train": 100}, "train: is not for streamed images"),
        ({"head": "binary"}, "head: of streamed images"),
    ],
)
def test_keys_that_mean_nothing_for_streamed_images_are_refused(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        task("x", **keys)


def test_a_task_goes_through_text_as_a_run_keeps_it(root: Path) -> None:
    kept = task(root).decided()
    assert TaskSection(**kept.model_dump(mode="json")) == kept
    assert kept.identity() == task(root).identity()
    assert "distributed" not in TaskSection(data="digits").identity()
