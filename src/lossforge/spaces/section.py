"""What all sections of a search space share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

NOTHING = ("null", "none", "None")
"""How a command line writes that there is no value."""


class Typed(str):
    """A text as it was typed on a command line, without quotes: a number or a switch where its key takes one."""

    __slots__ = ()


class Section(BaseModel):
    """Frozen; a key that it does not have is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _of_its_kind_alone(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where a number is meant, and texts that pydantic would read as numbers or switches."""
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, bool) and bool not in (field.annotation, *get_args(field.annotation)):
            raise ValueError(f"{str(value).lower()} is no value for it; true and false are for switches")
        if isinstance(value, Typed):
            return _meant(value, field)
        kinds = {*_kinds(field.annotation)}
        for text in _texts(value) if str not in kinds else ():
            wanted = None if text in kinds else _without_quotes(text)
            if wanted:
                raise ValueError(f"{text!r} is a text; write {wanted}")
        return value


def _meant(text: Typed, field: FieldInfo) -> Any:
    """None where a key that has no value by default is to be unset; else the text."""
    if text not in NOTHING or {str, str(text)} & {*_kinds(field.annotation)}:
        return str(text)
    if field.default is None:
        return None
    plain = isinstance(field.default, int | float | str | list | tuple)
    raise ValueError(f"it cannot be unset{f'; its default is {field.default!r}' if plain else ''}")


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of, and the values of its literals."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif get_args(annotation):
        for part in get_args(annotation):
            yield from _kinds(part)
    else:
        yield annotation


def _texts(value: Any) -> Iterator[str]:
    """The texts that a value is, or holds."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _without_quotes(text: str) -> str:
    """What to write for a text that pydantic would read as a switch or a number; "" where it would not."""
    if text.strip().lower() in ("true", "false", "yes", "no", "on", "off", "y", "n", "t", "f"):
        return "true or false, without quotes"
    try:
        return f"{text.strip()} without quotes" if math.isfinite(float(text)) else ""
    except ValueError:
        return ""
