"""Read whether a caller takes gzip (RFC 9110 section 12.5.3). Pure.

Used by the forward step, which has to choose for the caller: of all encodings the gate can read gzip alone in passing.
"""

import re
from functools import lru_cache

from bqgate.wire.http_message import Headers, headers_of

ACCEPT_ENCODING = frozenset({"accept-encoding"})
# Longer than any client's: what no client sends is not read, and plain text is never wrong.
_CHARS_MAX = 1_024
_WEIGHT = re.compile(r"q=(?:(?P<part>0(?:\.[0-9]{0,3})?)|1(?:\.0{0,3})?)", re.IGNORECASE)


def accepts_gzip(headers: Headers) -> bool:
    """Whether gzip may be sent, and is wanted no less than plain text."""
    line = ",".join(headers_of(headers, ACCEPT_ENCODING))
    return len(line) <= _CHARS_MAX and _takes_gzip(line)


@lru_cache(maxsize=100)  # a client always says the same
def _takes_gzip(line: str) -> bool:
    weights: dict[str, int] = {}
    for element in line.split(","):
        coding, *parameters = (part.strip() for part in element.split(";"))
        if coding:
            name = coding.lower().removeprefix("x-")
            weights[name] = min(_thousandths(parameters), weights.get(name, 1_000))
    gzip = weights.get("gzip", weights.get("*", 0))
    return gzip > 0 and gzip >= weights.get("identity", 0)


def _thousandths(parameters: list[str]) -> int:
    """The weight behind a coding, 1000 where there is none; 0 where it is not one, so that nothing is guessed."""
    if not parameters:
        return 1_000
    match = _WEIGHT.fullmatch(parameters[0])
    if match is None:
        return 0
    return 1_000 if match["part"] is None else int(match["part"].partition(".")[2].ljust(3, "0"))
