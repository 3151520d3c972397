"""Say what is wrong with the settings: where, what, and what to write instead.

Made by document, load and rules; shown by `bqgate check-config` and `bqgate serve`. All faults are reported at once.
A message never quotes a value that may hold a password.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `path` is as in the file ("tiers.standard.daily_usd"), `source` the environment variable, if any."""

    path: str
    message: str
    source: str | None = None

    def __str__(self) -> str:
        origin = f" (from {self.source})" if self.source else ""
        return f"{self.path}: {self.message}{origin}"


class SettingsInvalid(Exception):
    """The settings cannot be used; `faults` has every reason, in the order of the document."""

    def __init__(self, faults: Collection[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


def unknown_key(known: Collection[str], key: str) -> str:
    """The message for a key that nobody reads."""
    close = get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(sorted(known))}"
    return f"unknown key; {hint}"


_MESSAGES: Mapping[str, str] = {
    "missing": "is missing; it has no default",
    "enum": "{input!r:.80} is not one of {choices}",
    "greater_than_equal": "{input!r:.80} is too small; {ge} is the least",
    "less_than_equal": "{input!r:.80} is too large; {le} is the most",
    "string_type": 'must be text; quote it, like "{input}"',
    "string_pattern_mismatch": "{input!r:.80} is no name; names are of letters, digits, and . _ : - inside",
    "model_type": "must be a mapping of keys to values",
    "tuple_type": "must be a list, like [a, b], written in the settings file",
    "value_error": "{error}",
}


def message_of(error: ErrorDetails, known: Collection[str]) -> str:
    """What to tell about one of pydantic's errors. `known` are the keys of the mapping in which it happened."""
    if error["type"] == "extra_forbidden":
        return unknown_key(known, str(error["loc"][-1]))
    context: Mapping[str, Any] = error.get("ctx", {})
    choices = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ")
    template = _MESSAGES.get(error["type"])
    return error["msg"] if template is None else template.format(input=error["input"], choices=choices, **context)
