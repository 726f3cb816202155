"""From a data set as it was read to the parts of a task on the device."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy
import torch
from torch import Tensor
from torch.nn import functional

from lossforge.data.chosen_classes import with_only
from lossforge.data.duplicates import Parts, without_duplicates
from lossforge.data.missing import imputed
from lossforge.data.one_against_rest import against_rest, rest_told
from lossforge.data.replicates import pool_of, with_pool
from lossforge.data.resized_masks import lost_classes, masks_with
from lossforge.data.samples import Array, Form, Labels, RawData, Samples
from lossforge.data.scale import Scale
from lossforge.data.splits import Part, TaskData, stratified_parts
from lossforge.data.task_labels import labels_told, long_tailed, noise_of, with_given_labels
from lossforge.errors import DataError
from lossforge.seeding import derive_seed
from lossforge.spaces.schema import TaskSection
from lossforge.spaces.task_section import OF_LABELS

_RESIDENT_BYTES = 2 * 2**30
"""Larger sets stay where they are, and their batches stream to the device; so does what takes a quarter of it."""
_AT_ONCE = 1_024


def task_data(raw: RawData, form: Form, task: TaskSection, device: str) -> TaskData:
    """The task's three parts. Raises DataError where they cannot be had from these samples."""
    raw = against_rest(with_only(with_given_labels(_held_out(raw, task), task), task), task)
    divided = _divide(raw, task)
    if task.impute is not None:
        raw = imputed(raw, divided[0], task.impute)
    train = fitted(raw.train, form, device)
    lost = raw.lost
    if form.size is not None and train.y is not raw.train.y and train.y.ndim == 3:
        stored, left = masks_with(raw.train.y), masks_with(train.y)
        lost = lost_classes(stored, left, form.size, task.data, lambda value: raw.names[value])
    others = [train if own is None else fitted(own, form, device) for own in (raw.validation, raw.test)]
    size = train.x.nbytes + sum(own.x.nbytes for own in others if own is not train)
    streamed = size > resident_limit(device)
    # One tensor for all of one array's parts: what is pooled is told by it.
    stores = {id(own): torch.from_numpy(own.x) for own in (train, *others)} if streamed else {}
    three = zip((train, *others), divided, strict=True)
    parts = Parts(*(_part(own, rows, device, stores.get(id(own))) for own, rows in three))
    found = None
    if task.switched_on("drop_duplicates"):
        parts, found = without_duplicates(parts, task.data, raw.names)
    _refuse_unfit(raw, task)
    noise = noise_of(raw, task)
    tail, whole = None, parts
    if task.imbalance > 1:
        parts, tail = long_tailed(parts, task, raw.classes)
    pooled = pool_of(whole, parts.train, task, raw)
    normalize = not raw.ready if task.normalize is None else task.normalize
    scale = scale_of(parts.train) if normalize else None
    told = (*rest_told(task, parts.train, raw.names), *labels_told(task, noise, parts.train, raw.names))
    own = raw.validation is not None
    data = TaskData(*parts, raw.classes, scale, raw.names, raw.notes, raw.columns, found, lost, noise, tail, told)
    return with_pool(replace(data, own_validation=own), pooled)


def _refuse_unfit(raw: RawData, task: TaskSection) -> None:
    """Raise DataError where the task's metric or head is not for labels such as these."""
    several = raw.train.y.ndim == 2
    if several and task.measure not in OF_LABELS:
        raise DataError(
            f"task.metric: {task.measure} is for one class a sample, and a sample of '{task.data}' has several labels, "
            f"or none; choose {', '.join(OF_LABELS)}"
        )
    if task.measure == "top5_accuracy" and raw.classes <= 5:
        raise DataError(f"task.metric: top5_accuracy needs more than 5 classes, and '{task.data}' has {raw.classes}")
    if task.head == "binary" and raw.classes != 2:
        raise DataError(
            f"task.head: 'binary' is for two classes, and '{task.data}' has {raw.classes}; use softmax, or name those "
            "that are one, against the rest, in task.positive"
        )


def _held_out(raw: RawData, task: TaskSection) -> RawData:
    """The set with the parts of its own that the task uses. The one part held out of a set is its test part."""
    if raw.validation is None:
        return raw
    if not task.switched_on("own_validation"):
        return replace(raw, validation=None)
    if raw.test is None:
        told = "the part held out of the training part is the test part; the validation part is split off the rest"
        return replace(raw, validation=None, test=raw.validation, notes=(*raw.notes, told))
    return raw


def resident_limit(device: str) -> int:
    """Bytes of samples that are kept on the device."""
    if device.startswith("cuda"):
        total = torch.cuda.get_device_properties(device).total_memory
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        total = 4 * _RESIDENT_BYTES
    return int(min(_RESIDENT_BYTES, total // 4))


def _part(samples: Samples, chosen: Labels, device: str, store: Tensor | None) -> Part:
    y = torch.from_numpy(samples.y[chosen]).to(device)
    given = None if samples.given is None else torch.from_numpy(samples.given[chosen]).to(device)
    if store is not None:
        return Part(store, y, torch.from_numpy(chosen), given=given)
    return Part(torch.from_numpy(numpy.ascontiguousarray(samples.x[chosen])).to(device), y, given=given)


def _divide(raw: RawData, task: TaskSection) -> tuple[Labels, Labels, Labels]:
    """Indices of train, validation and test: of one line of samples, or the last ones of the set's own parts."""
    seed, total = task.split_seed, len(raw.train)
    if raw.test is None:
        parts = stratified_parts(raw.train.strata, part_sizes(task, total), seed)
    elif raw.validation is None:
        train, validation, test = sizes_with_own_test(task, total, len(raw.test))
        first, second, _ = stratified_parts(raw.train.strata, (train, validation, 0), seed)
        parts = (first, second, stratified_parts(raw.test.strata, (0, 0, test), seed)[2])
    else:
        wanted = (
            ("train", task.train, raw.train),
            ("validation", task.validation, raw.validation),
            ("test", task.test, raw.test),
        )
        first, second, third = (
            stratified_parts(own.strata, (_own_size(task, name, count, len(own)), 0, 0), seed)[0]
            for name, count, own in wanted
        )
        parts = (first, second, third)
    if raw.ready:
        return parts
    # Many sets are stored class by class; what reads the first of a part must see all of its classes.
    mixer = numpy.random.Generator(numpy.random.PCG64(derive_seed(seed, "order")))
    return mixer.permutation(parts[0]), mixer.permutation(parts[1]), mixer.permutation(parts[2])


def part_sizes(task: TaskSection, total: int) -> tuple[int, int, int]:
    """Sizes of train, validation and test; what is not given is 60, 15 and 25 %."""
    train = task.train if task.train is not None else int(total * 0.6)
    validation = task.validation if task.validation is not None else int(total * 0.15)
    test = task.test if task.test is not None else total - train - validation
    if test < 1:
        raise DataError(
            f"task: train = {train} and validation = {validation} leave no test part of the {total} samples of "
            f"'{task.data}'; make them smaller"
        )
    _refuse_empty(task, total, train, validation)
    return train, validation, test


def sizes_with_own_test(task: TaskSection, total: int, tests: int) -> tuple[int, int, int]:
    """Sizes where the set has a test part of ``tests`` samples: validation is a fifth of the rest, or what is left."""
    validation = task.validation
    if validation is None:
        validation = min(int(total * 0.2), total - (task.train or 0))
    train = total - validation if task.train is None else task.train
    test = tests if task.test is None else task.test
    for name, wanted, found in (("train + validation", train + validation, total), ("test", test, tests)):
        if wanted > found:
            part = "test" if name == "test" else "training"
            raise DataError(
                f"task: {name} = {wanted} samples, but the {part} part of '{task.data}' has {found}; make it smaller"
            )
    _refuse_empty(task, total, train, validation)
    return train, validation, test


def _own_size(task: TaskSection, name: str, wanted: int | None, found: int) -> int:
    """Samples taken of the set's own part ``name``, which has ``found``."""
    if wanted is not None and wanted > found:
        raise DataError(
            f"task: {name} = {wanted} samples, but '{task.data}' has a {name} part of its own, of {found}; make it "
            "smaller"
        )
    return found if wanted is None else wanted


def _refuse_empty(task: TaskSection, total: int, train: int, validation: int) -> None:
    if train < 1 or validation < 1:
        raise DataError(
            f"task: train = {train} and validation = {validation} of the {total} samples of '{task.data}'; each part "
            "needs a sample at least"
        )


def fitted(samples: Samples, form: Form, device: str) -> Samples:
    """The samples in the form asked for, made in batches on the device; as they are where they have it."""
    x, y = samples.x, samples.y
    grey = form.greyscale and x.shape[1] == 3
    if form.size is None or form.size == x.shape[2:]:
        if not grey:
            return samples
        size = (x.shape[2], x.shape[3])
    else:
        if x.shape[2:] == (1, 1):
            raise DataError("task.resize: is for images, and this data set is a table; leave it out")
        size = form.size
    shape = (len(x), 1 if grey else x.shape[1], *size)
    images = numpy.empty(shape, x.dtype)
    masks = None if y.ndim < 3 else numpy.empty((len(y), *size), y.dtype)
    for start in range(0, len(x), _AT_ONCE):
        batch = slice(start, start + _AT_ONCE)
        images[batch] = _fit(x[batch], size, device, grey=grey)
        if masks is not None:
            masks[batch] = _fit_masks(y[batch], size)
    return Samples(images, y if masks is None else masks, samples.given)


def _fit(x: Array, size: tuple[int, int], device: str, *, grey: bool) -> Array:
    batch = torch.from_numpy(numpy.ascontiguousarray(x)).to(device)
    bytes_ = batch.dtype == torch.uint8
    batch = batch.float()
    if grey:
        batch = (batch * torch.tensor([0.299, 0.587, 0.114], device=device).view(1, 3, 1, 1)).sum(1, keepdim=True)
    if tuple(batch.shape[2:]) != size:
        batch = functional.interpolate(_middle(batch, size), size, mode="bilinear", antialias=True)
    if bytes_:
        batch = batch.round().clamp(0, 255).byte()
    array: Array = batch.cpu().numpy()
    return array


def _fit_masks(masks: Array, size: tuple[int, int]) -> Array:
    """Masks by their nearest pixel: classes are never mixed."""
    whole = _middle(torch.from_numpy(masks)[:, None].double(), size)
    array: Array = functional.interpolate(whole, size, mode="nearest-exact")[:, 0].short().numpy()
    return array


def _middle(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The largest part of the images about their middle that has the shape of ``size``."""
    height, width = x.shape[2:]
    tall = min(height, max(1, round(width * size[0] / size[1])))
    wide = min(width, max(1, round(height * size[1] / size[0])))
    top, left = (height - tall) // 2, (width - wide) // 2
    return x[:, :, top : top + tall, left : left + wide]


def scale_of(part: Part) -> Scale:
    """The part's mean and standard deviation of each channel; bytes count as [0, 1]. A constant keeps its size."""
    channels = part.x.shape[1]
    unit = torch.int64 if part.x.dtype == torch.uint8 else torch.float64
    sums = torch.zeros(2, channels, dtype=unit, device=part.y.device)
    count = 0
    for x in part.chunks(1024):
        flat = x.transpose(0, 1).flatten(1).to(unit)
        sums += torch.stack([flat.sum(1), (flat * flat).sum(1)])
        count += flat.shape[1]
    mean, square = sums.double() / count
    std = (square - mean * mean).clamp(min=0).sqrt()
    # What is left of rounding where a channel is constant is no deviation.
    std = torch.where(std > 1e-6 * (1 + mean.abs()), std, torch.ones_like(std) * (255 if unit == torch.int64 else 1))
    if unit == torch.int64:
        mean, std = mean / 255, std / 255
    return Scale(mean.float(), std.float())
