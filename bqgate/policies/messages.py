"""Say what is wrong with a document in words for whoever wrote it, from what pydantic found.

Used for the settings file and for what admins send. A message quotes what was given only where it cannot be a secret.
"""

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails


def unknown_key(known: Collection[str], key: str) -> str:
    """The message for a key that nobody reads."""
    close = get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(sorted(known))}"
    return f"unknown key; {hint}"


# What quotes the input in a message: before it, or as an example behind it.
_QUOTE = re.compile(r'\{input!r:\.80\} |; quote it, like "\{input!s:\.80\}"')

# What is shorter is no secret, but may be a word of the message.
_SECRET_LENGTH_MIN = 8

_MESSAGES: Mapping[str, str] = {
    "missing": "is missing; it has no default",
    "enum": "{input!r:.80} is not one of {choices}",
    "bool_parsing": "{input!r:.80} is neither true nor false",
    "bool_type": "must be true or false",
    "greater_than_equal": "{input!r:.80} is too small; {ge} is the least",
    "less_than_equal": "{input!r:.80} is too large; {le} is the most",
    "string_type": 'must be text; quote it, like "{input!s:.80}"',
    "string_too_short": "must not be empty",
    "string_too_long": "is too long; {max_length} characters are the most",
    "string_pattern_mismatch": "{input!r:.80} is no name; names are of letters, digits, and . _ : - inside",
    "model_type": "must be a mapping of keys to values",
    "tuple_type": "must be a list, like [a, b], written in the settings file",
    "too_short": "must not be empty",
    "too_long": "has too many; {max_length} are the most",
    "path_type": "must be the path of a file",
    "timezone_aware": "must say its time zone, like 2026-12-01T18:00:00Z",
    "datetime_type": "must be a moment, like 2026-12-01T18:00:00Z",
    "datetime_parsing": "{input!r:.80} is no moment; write one like 2026-12-01T18:00:00Z",
    "datetime_from_date_parsing": "{input!r:.80} is no moment; write one like 2026-12-01T18:00:00Z",
    "literal_error": "{input!r:.80} is not one of {choices}",
    "value_error": "{error}",
}


def message_of(error: ErrorDetails, known: Collection[str], *, may_quote: bool = True) -> str:
    """What to tell about one of pydantic's errors.

    Args:
        error: what pydantic found, with its input.
        known: the keys of the mapping in which it happened.
        may_quote: False where a secret may stand in the wrong place: what was given is then not repeated.
    """
    if error["type"] == "extra_forbidden":
        return unknown_key(known, str(error["loc"][-1]))
    if error["type"] == "string_type" and not isinstance(error["input"], int | float):
        return "must be text"
    context: Mapping[str, Any] = error.get("ctx", {})
    choices = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ")
    template = _MESSAGES.get(error["type"])
    if template is not None and not may_quote:
        template = _QUOTE.sub("", template)
    return error["msg"] if template is None else template.format(input=error["input"], choices=choices, **context)


def unquoted(message: str, given: str) -> str:
    """The same without what was given, however a rule of ours quoted it: for text that may be another key's secret."""
    for quoted in (f"{given!r} ", f"{given!r:.80} "):
        message = message.replace(quoted, "")
    bare = given.strip()
    return "is not what this key takes" if len(bare) >= _SECRET_LENGTH_MIN and bare in message else message
