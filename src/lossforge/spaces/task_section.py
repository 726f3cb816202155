"""The task of a search space: data, parts, noise, network and augmentation."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lossforge.spaces.augmentation_section import LATER_AUGMENTATIONS, AugmentationSection
from lossforge.spaces.mask_keys import (
    MASK_SETS,
    ClassNames,
    IgnoredValue,
    MaskColours,
    Threshold,
    check_classes,
    check_masks,
    has_masks,
)
from lossforge.spaces.noise_keys import ClassPairs, NoiseKind, check_noise
from lossforge.spaces.section import Section

Side = Annotated[int, Field(ge=1, le=4096)]
Head = Literal["softmax", "sigmoid", "binary"]
Metric = Literal[
    "accuracy",
    "top5_accuracy",
    "balanced_accuracy",
    "precision",
    "f1",
    "mean_iou",
    "dice",
    "mean_average_precision",
    "f1_micro",
    "f1_macro",
]
Measure = Metric | Literal["score"]

_OF_CLASSES: tuple[Metric, ...] = ("accuracy", "top5_accuracy", "balanced_accuracy", "precision", "f1")
_OF_MASKS: tuple[Metric, ...] = ("mean_iou", "dice", "balanced_accuracy", "accuracy")
OF_LABELS: tuple[Metric, ...] = ("mean_average_precision", "f1_micro", "f1_macro")
"""Metrics of several labels a sample, each there or not."""
_OWN = {"name", "python", "classes", "data", "head"}
"""Keys that a task with a training of the user's own may have."""
_STREAMED = {"name", "data", "validation", "split_seed", "resize", "metric", "model", "width"}
_STREAMED |= {"activation", "distributed", "head"}
"""Keys that a task of streamed images may have."""
_SWITCHES = {
    "own_validation": ("npz", "folder", "masks"),
    "drop_duplicates": ("npz", "folder", "csv", "masks"),
    "drop_index": ("csv",),
}
"""Switches that are on unless set, each with the kinds of a user's own data for which it is; runs that are older than
a switch go on without it."""
_OF_KINDS = {
    "impute": ("csv", "npz"),
    "one_hot": ("csv",),
    "drop_columns": ("csv",),
    "nested": ("folder",),
    "skip_broken": ("folder", "masks"),
}
"""Other keys that are for some kinds of a user's own data only."""
_TITLES = {
    "top5_accuracy": "top-5 accuracy",
    "f1": "F1",
    "mean_iou": "mean IoU",
    "dice": "Dice",
    "f1_micro": "micro F1",
    "f1_macro": "macro F1",
}


def metric_title(metrics: str) -> str:
    """How a table calls a metric, or several with a plus between.

    >>> metric_title("accuracy+mean_iou")
    'accuracy and mean IoU'
    """
    return " and ".join(_TITLES.get(name, name.replace("_", " ")) for name in metrics.split("+"))


def searched_title(metrics: str) -> str:
    """The same of what a search measures: on validation data, unless a training of the user's own returns it.

    >>> searched_title("accuracy"), searched_title("score")
    ('validation accuracy', "the training's own score")
    """
    names = dict.fromkeys(metrics.split("+"))
    return " and ".join(
        "the training's own score" if one == "score" else f"validation {metric_title(one)}" for one in names
    )


class TaskSection(Section):
    """What candidates are judged on: data, parts, noise and network; or a training of the user's own (``python``).

    ``only`` are the classes whose samples are taken (none: all), ``positive`` those that are class 1 of two, the others
    being class 0. Masks of colours have classes by ``mask_colours``, with ``nearest_colour`` by the nearest; grey masks
    by ``mask_threshold``: class 1 from that value on (of colours, each of red, green and blue is 0 or 255 by it).

    With ``split`` "replicate" every replicate draws its own training and validation samples; left open it is settled by
    the size of the set where a run begins (`lossforge.data.replicates`). ``split_seed`` decides on the test part alone
    then.

    ``head`` says how logits become what a formula reads; see `lossforge.losses.heads`. With ``output_init`` "matched" a
    network of two classes begins as the same function behind ``softmax`` as behind ``binary``: its two last neurons are
    half of the one and its negative. ``score_training`` scores what was trained on as well. ``probe`` is another data
    set, on which a re-validation asks how far the network's features carry a linear classifier (see
    `lossforge.training.probe`). With ``distributed``
    workers on one network, images are streamed from their files; see `lossforge.evaluation.distributed`.
    """

    name: str = Field(default="", pattern=r"^[\w.-]*$")
    data: str = ""
    python: str = ""
    classes: int | None = Field(default=None, ge=2, le=100_000)
    head: Head = "softmax"
    train: int | None = Field(default=None, ge=10)
    validation: int | None = Field(default=None, ge=10)
    test: int | None = Field(default=None, ge=10)
    own_validation: bool | None = None
    drop_duplicates: bool | None = None
    drop_index: bool | None = None
    drop_columns: tuple[str, ...] = ()
    impute: Literal["mean", "median", "most_frequent"] | None = None
    one_hot: bool | tuple[str, ...] = False
    nested: bool = False
    skip_broken: bool = False
    split: Literal["replicate", "fixed"] | None = None
    split_seed: int = Field(default=0, ge=0)
    label_noise: float = Field(default=0.0, ge=0, lt=1)
    noise_kind: NoiseKind = "symmetric"
    noise_pairs: str | ClassPairs = ()
    noise_file: str = ""
    noise_key: str = ""
    imbalance: float = Field(default=1.0, ge=1, le=1e6)
    only: ClassNames = ()
    positive: ClassNames = ()
    mask_colours: MaskColours = ()
    mask_threshold: Threshold | None = None
    nearest_colour: bool = False
    ignore: IgnoredValue = None
    resize: Side | tuple[Side, Side] | None = None
    greyscale: bool = False
    normalize: bool | None = None
    metric: Metric | None = None
    augmentation: AugmentationSection = AugmentationSection()
    model: str = "small_cnn"
    width: int = Field(default=16, ge=1, le=1024)
    activation: str = "relu"
    output_init: Literal["own", "matched"] = "own"
    score_training: bool = False
    probe: str = ""
    probe_train: int = Field(default=1000, ge=10)
    probe_test: int = Field(default=1000, ge=10)
    cohort: int | None = Field(default=None, ge=1, le=1024)
    distributed: int = Field(default=0, ge=0, le=4096)

    @property
    def title(self) -> str:
        """The task's name: as given, or its data set's, or its own file's or module's."""
        if self.python and not self.name:
            return self.python.partition(":")[0].rpartition(".")[2]
        kind, colon, place = self.data.partition(":")
        # A path such as "." or ".." has no name of its own.
        own = PurePath(place.partition("#")[0]).stem if colon else ""
        return self.name or (kind if own in ("", "..") else own)

    @property
    def masks(self) -> bool:
        """Whether every pixel has a class, and not every sample."""
        return has_masks(self.data)

    @property
    def ignored(self) -> int | str | None:
        """The value of a mask's pixels that are out of the loss, the metrics and the classes; None: there is none.

        Of masks of colours it is the name of their class.
        """
        return MASK_SETS.get(self.data) if self.ignore is None else self.ignore

    @property
    def kind(self) -> str:
        """What stands before the colon in a user's own data: npz, folder, csv or masks; else ""."""
        kind, colon, _ = self.data.partition(":")
        return kind if colon else ""

    def switched_on(self, name: str) -> bool:
        """Whether ``own_validation``, ``drop_duplicates`` or ``drop_index`` is on: as set, or for data of its kinds."""
        value: bool | None = getattr(self, name)
        return self.kind in _SWITCHES[name] and not self.distributed if value is None else value

    def decided(self) -> TaskSection:
        """The task with the switches of its kind of data written out, as a run keeps them."""
        names = [name for name, kinds in _SWITCHES.items() if self.kind in kinds]
        return self.model_copy(update={name: self.switched_on(name) for name in names})

    @property
    def _usual(self) -> Metric:
        if self.masks:
            return "mean_iou"
        return "mean_average_precision" if self.head == "sigmoid" else "accuracy"

    @property
    def measure(self) -> Measure:
        """What fitness is measured in: ``metric``, or accuracy; of masks mean IoU, since most pixels are background.

        Under independent sigmoids it is mean average precision, for a sample may have several labels, or none. A
        training of the user's own returns a score, and what that is nobody else knows.
        """
        return "score" if self.python else self.metric or self._usual

    @model_validator(mode="after")
    def _trained_somewhere(self) -> TaskSection:
        if bool(self.data) == bool(self.python):
            raise ValueError("data: give either data, or python = 'module:function', a training of your own")
        if not self.python and self.classes is not None:
            raise ValueError("classes: is for task.python; data have the classes that they have")
        if self.python and self.classes is None:
            raise ValueError(
                "classes: say how many classes the training of task.python has: losses are screened for it"
            )
        for name in set(type(self).model_fields) - _OWN if self.python else ():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name}: means nothing beside python: the function '{self.python}' trains as it likes"
                )
        return self

    @model_validator(mode="after")
    def _of_its_kind(self) -> TaskSection:
        # Duplicates can be dropped of any data.
        for name, kinds in (_SWITCHES | _OF_KINDS).items() if self.data else ():
            given = getattr(self, name) != type(self).model_fields[name].default
            if given and name != "drop_duplicates" and self.kind not in kinds:
                raise ValueError(f"{name}: is for data of {' and '.join(f'{kind}:' for kind in kinds)}; leave it out")
        return self

    @model_validator(mode="after")
    def _fitting(self) -> TaskSection:
        choice, kind = (_OF_MASKS, "a mask") if self.masks else (_OF_CLASSES, "a class")
        if self.head == "sigmoid" and not self.masks:
            choice, kind = (*OF_LABELS, *_OF_CLASSES), "labels"
        if not self.python and self.measure not in choice:
            several = self.measure in OF_LABELS and not self.masks
            remedy = "; of several labels a sample: head = 'sigmoid'" if several else ""
            raise ValueError(
                f"metric: '{self.metric}' does not fit data with {kind} for each sample; choose "
                f"{', '.join(choice)}{remedy}"
            )
        if self.head == "binary" and self.classes not in (None, 2):
            raise ValueError(f"head: 'binary' is for two classes, and there are {self.classes}; use softmax or sigmoid")
        if self.head == "sigmoid" and self.output_init == "matched":
            raise ValueError(
                "output_init: 'matched' is for one neuron of the head binary against two of softmax; leave it out "
                "behind sigmoids"
            )
        if self.masks and self.probe:
            raise ValueError("probe: is for networks that give a class for each sample, not for masks; leave it out")
        if self.masks and self.score_training:
            raise ValueError("score_training: is for data with a class for each sample, not for masks; leave it out")
        if self.masks and self.label_noise:
            raise ValueError(
                "label_noise: replaces labels of whole samples, and masks have one a pixel, where people err along "
                "outlines and not at random; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _classes_as_meant(self) -> TaskSection:
        if not self.python:
            check_masks(vars(self))
            check_classes(vars(self))
        return self

    @model_validator(mode="after")
    def _noise_of_its_kind(self) -> TaskSection:
        check_noise(vars(self), masks=self.masks)
        return self

    @model_validator(mode="after")
    def _streamed(self) -> TaskSection:
        """A network that several workers train has images in files, cut and normalised as ImageNet's are."""
        if not self.distributed:
            return self
        if self.data != "imagenet" and self.kind != "folder":
            raise ValueError("distributed: is for data = 'imagenet' and folder:PATH, which are read from their files")
        if not isinstance(self.resize, int):
            raise ValueError("resize: say which size the images are cut to, such as 224, where they are streamed")
        for name in set(type(self).model_fields) - _STREAMED:
            off = name in _SWITCHES and not getattr(self, name)
            if not off and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}: is not for streamed images (distributed); leave it out")
        if self.head != "softmax":
            raise ValueError("head: of streamed images (distributed) it is softmax")
        return self

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width that images are resized to; None: as they are."""
        return (self.resize, self.resize) if isinstance(self.resize, int) else self.resize

    def identity(self) -> dict[str, Any]:
        """All that decides a training's result, as plain data.

        Keys of the input, the activation and the metric enter where they are not at their default: runs that are older
        than these keys go on.
        """
        inputs = {"head", "resize", "greyscale", "normalize", "augmentation", "activation", "python", "classes"}
        inputs |= {*_OF_KINDS, "noise_kind", "noise_pairs", "noise_key", "imbalance", "ignore"}
        inputs |= {"only", "positive", "mask_colours", "mask_threshold", "nearest_colour"}
        inputs |= {"output_init", "score_training", "probe", "distributed"}
        unused = {name for name in inputs if getattr(self, name) == type(self).model_fields[name].default}
        unused |= {name for name in _SWITCHES if not self.switched_on(name)}
        unused |= {"split"} if self.split != "replicate" else set()
        unused |= {"metric"} if self.metric in (None, self._usual) else set()
        unused |= {"noise_kind", "noise_pairs"} if self.noise_kind != "human" and not self.label_noise else set()
        # nested says what is meant: where it says otherwise there is nothing to train on. cohort: the recipe says it.
        # Of a file of labels it is the content that counts; see `lossforge.evaluation.records`.
        unused |= {"nested", "cohort", "noise_file"}
        unused |= set() if self.probe else {"probe_train", "probe_test"}
        found = self.decided().model_dump(mode="json", exclude=unused)
        for name in {"only", "positive"} & set(found):
            found[name] = sorted(found[name])  # in any order they are the same classes
        for name in LATER_AUGMENTATIONS:
            if "augmentation" in found and not found["augmentation"][name]:
                del found["augmentation"][name]
        return found


def as_before_switches(task: dict[str, Any]) -> dict[str, Any]:
    """A task's table as an older run froze it, with the switches off that did not exist then."""
    kind, colon, _ = str(task.get("data", "")).partition(":")
    missing = [name for name, kinds in _SWITCHES.items() if colon and kind in kinds]
    # Folders in a class's folder were of the class, always.
    nested = {"nested": True} if kind == "folder" else {}
    return {**dict.fromkeys(missing, False), **nested, **task}
