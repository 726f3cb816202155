"""Images in files: decoding them, and a user's own ``folder:PATH`` and ``masks:PATH``."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy

from lossforge.data.array_files import create_array_file, map_array_file
from lossforge.data.npz_files import from_masks, read_npz_masks
from lossforge.data.places import data_folder, stamp
from lossforge.data.samples import Array, Form, Labels, RawData, Samples
from lossforge.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
_KEPT_FROM = 2_000
"""Images from which the decoded form is kept in the data folder: a worker then maps it instead of decoding again."""
_AT_ONCE = 1_024


class Images(Protocol):
    """Images with their labels, as torchvision's data sets give them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Image, int]: ...


class ImagePaths:
    """Images in files, with a label each."""

    def __init__(self, paths: Sequence[Path], labels: Sequence[int]) -> None:
        self.paths = paths
        self.labels = labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int, /) -> tuple[Image, int]:
        return open_image(self.paths[index]), self.labels[index]


def open_image(path: Path) -> Image:
    """The whole image in memory. Raises DataError that names the file."""
    import PIL.Image

    try:
        with PIL.Image.open(path) as image:
            image.load()
            return image.copy()
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error})") from None


def decode(images: Images, form: Form, origin: str, key: str) -> Samples:
    """Every image in the form asked for, uint8 ``(N, C, H, W)``; many are kept on disk under ``key`` and mapped."""
    if len(images) < _KEPT_FROM:
        return _decode(images, form, origin, lambda shape: numpy.empty(shape, numpy.uint8))
    name = hashlib.sha256(f"{key} {form.size} {form.greyscale} {len(images)}".encode()).hexdigest()[:32]
    folder = data_folder() / "decoded"
    kept = (folder / f"{name}.x.npy", folder / f"{name}.y.npy")
    try:
        if not all(file.is_file() for file in kept):
            print(f"{origin}: decoding {len(images):,} images, once", file=sys.stderr, flush=True)  # noqa: T201
            folder.mkdir(parents=True, exist_ok=True)
            _decode_to(kept, images, form, origin)
        return Samples(map_array_file(kept[0]), numpy.asarray(map_array_file(kept[1])))
    except OSError:  # a folder that cannot be written, or a full disk: decode into memory, now and next time
        return _decode(images, form, origin, lambda shape: numpy.empty(shape, numpy.uint8))


def _decode_to(kept: tuple[Path, Path], images: Images, form: Form, origin: str) -> None:
    drafts = [file.with_name(f"{file.name}.{os.getpid()}.new") for file in kept]
    try:
        samples = _decode(
            images,
            form,
            origin,
            lambda shape: create_array_file(drafts[0], shape, numpy.uint8),
        )
        create_array_file(drafts[1], samples.y.shape, numpy.int64)[:] = samples.y
        for draft, file in zip(drafts, kept, strict=True):
            draft.replace(file)
    finally:
        for draft in drafts:
            with suppress(OSError):
                draft.unlink()


def _decode(images: Images, form: Form, origin: str, make: Callable[[tuple[int, ...]], Array]) -> Samples:
    def one(index: int) -> tuple[Array, int]:
        image, label = images[index]
        return pixels(image, form), int(label)

    x: Array | None = None
    y = numpy.empty(len(images), numpy.int64)
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(images), _AT_ONCE):
            indices = range(start, min(start + _AT_ONCE, len(images)))
            for index, (sample, label) in zip(indices, pool.map(one, indices), strict=True):
                if x is None:
                    x = make((len(images), *sample.shape))
                if sample.shape != x.shape[1:]:
                    raise DataError(
                        f"{origin}: images differ in size ({_size(x.shape)} and {_size(sample.shape)}); set "
                        "task.resize, such as resize = 32"
                    )
                x[index], y[index] = sample, label
    assert x is not None
    return Samples(x, y)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[-2]}×{shape[-1]}"


def pixels(image: Image, form: Form) -> Array:
    """An image as uint8 ``(C, H, W)``: grey or RGB, cut to the middle of its shape and resized where asked."""
    from PIL import ImageOps
    from PIL.Image import Resampling

    image = image.convert("L" if form.greyscale else "RGB")
    if form.size is not None:
        image = ImageOps.fit(image, form.size[::-1], Resampling.BILINEAR)
    array = numpy.asarray(image)
    return array[None] if form.greyscale else array.transpose(2, 0, 1)


def read_folder(place: str, form: Form) -> RawData:
    """One folder a class, or ``train/`` and ``test/`` with one folder a class each."""
    root = Path(place)
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder; give one that holds a folder of images for each class")
    parted = (root / "train").is_dir()
    found = _by_class(root / "train" if parted else root)
    names = tuple(found)
    if len(names) < 2:
        raise DataError(
            f"{root}: has {len(names)} folders with images; there must be one for each of two classes or more"
        )
    tests = _by_class(root / "test") if parted and (root / "test").is_dir() else {}
    unknown = sorted(set(tests) - set(names))
    if unknown:
        raise DataError(f"{root / 'test'}: class '{unknown[0]}' has no folder in {root / 'train'}")
    key = stamp(root)
    train = decode(_numbered(found, names), form, str(root), f"{key} train")
    test = decode(_numbered(tests, names), form, str(root), f"{key} test") if tests else None
    if test is not None and test.x.shape[1:] != train.x.shape[1:]:
        sizes = f"{_size(train.x.shape)} and {_size(test.x.shape)}"
        raise DataError(f"{root}: images of train and test differ in size ({sizes}); set task.resize")
    return RawData(train, test, names)


def _by_class(folder: Path) -> dict[str, list[Path]]:
    """Image files of each class folder that has any, sorted."""
    found = {
        each.name: sorted(file for file in each.rglob("*") if file.suffix.lower() in _SUFFIXES)
        for each in sorted(folder.iterdir())
        if each.is_dir()
    }
    return {name: files for name, files in found.items() if files}


def _numbered(found: dict[str, list[Path]], names: tuple[str, ...]) -> ImagePaths:
    pairs = [(path, names.index(name)) for name, paths in found.items() for path in paths]
    return ImagePaths([path for path, _ in pairs], [label for _, label in pairs])


def read_masks(place: str, form: Form) -> RawData:
    """An .npz file, or a folder with ``images/`` and ``masks/`` (or ``train/`` and ``test/`` of that form)."""
    root = Path(place)
    if not root.is_dir():
        return read_npz_masks(root)
    parted = (root / "train").is_dir()
    train = _pairs(root / "train" if parted else root, form)
    test = _pairs(root / "test", form) if parted and (root / "test").is_dir() else None
    return from_masks(train, test, str(root))


def _pairs(folder: Path, form: Form) -> tuple[Array, Labels]:
    files: list[dict[str, Path]] = []
    for name in ("images", "masks"):
        if not (folder / name).is_dir():
            raise DataError(f"{folder}: has no folder '{name}'; images and masks of the same names belong there")
        inside = sorted((folder / name).iterdir())
        files.append({file.stem: file for file in inside if file.suffix.lower() in _SUFFIXES})
    images, masks = files
    alone = sorted(set(images) ^ set(masks))
    if alone or not images:
        what = f"'{alone[0]}' is in one of images and masks only" if alone else "there are no images"
        raise DataError(f"{folder}: {what}; every image needs a mask of the same name")
    paths = [images[stem] for stem in sorted(images)]
    x = decode(ImagePaths(paths, [0] * len(paths)), form, str(folder), f"{stamp(folder)} images").x
    return x, numpy.stack([_mask(masks[stem], images[stem], form) for stem in sorted(masks)])


def _mask(path: Path, pictured: Path, form: Form) -> Labels:
    """A mask ``(H, W)``: a palette's or a grey image's values, never mixed by resizing."""
    import PIL.Image
    from PIL import ImageOps
    from PIL.Image import Resampling

    image = open_image(path)
    if image.mode not in ("L", "P", "1", "I", "I;16"):
        raise DataError(f"{path}: is an image of colours ({image.mode}); a mask is grey, or has a palette")
    with PIL.Image.open(pictured) as whole:
        # As they are stored: masks of another size may be resized to the image's, and would show another place.
        if image.size != whole.size:
            raise DataError(
                f"{path}: is {_size(image.size[::-1])}, its image {_size(whole.size[::-1])}; they must be alike"
            )
    if form.size is not None:
        image = ImageOps.fit(image, form.size[::-1], Resampling.NEAREST)
    return numpy.asarray(image).astype(numpy.int64)
