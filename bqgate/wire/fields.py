"""Read single JSON fields with the leniency of BigQuery's front end, and say which one is wrong.

Used by the other modules of wire. Booleans sometimes travel as strings, and names may come in snake_case (proto JSON,
https://protobuf.dev/programming-guides/json/); integers.py reads numbers. Errors: MalformedRequest with the field.
"""

import re
from collections.abc import Mapping
from typing import Any

from bqgate.domain.errors import MalformedRequest
from bqgate.wire.integers import integer_at

_SNAKE = re.compile(r"_([a-z0-9])")


def camel_keys(document: Mapping[str, Any], *, path: str) -> dict[str, Any]:
    """The same object with snake_case names in camelCase, so that a name has one spelling and one meaning.

    Raises:
        MalformedRequest: both spellings of a name are there.
    """
    renamed: dict[str, Any] = {}
    for key, value in document.items():
        name = _SNAKE.sub(lambda match: match.group(1).upper(), key)
        if name in renamed:
            raise MalformedRequest(f"Field {path}{name} is given twice.", field=f"{path}{name}")
        renamed[name] = value
    return renamed


def object_at(document: Mapping[str, Any], name: str, *, path: str = "") -> dict[str, Any] | None:
    """The object in a field, with its names in camelCase; None where the field is absent or null."""
    value = document.get(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong_type(f"{path}{name}", "an object")
    return camel_keys(value, path=f"{path}{name}.")


def text_at(document: Mapping[str, Any], name: str, *, path: str = "") -> str | None:
    """The string in a field; None where it is absent, null or empty (proto JSON's default)."""
    value = document.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise wrong_type(f"{path}{name}", "a string")
    return value


def flag_at(document: Mapping[str, Any], name: str, *, path: str = "") -> bool | None:
    """The boolean in a field; "true" and "false" count as booleans."""
    value = document.get(name)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and value in {"true", "false"}:
        return value == "true"
    raise wrong_type(f"{path}{name}", "a boolean")


def count_at(document: Mapping[str, Any], name: str) -> int | None:
    """A count in an answer of BigQuery's; None where it is absent or not one. A negative count is no count."""
    try:
        value = integer_at(document, name)
    except MalformedRequest:
        return None
    return value if value is not None and value >= 0 else None


def labels_at(document: Mapping[str, Any], *, path: str = "") -> dict[str, str]:
    """The labels: a map of strings, all of whose characters a database keeps; BigQuery takes fewer."""
    value = document.get("labels")
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise wrong_type(f"{path}labels", "a map of strings")
    if not all(text.isprintable() for label in value.items() for text in label):
        raise wrong_type(f"{path}labels", "a map of strings of printable characters")
    return dict(value)


def wrong_type(field: str, wanted: str) -> MalformedRequest:
    """The error for a field of the wrong type."""
    return MalformedRequest(f"Invalid value for field {field}: it must be {wanted}.", field=field)
