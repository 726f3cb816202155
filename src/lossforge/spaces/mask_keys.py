"""Keys of a task that say what pixels of masks stand for, and which classes are one; and what goes together of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

CLASS_TABLE = "class_dict.csv"
"""The table of names and colours (name, r, g, b) that lies beside masks."""
MASK_SETS: dict[str, int | None] = {"voc2012": 255, "coco_stuff": 255, "deepglobe": None, "crack_segmentation": None}
"""Data sets with a name whose samples have masks, and the value of pixels that are out of everything there."""
_BY_COLOUR = ("deepglobe",)
_BY_THRESHOLD = ("crack_segmentation",)
"""Data sets with a name whose masks are colours, and grey levels of which a threshold makes two classes."""

_EXAMPLE = "{ background = [0, 0, 0], water = [0, 0, 255] }"


def _as_colours(value: Any) -> Any:
    """A table of classes as pairs of a name and a colour; or the name of the file that has them."""
    if isinstance(value, dict):
        value = [*value.items()]
    if isinstance(value, str):
        if value != CLASS_TABLE:
            raise ValueError(f"{value!r} is neither '{CLASS_TABLE}', the data's own table, nor one such as {_EXAMPLE}")
        return str(value)
    if not isinstance(value, list | tuple):
        raise ValueError(f"give a table such as {_EXAMPLE}, or '{CLASS_TABLE}', the data's own")
    pairs = tuple(_pair(one) for one in value)
    for what, given in (("class", [name for name, _ in pairs]), ("colour", [str([*colour]) for _, colour in pairs])):
        twice = next((one for one in given if given.count(one) > 1), None)
        if twice is not None:
            raise ValueError(f"{what} {twice} is there twice; a class has one colour of its own")
    if len(pairs) == 1:
        raise ValueError("names one class; there must be two at least")
    return pairs


def _pair(given: Any) -> tuple[str, tuple[int, ...]]:
    name, colour = given if isinstance(given, list | tuple) and len(given) == 2 else ("", None)
    parts = tuple(colour) if isinstance(colour, list | tuple) else ()
    if not isinstance(name, str | int) or len(parts) != 3 or not all(_is_byte(part) for part in parts):
        raise ValueError(f"{given!r} is no class with its red, green and blue, 0 to 255 each; write {_EXAMPLE}")
    return str(name), parts


def _is_byte(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _as_value(value: Any) -> Any:
    """A number, and no value, as a command line writes them."""
    if value == "null":
        return None
    return int(value) if isinstance(value, str) and value.removeprefix("-").isdecimal() else value


def _as_names(value: Any) -> Any:
    """Names of classes; one alone is a list of one, and a number a name."""
    given = [value] if isinstance(value, str | int) and not isinstance(value, bool) else value
    if not isinstance(given, list | tuple):
        return given
    names = tuple(str(one) if isinstance(one, int) and not isinstance(one, bool) else one for one in given)
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice is not None:
        raise ValueError(f"class {twice!r} is there twice")
    return names


MaskColours = Annotated[str | tuple[tuple[str, tuple[int, int, int]], ...], BeforeValidator(_as_colours)]
"""Classes with their colours: ``{ water = [0, 0, 255] }``, or "class_dict.csv"."""
ClassNames = Annotated[tuple[str, ...], BeforeValidator(_as_names)]
IgnoredValue = Annotated[
    Annotated[int, Field(ge=-(2**31), lt=2**31)] | Annotated[str, Field(min_length=1)] | None,
    BeforeValidator(_as_value),
]
"""The value of pixels that do not count; of masks of colours, the class's name."""
Threshold = Annotated[int, Field(ge=1, le=255)]


def has_masks(data: str) -> bool:
    """Whether ``task.data`` names data that have a class for every pixel.

    >>> has_masks("masks:cracks.npz"), has_masks("voc2012"), has_masks("digits")
    (True, True, False)
    """
    return data in MASK_SETS or data.startswith("masks:")


def check_masks(task: Mapping[str, Any]) -> None:
    """Raise ValueError, which begins with the key, where a task's keys of masks do not go together."""
    data, colours = task["data"], task["mask_colours"]
    own = data.startswith("masks:")
    if task["ignore"] is not None:
        _check_ignored(task["ignore"], data, colours)
    if colours and not own:
        its_own = f", and '{data}' has its own" if data in _BY_COLOUR else ""
        raise ValueError(f"mask_colours: is for data of masks:{its_own}; leave it out")
    if task["mask_threshold"] is not None and not own and data not in _BY_THRESHOLD:
        raise ValueError("mask_threshold: is for data of masks: and crack_segmentation; leave it out")
    if task["nearest_colour"] and not colours and data not in _BY_COLOUR:
        raise ValueError("nearest_colour: is for masks of colours; set mask_colours too, or leave it out")


def _check_ignored(ignore: int | str, data: str, colours: Any) -> None:
    if not has_masks(data):
        raise ValueError("ignore: is for masks, of which it names the pixels that do not count; leave it out")
    coloured = bool(colours) or data in _BY_COLOUR
    if isinstance(ignore, str) is not coloured:
        told = "colours; write the name of their class" if coloured else "numbers; write their value, such as 255"
        raise ValueError(f"ignore: {ignore!r} names no pixels of masks of {told}")
    if isinstance(colours, tuple) and colours and ignore not in dict(colours):
        raise ValueError(f"ignore: '{ignore}' is no class of mask_colours ({', '.join(dict(colours))})")


def check_classes(task: Mapping[str, Any]) -> None:
    """The same of the keys that say which classes are taken, and which are one."""
    if task["only"] and has_masks(task["data"]):
        raise ValueError("only: is for data with a class for each sample; of masks, ignore names what does not count")
    if task["only"] and task["noise_kind"] == "human":
        raise ValueError("only: does not go with noise_kind = 'human', whose file has a label for every sample")
    if task["positive"] and task["head"] == "sigmoid":
        raise ValueError("positive: makes two classes, for the heads softmax and binary; leave it out behind sigmoids")
    if task["positive"] and task["metric"] == "top5_accuracy":
        raise ValueError("metric: top5_accuracy needs more than 5 classes, and positive makes two")
