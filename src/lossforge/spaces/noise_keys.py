"""Keys of a task that say how its training labels are made wrong, and what goes together of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

NoiseKind = Literal["symmetric", "asymmetric", "instance", "human"]


def _as_pairs(value: Any) -> Any:
    """A table of classes as pairs; names that are numbers, as in {9 = 1}, as text."""
    if isinstance(value, dict):
        value = [*value.items()]
    if not isinstance(value, list | tuple) or not all(isinstance(pair, list | tuple) for pair in value):
        return value
    return tuple(tuple(str(one) if type(one) is int else one for one in pair) for pair in value)


ClassPairs = Annotated[tuple[tuple[str, str], ...], BeforeValidator(_as_pairs)]
"""Classes and what each is taken for: ``{ cat = "dog" }``, or ``[["cat", "dog"]]``."""

_OF_KIND = {"noise_file": "human", "noise_key": "human", "noise_pairs": "asymmetric"}


def check_noise(task: Mapping[str, Any], *, masks: bool) -> None:
    """Raise ValueError, which begins with the key, where a task's keys of labels do not go together."""
    kind, pairs = task["noise_kind"], task["noise_pairs"]
    human = kind == "human"
    if human and not task["noise_file"]:
        raise ValueError(
            "noise_file: noise_kind = 'human' needs the file of the labels that people gave, such as CIFAR-10_human.pt"
        )
    if human and task["label_noise"]:
        raise ValueError(
            "label_noise: with noise_kind = 'human' the file decides how many labels are wrong; make it 0, or "
            "leave it out"
        )
    for name, wanted in _OF_KIND.items():
        if task[name] and kind != wanted:
            raise ValueError(f"{name}: is for noise_kind = '{wanted}', not '{kind}'")
    sources = [source for source, _ in pairs] if not isinstance(pairs, str) else []
    twice = next((source for source in sources if sources.count(source) > 1), None)
    if twice is not None:
        raise ValueError(f"noise_pairs: class '{twice}' is taken for one other class, and two are given")
    for name, given in (("noise_kind", human), ("imbalance", task["imbalance"] > 1)):
        if masks and given:
            raise ValueError(
                f"{name}: is for data with a class for each sample, and masks have one a pixel; leave it out"
            )
