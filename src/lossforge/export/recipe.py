"""How a loss was validated, in words: everything that is needed to train with it in the same way."""

from __future__ import annotations

from pathlib import PurePath

from lossforge.spaces.recipe_section import RecipeSection
from lossforge.spaces.schema import SearchSpace, TaskSection
from lossforge.spaces.task_section import metric_title
from lossforge.validation.comparison import Comparison
from lossforge.validation.second_optimizer import ENOUGH, optimizer_title

_OPTIMIZERS = {
    "adam": "torch.optim.Adam",
    "adamw": "torch.optim.AdamW",
    "sgd": "torch.optim.SGD with momentum 0.9, nesterov=True",
    "muon": "Muon for matrices and AdamW for all else",
}
_SCHEDULES = {
    "one_cycle": "torch.optim.lr_scheduler.OneCycleLR with the learning rate as max_lr and total_steps = steps + 1",
    "cosine": "torch.optim.lr_scheduler.CosineAnnealingLR with T_max = steps",
    "constant": "a constant rate",
}


def _schedule(recipe: RecipeSection) -> str:
    if recipe.schedule != "plateau":
        return _SCHEDULES[recipe.schedule]
    return (
        f"torch.optim.lr_scheduler.ReduceLROnPlateau of each epoch's mean training loss, with factor = "
        f"{recipe.plateau_factor:g}, patience = {recipe.plateau_epochs - 1}, min_lr = {recipe.plateau_floor:g}, and as "
        "threshold 1e-4 of what the loss has fallen by since the first epoch"
    )


def recipe_lines(space: SearchSpace, row: Comparison) -> list[str]:
    """How the loss of a re-validation's row was trained, one line a fact: ``name: value``."""
    task = next(task for task in space.task if task.title == row.task)
    if task.python:
        return [
            f"training: {task.python}, a function of one's own, with its own learning rate, which is tuned for no loss",
            f"classes: {task.classes}",
            *_head(task),
            f"seeds: {row.seeds}",
        ]
    recipe = space.recipe
    return [
        f"data: {task.data}{_input(task)}; {row.trained_on:,} samples to train on (training and validation parts), "
        f"{row.tested_on:,} to test on, {row.classes} classes",
        f"label noise: {_noise(task)}",
        *([] if task.ignored is None else [_ignored(task)]),
        *_classes(task),
        *([f"classes: a long tail, factor {task.imbalance:g}, to train on"] if task.imbalance > 1 else []),
        f"network: {task.model}, width {task.width}"
        + ("" if task.activation == "relu" else f", with {task.activation} in the place of ReLU"),
        *_head(task),
        f"optimizer: {_OPTIMIZERS[recipe.optimizer]}",
        f"learning rate: {row.learning_rate:g}, the loss's own best of a grid, by validation data",
        f"schedule: {_schedule(recipe)}",
        f"length: {_length(space)}, batches of {recipe.batch_size}, what is left over of an epoch is dropped",
        *_others(recipe),
        f"seeds: {row.seeds}, each with its own weights, order and label noise",
    ]


def _noise(task: TaskSection) -> str:
    if task.noise_kind == "human":
        which = f" ({task.noise_key})" if task.noise_key else ""
        return f"training labels of '{PurePath(task.noise_file).name}'{which}, which people gave; tested on true ones"
    if not task.label_noise:
        return "none"
    if task.noise_kind == "asymmetric":
        pairs = task.noise_pairs or task.data.partition(":")[0]
        told = pairs if isinstance(pairs, str) else ", ".join(f"{one} as {other}" for one, other in pairs)
        return f"{task.label_noise:.0%} of each class labelled as another, for every seed ({told})"
    if task.noise_kind == "instance":
        return f"instance-dependent (Xia et al. 2020), mean rate {task.label_noise:.0%}, for every seed"
    if task.head == "sigmoid":
        return (
            f"{task.label_noise:.0%} of the training labels replaced for every seed: a sample's class by any, and of "
            "several labels each assignment by another sample's"
        )
    return f"{task.label_noise:.0%} of the training labels drawn anew from all classes, for every seed"


def _classes(task: TaskSection) -> list[str]:
    """Which of the data's classes are taken, and which of them are one."""
    told = [f"classes: {', '.join(task.only)} alone"] if task.only else []
    return [*told, f"classes: 1 is {' or '.join(task.positive)}, 0 all others"] if task.positive else told


def _ignored(task: TaskSection) -> str:
    moved = ", nor does what augmentation brings in from beyond an edge" if task.augmentation.is_on else ""
    if isinstance(task.ignored, str):
        return (
            f"ignored: mask pixels of class '{task.ignored}' count neither in the loss nor in the metric{moved}; set "
            "them to -100, the default ignore_index of this class"
        )
    return (
        f"ignored: mask pixels of value {task.ignored} count neither in the loss nor in the metric{moved}; set them to "
        f"-100, the default ignore_index of this class, or give it ignore_index={task.ignored}"
    )


def _head(task: TaskSection) -> list[str]:
    """What stands between logits and loss, where it is no softmax."""
    told = {
        "sigmoid": "head: sigmoid, a logit of its own for each label; targets (N, C) of 0 and 1, or class indices",
        "binary": "head: binary, one logit (N, 1), of class 1; targets (N,) of 0 and 1",
    }
    return [told[task.head]] if task.head in told else []


def _input(task: TaskSection) -> str:
    told = []
    if task.resize is not None:
        told.append(f"resized to {task.resize}")
    if task.greyscale:
        told.append("grey")
    if task.normalize:
        told.append("normalised by channel")
    if task.augmentation.is_on:
        used = task.augmentation.model_dump(exclude_defaults=True)
        told.append("augmented by " + ", ".join(f"{name} {value}" for name, value in used.items()))
    return f" ({'; '.join(told)})" if told else ""


def _length(space: SearchSpace) -> str:
    if space.recipe.steps:
        return f"{2 * space.recipe.steps} steps"
    return f"{space.validation.epochs or 2 * space.recipe.epochs} epochs"


def _others(recipe: RecipeSection) -> list[str]:
    told = []
    if recipe.weight_decay:
        told.append(f"weight decay: {recipe.weight_decay:g}")
    if recipe.clip_norm:
        told.append(f"gradients: clipped to norm {recipe.clip_norm:g}")
    if recipe.epsilon != 1e-8 and recipe.optimizer != "sgd":
        told.append(f"Adam's eps: {recipe.epsilon:g}")
    if recipe.output_rate != 1:
        told.append(f"learning rate of the last layer: times {recipe.output_rate:g}")
    if recipe.label_smoothing:
        told.append(f"label smoothing: {recipe.label_smoothing:g}, the default of this class")
    return told


def gain_lines(rows: list[Comparison]) -> list[str]:
    """What came of it against each rival."""
    return [
        f"against {row.rival}: {row.gain:+.2f} points of {row.scored} [{row.low:+.2f}, {row.high:+.2f}] by {row.task} "
        f"({row.accuracy:.2%} and {row.rival_accuracy:.2%})"
        if row.is_own
        else f"against {row.rival}: {row.gain:+.2f} points of {metric_title(row.metric)} "
        f"[{row.low:+.2f}, {row.high:+.2f}] on the test part of {row.task} ({row.accuracy:.2%} and "
        f"{row.rival_accuracy:.2%}; {row.rival} at its own best learning rate {row.rival_learning_rate:g})"
        for row in rows
    ]


def limits(row: Comparison) -> str:
    """What the loss was tried with, and what not."""
    first = "Nothing but this set-up was tried: other data, networks or numbers of classes may need another loss."
    if not row.second_optimizer:
        return f"{first} No other optimiser was tried."
    name = optimizer_title(row.second_optimizer)
    told = f"{row.second_score:.2%}, cross-entropy there {row.second_control:.2%}"
    if row.second_score >= ENOUGH * row.second_control:
        return f"{first} Under {name} it trains too: {told}, learning rate {row.second_learning_rate:g}."
    needs = "an adaptive optimiser" if row.second_optimizer == "sgd" else "the optimiser named above"
    return f"{first} It needs {needs}: under {name} it reaches {told}."
