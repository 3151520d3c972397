"""Read single values: dollars and shares as exact decimals, whole numbers, time zones, URLs that may hold a password.

Used as the types of keys in sections.py; each validator raises ValueError with what to write instead, which pydantic
collects. Values become nano-dollars, parts per million and ZoneInfo here, at the edge, and stay so. They print as they
are written; a SecretUrl prints without its password, whoever prints it.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BeforeValidator, PlainSerializer

from bqgate.domain.money import format_usd, parse_usd
from bqgate.domain.units import PPM

MASK = "*****"

_QUOTE_IT = 'is read as a binary number, which loses digits; quote it, like "{}"'


@dataclass(frozen=True, slots=True)
class UsdAmount:
    """An amount or a price in dollars, held in nano-dollars."""

    nanos: int

    def __str__(self) -> str:
        return format_usd(self.nanos)


@dataclass(frozen=True, slots=True)
class Share:
    """A ratio, held in parts per million."""

    ppm: int

    def __str__(self) -> str:
        whole, rest = divmod(self.ppm, PPM)
        decimals = f"{rest:06d}".rstrip("0")
        return f"{whole}.{decimals}" if decimals else str(whole)


@dataclass(frozen=True, slots=True)
class SecretUrl:
    """A URL that may bear a password. Only `reveal` shows it whole."""

    _text: str = field(repr=False)

    def reveal(self) -> str:
        """The URL as it was given, for the one who connects."""
        return self._text

    @property
    def scheme(self) -> str:
        return self._text.partition(":")[0].lower()

    def __str__(self) -> str:
        # Greedy up to the last @: a password that somebody forgot to escape may hold one too.
        text = re.sub(r"(://[^:/?#]*):.*@", rf"\1:{MASK}@", self._text, flags=re.DOTALL)
        return re.sub(r"(pass[a-z]*=)[^&]*", rf"\1{MASK}", text, flags=re.IGNORECASE)


def read_usd(value: object) -> UsdAmount:
    """Dollars as a quoted decimal, or as a whole number, which YAML reads exactly."""
    if isinstance(value, UsdAmount):
        return value
    if isinstance(value, float):
        raise ValueError(_QUOTE_IT.format(value))
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError('must be an amount in dollars, like "12.50"')
    return UsdAmount(parse_usd(str(value)))


def read_share(value: object) -> Share:
    """A ratio as a quoted decimal: "0.05" is five per cent."""
    if isinstance(value, Share):
        return value
    if isinstance(value, float):
        raise ValueError(_QUOTE_IT.format(value))
    try:
        ppm = Decimal(value) * PPM if isinstance(value, str | int) and not isinstance(value, bool) else None
    except InvalidOperation:
        ppm = None
    if ppm is None or not ppm.is_finite() or ppm != ppm.to_integral_value():
        raise ValueError('must be a ratio of at most six decimals, like "0.05"')
    if not 0 <= ppm <= PPM:
        raise ValueError(f'{str(value)!r} is not between "0" and "1"; "0.05" is five per cent')
    return Share(int(ppm))


def read_whole(value: object) -> int:
    """A whole number; the environment brings it as text."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r:.80} is not a whole number")
    return value


def read_zone(value: object) -> ZoneInfo:
    """A time zone by its IANA name."""
    if isinstance(value, ZoneInfo):
        return value
    names = available_timezones()
    if not isinstance(value, str) or value not in names:
        close = get_close_matches(str(value), names, n=1)
        hint = f"did you mean {close[0]}?" if close else "write an IANA name like Europe/Berlin, or UTC"
        raise ValueError(f"{value!r:.80} is not a time zone; {hint}")
    return ZoneInfo(value)


def read_web_url(value: object) -> str:
    """The root of a web server, without a path: what the gate puts BigQuery's paths behind."""
    if not isinstance(value, str):
        raise ValueError('must be a URL, like "https://bigquery.googleapis.com"')
    try:
        parts = urlsplit(value)
        is_root = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise ValueError("is not a URL; write it like https://bigquery.googleapis.com") from None
    if parts.scheme not in {"http", "https"} or not is_root:
        raise ValueError("must begin with https:// or http:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must hold no user and no password; the gate sends credentials in a header")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("must end after the host and port; the gate adds BigQuery's paths itself")
    return value.rstrip("/")


def read_store_url(value: object, *, schemes: Collection[str], example: str) -> SecretUrl:
    """The URL of a store. What is wrong with it is said without quoting it."""
    if isinstance(value, SecretUrl):
        return value
    if not isinstance(value, str) or "://" not in value:
        raise ValueError(f"must be a URL, like {example}")
    url = SecretUrl(value)
    if url.scheme not in schemes:
        raise ValueError(f"begins with {url.scheme}://; this gate knows {', '.join(f'{each}://' for each in schemes)}")
    return url


def read_budgets_url(value: object) -> SecretUrl:
    """Where budgets are kept."""
    schemes = ("memory", "redis", "rediss", "unix", "redis+cluster", "rediss+cluster")
    return read_store_url(value, schemes=schemes, example="redis://localhost:6379/0")


def read_ledger_url(value: object) -> SecretUrl:
    """Where the ledger is kept. A database in memory would forget what was booked."""
    url = read_store_url(value, schemes=("sqlite", "postgresql"), example="sqlite:///bqgate.db")
    _, _, rest = url.reveal().partition("://")
    if url.scheme == "sqlite" and (rest in {"", "/", "/:memory:"} or "mode=memory" in rest):
        raise ValueError("a ledger in memory forgets what was booked; give it a file, like sqlite:///bqgate.db")
    return url


_as_text = PlainSerializer(str, return_type=str)

Usd = Annotated[UsdAmount, BeforeValidator(read_usd), _as_text]
Ratio = Annotated[Share, BeforeValidator(read_share), _as_text]
Whole = Annotated[int, BeforeValidator(read_whole)]
Zone = Annotated[ZoneInfo, BeforeValidator(read_zone), _as_text]
WebUrl = Annotated[str, BeforeValidator(read_web_url)]
BudgetsUrl = Annotated[SecretUrl, BeforeValidator(read_budgets_url), _as_text]
LedgerUrl = Annotated[SecretUrl, BeforeValidator(read_ledger_url), _as_text]
