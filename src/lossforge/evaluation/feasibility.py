"""Whether a task's data and its network fit together, found out before anything is trained or written."""

from __future__ import annotations

from lossforge.data.augmentation import Preparation
from lossforge.data.datasets import load_task
from lossforge.data.image_stream import image_stream
from lossforge.data.label_rows import refuse_constant
from lossforge.data.replicates import draws_parts
from lossforge.data.resized_masks import lost_told
from lossforge.errors import DataError
from lossforge.evaluation.evaluate import network
from lossforge.evaluation.probes import probe_of
from lossforge.models.imported import has_parameter, import_function
from lossforge.models.output_layer import output_layer
from lossforge.models.registry import build_model
from lossforge.spaces.schema import SearchSpace, TaskSection
from lossforge.training.metrics import chance_score


def check_fit(task: TaskSection) -> None:
    """Load the data and build the network once. Raises DataError or ModelError where they do not fit."""
    if task.distributed:
        build_model(task.model, (3, int(task.resize or 0), int(task.resize or 0)), 2, task.width, 0)  # type: ignore[arg-type]
        image_stream(task)
        return
    data = load_task(task, "cpu")
    counts = data.train.counts(data.classes)
    if data.several_labels:
        remedy = "make train larger, or leave it out of the data"
        refuse_constant(counts.numpy(), len(data.train), f"task.train: '{task.data}'", data.names, remedy)
        for name, part in (("validation", data.validation), ("test", data.test)):
            if not int(part.y.sum()):
                raise DataError(
                    f"task.{name}: no sample of the {name} part of '{task.data}' has a label, so there is nothing to "
                    "be right about; make it larger"
                )
    elif int(counts.min()) == 0:
        name = data.names[int(counts.argmin())]
        lost = next((one for one in data.lost if one.name == name), None)
        if lost is not None:
            raise DataError(
                f"task.train: none of the {len(data.train)} training samples is of class '{name}' of '{task.data}': "
                f"{lost_told(lost, data.shape[1:])}; make train larger, or resize to the shape that the masks have"
            )
        raise DataError(
            f"task.train: none of the {len(data.train)} training samples is of class '{name}' of '{task.data}'; make "
            "train larger, or leave the class out of the data"
        )
    for name, part in (("validation", data.validation), ("test", data.test)) if data.segmentation else ():
        if not int(part.counts(data.classes).sum()):
            raise DataError(
                f"task.ignore: no pixel of the {name} part of '{task.data}' counts, so there is nothing to be right "
                f"about; make task.{name} larger"
            )
    Preparation(task.augmentation, data.scale, data.shape)
    model = network(task, data, 0)
    if task.probe:
        output_layer(model, data.shape)
        probe_of(task, data, "cpu")


def with_split(space: SearchSpace) -> SearchSpace:
    """The space with ``task.split`` settled where it is left open: "replicate" for small sets; see `draws_parts`."""
    tasks = [
        task.model_copy(update={"split": "replicate"})
        if task.split is None and task.data and not task.distributed and draws_parts(load_task(task, "cpu"))
        else task
        for task in space.task
    ]
    return space.model_copy(update={"task": tasks})


def resolution(task: TaskSection) -> float:
    """What one test sample, or one pixel of a mask, is worth in the task's metric, in (0, 1].

    Of a metric that is a mean over classes it is a sample of the rarest class. 0 where nobody but the user's own
    function knows.
    """
    if task.python:
        return 0.0
    data = image_stream(task) if task.distributed else load_task(task, "cpu")
    counts = data.test.counts(data.classes)
    if task.measure in ("accuracy", "top5_accuracy", "f1_micro"):
        return 1 / max(1, int(counts.sum()))
    occurring = counts[counts > 0]
    return 1 / (len(occurring) * int(occurring.min()))


def occurring_classes(task: TaskSection) -> int:
    """Classes that occur in the test part, of data with one class a sample or pixel; 0 where that is not known."""
    if task.python or task.distributed:
        return 0
    data = load_task(task, "cpu")
    return 0 if data.several_labels else int((data.test.counts(data.classes) > 0).sum())


def class_count(task: TaskSection) -> int:
    """Classes of a task's data, or of the training of the user's own."""
    if task.distributed:
        return image_stream(task).classes
    return task.classes or 0 if task.python else load_task(task, "cpu").classes


def validated_sizes(task: TaskSection) -> tuple[int, int]:
    """Samples that a re-validation trains on and tests on; zeros where the training is the user's own."""
    if task.python:
        return 0, 0
    if task.distributed:
        stream = image_stream(task)
        return len(stream.pooled()), len(stream.test)
    data = load_task(task, "cpu")
    return data.pooled_size, len(data.test)


def scores_unseen(task: TaskSection) -> bool:
    """Whether a re-validation scores on data that the search has not seen; a user's own function may have no such."""
    return not task.python or has_parameter(import_function(task.python, "task.python"), "part")


def chance_level(task: TaskSection) -> tuple[float, int, tuple[str, ...]]:
    """What guessing scores on the task's validation part, in its metric; how many samples that has, and the classes."""
    data = load_task(task, "cpu")
    counts = data.validation.counts(data.classes)
    return chance_score(counts, task.measure, len(data.validation)), len(data.validation), data.names
