"""Read single JSON fields with the leniency of BigQuery's front end, and say which one is wrong.

Used by the other modules of wire. Booleans sometimes travel as strings, and names may come in snake_case (proto JSON,
https://protobuf.dev/programming-guides/json/); integers.py reads numbers. Errors: MalformedRequest with the field.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from bqgate.domain.errors import MalformedRequest
from bqgate.wire.integers import integer_at

_SNAKE = re.compile(r"_([a-z0-9])")
# No object of BigQuery's whose names are read has as many, and no name is as long.
_NAMES_MAX = 1_000
_NAME_CHARS_MAX = 256
_FLAG_CHARS_MAX = 5
_PLAIN_CHARS_MAX = 18  # less than 64 bits, whichever digits they are
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
_FLAGS = {
    **dict.fromkeys(("true", "t", "yes", "y", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0"), False),
}


def camel_keys(document: Mapping[str, Any], *, path: str) -> dict[str, Any]:
    """The same object with snake_case names in camelCase, so that a name has one spelling and one meaning.

    Raises:
        MalformedRequest: both spellings of a name are there, or more names than any object of BigQuery's has.
    """
    if len(document) > _NAMES_MAX:
        field = path.rstrip(".") or "body"
        raise MalformedRequest(f"Invalid value for field {field}: it has more than {_NAMES_MAX} fields.", field=field)
    if "_" not in "".join(document):
        return dict(document)
    renamed: dict[str, Any] = {}
    for key, value in document.items():
        name = camel_name(key)
        if name in renamed:
            raise MalformedRequest(f"Field {path}{name} is given twice.", field=f"{path}{name}")
        renamed[name] = value
    return renamed


def camel_name(name: str) -> str:
    """A name in camelCase. One that is longer than any field's stays as it is."""
    if "_" not in name or len(name) > _NAME_CHARS_MAX:
        return name
    return _SNAKE.sub(lambda match: match.group(1).upper(), name)


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
    """The boolean in a field; texts count in every spelling that protocol buffers' parser takes, numbers do not."""
    value = document.get(name)
    if value is None or isinstance(value, bool):
        return value
    is_word = isinstance(value, str) and len(value) <= _FLAG_CHARS_MAX
    flag = _FLAGS.get(value.lower()) if is_word else None
    if flag is None:
        raise wrong_type(f"{path}{name}", "a boolean")
    return flag


def settled_flag(holder: dict[str, Any], name: str, *, path: str = "") -> bool | None:
    """The same, and from here on the field has true or false, so that what is judged is what is sent."""
    flag = flag_at(holder, name, path=path)
    if flag is not None:
        holder[name] = flag
    return flag


def count_at(document: Mapping[str, Any], name: str) -> int | None:
    """A count in an answer of BigQuery's; None where it is absent or not one. A negative count is no count."""
    value = document.get(name)
    if type(value) is str and len(value) <= _PLAIN_CHARS_MAX and value.isascii() and value.isdigit():
        return int(value)  # as nearly all come
    try:
        value = integer_at(document, name)
    except MalformedRequest:
        return None
    return value if value is not None and value >= 0 else None


def moment_at(document: Mapping[str, Any], name: str) -> datetime | None:
    """A moment in an answer of BigQuery's, in milliseconds since 1970; None where it is absent or none."""
    value = count_at(document, name)
    return None if value is None or value > _LAST_MS else _EPOCH + timedelta(milliseconds=value)


def wrong_type(field: str, wanted: str) -> MalformedRequest:
    """The error for a field of the wrong type."""
    return MalformedRequest(f"Invalid value for field {field}: it must be {wanted}.", field=field)
