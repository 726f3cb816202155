"""The search spaces and plans that come with lossforge, by name: in an installed package, and in the source tree."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from lossforge.errors import SpaceError, offered

_PACKAGE = Path(__file__).resolve().parents[1]
_PLACES = (_PACKAGE / "search_spaces", _PACKAGE.parents[1] / "search_spaces")
"""Where they lie in an installed package, and in the source tree."""


def shipped_spaces() -> dict[str, Path]:
    """The file of each, by name, sorted."""
    place = next((place for place in _PLACES if (place / "digits.toml").is_file()), None)
    return {} if place is None else {path.stem: path for path in sorted(place.glob("*.toml"))}


def shipped_plans() -> dict[str, Path]:
    """The file of each plan, by name, sorted."""
    place = next((place for place in _PLACES if (place / "digits.toml").is_file()), None)
    return {} if place is None else {path.stem: path for path in sorted((place / "plans").glob("*.toml"))}


def schema_file(kind: str) -> Path:
    """The JSON schema that comes with lossforge, of a ``space`` or a ``plan``; see `lossforge.spaces.json_schema`."""
    place = next((place for place in _PLACES if (place / "digits.toml").is_file()), _PLACES[0])
    return place / f"{kind}.schema.json"


def find_space(given: str | Path) -> Path:
    """The file that is given, or the shipped space of that name. Raises SpaceError where there is neither.

    >>> find_space("digits").name
    'digits.toml'
    """
    if not isinstance(given, str | PathLike):
        raise SpaceError(
            f"a space is the path of a TOML file, the name of a shipped space, or a dict of its tables, not {given!r}"
        )
    path = Path(given)
    if path.exists() and not path.is_dir():
        return path
    shipped = shipped_spaces()
    name = path.name.removesuffix(".toml")
    if path == Path(path.name) and name in shipped:
        return shipped[name]
    if path.is_dir():
        return path
    raise SpaceError(f"{given}: there is no such file, and no shipped space of that name{offered(name, shipped)}")
