"""Let the fields of a JSON body through by name, at every depth, and in one spelling from there on.

Used by job_bodies.py and resources.py, where the gate stands alone between its customers. What is not listed is
refused: it is newer than the list, or another spelling that Google's parser knows and the gate does not (the JSON name
of `external_table_definitions` is tableDefinitions). The lists are those of BigQuery's discovery document, revision
20261009. What leaves is the body, or AccessDenied and MalformedRequest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from bqgate.gate.isolation.denials import use_denied
from bqgate.wire.fields import camel_keys, wrong_type
from bqgate.wire.json_text import JsonText

_SHOWN_CHARS_MAX = 64


class Field(Enum):
    """What a field may have that is no object of known fields."""

    VALUE = "value"  # a text, a number, a boolean, or a list of them
    OWN = "own"  # names and values of the caller's own choice: labels, parameters, rows
    EMPTY = "empty"  # nothing: what it could say leads past isolation
    IGNORED = "ignored"  # BigQuery says it, or a client notes it for itself: left out of what goes on


Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MapOf:
    """A map whose names are the caller's, and whose values are objects of these fields."""

    fields: Fields


def values(*names: str) -> dict[str, Any]:
    """Fields that have values."""
    return dict.fromkeys(names, Field.VALUE)


def listed(document: Mapping[str, Any], fields: Fields, *, path: str = "") -> dict[str, Any]:
    """The object, with its names in camelCase, where it has nothing but listed fields.

    Args:
        document: as it came.
        fields: for each name a Field, a MapOf, or the fields of the object, or of the objects in the list, it has.
        path: where the object stands, with a point at its end.

    Raises:
        AccessDenied: it has another field.
        MalformedRequest: a field is given twice, or is no object where it must be one.
    """
    kept: dict[str, Any] = {}
    for name, value in camel_keys(document, path=path).items():
        part = fields.get(name)
        shown = f"{path}{name[:_SHOWN_CHARS_MAX]}"
        if part is None or (part is Field.EMPTY and value):
            raise use_denied(f"The field {shown}")
        if part is not Field.IGNORED and part is not Field.EMPTY:
            kept[name] = _judged(value, part, shown)
    return kept


def _judged(value: Any, part: Any, path: str) -> Any:
    # A large list of parameters is not taken apart: they are values, and name no data.
    if value is None or part is Field.OWN or isinstance(value, JsonText):
        return value
    if part is Field.VALUE:
        items = value if isinstance(value, list) else [value]
        if any(isinstance(item, (dict, list)) for item in items):
            raise wrong_type(path, "a value, or a list of values")
        return value
    if isinstance(part, MapOf):
        return {name: _object(item, part.fields, path) for name, item in _map(value, path).items()}
    if isinstance(value, list):
        return [_object(item, part, path) for item in value]
    return _object(value, part, path)


def _object(value: Any, fields: Fields, path: str) -> dict[str, Any]:
    return listed(_map(value, path), fields, path=f"{path}.")


def _map(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise wrong_type(path, "an object")
    return value
