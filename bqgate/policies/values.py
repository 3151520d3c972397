"""Read single values: dollars and shares as exact decimals, whole numbers, time zones, names, addresses, data.

The types of keys in models.py and of the settings' sections. Each reader raises ValueError with what to write instead,
which pydantic collects. Values become nano-dollars, parts per million and ZoneInfo here, at the edge, and stay so. They
print as they are written, and tell a JSON schema the truth about what is read.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from functools import cache
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from bqgate.domain.money import format_usd, parse_usd
from bqgate.domain.units import PPM

# Ids stand in URLs, Redis keys and labels; a project id may have a domain before a colon.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(?P<zone>[Zz]|[+-]\d\d:\d\d)?", re.ASCII)
_LIKE_A_MOMENT = "like 2026-12-01T18:00:00Z"

_QUOTE_IT = 'is read as a binary number, which loses digits; quote it, like "{}"'

_DOMAIN = r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])"
_ACCOUNT = rf"[a-z0-9._-]{{1,64}}@{_DOMAIN}"  # it stands in the URL by which IAM is asked for its tokens
_EMAIL = rf"[^@\s\x00-\x1f\x7f]{{1,64}}@{_DOMAIN}"
# A project may have a domain before a colon: example.com:reports.
_PROJECT = r"(?:[a-z0-9.-]{1,100}:)?[A-Za-z0-9][A-Za-z0-9-]{0,99}"
_PROJECT_ID = r"(?:[a-z0-9.-]{1,100}:)?[a-z][a-z0-9-]{0,62}"
_RESERVATION = r"projects/[A-Za-z0-9:.-]+/locations/[A-Za-z0-9-]+/reservations/[a-z0-9-]+"
_DATASET = rf"{_PROJECT}\.[A-Za-z0-9_]{{1,1024}}"
_BUCKET = r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](?:/[^\s\x00-\x1f\x7f*?]{0,1024})?"


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
        raise ValueError(f'{str(value)!r:.80} is not between "0" and "1"; "0.05" is five per cent')
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
    names = _zone_names()
    if not isinstance(value, str) or value not in names:
        close = get_close_matches(str(value)[:80], names, n=1)
        hint = f"did you mean {close[0]}?" if close else "write an IANA name like Europe/Berlin, or UTC"
        raise ValueError(f"{value!r:.80} is not a time zone; {hint}")
    return ZoneInfo(value)


@cache
def _zone_names() -> frozenset[str]:
    # Walks the time zone database's folders: too slow to be done for each of a thousand customers.
    return frozenset(available_timezones())


def read_email_or_domain(value: str) -> str:
    """Whom a credential may name: ann@acme.com, or acme.com for everybody there. In small letters."""
    text = value.lower()
    if not re.fullmatch(f"{_EMAIL}|{_DOMAIN}", text):
        raise ValueError(f"{value!r:.80} is neither an e-mail address nor a domain, like ann@acme.com or acme.com")
    return text


def read_account(value: str) -> str:
    """A service account, by its e-mail address."""
    if not re.fullmatch(_ACCOUNT, value.lower()):
        raise ValueError(f"{value!r:.80} is not a service account, like reports@acme-prod.iam.gserviceaccount.com")
    return value.lower()


def read_project(value: str) -> str:
    """A project, by its id, in the small letters that Google writes it in."""
    if not re.fullmatch(_PROJECT_ID, value.lower()):
        raise ValueError(f"{value!r:.80} is no project's id, like acme-prod; a project's number is none")
    return value.lower()


def read_whose_project(value: str) -> str:
    """A project by its id, or * for each."""
    return value if value == "*" else read_project(value)


def read_reservation(value: str) -> str:
    """A reservation by its full path, or none: on demand."""
    if value.lower() != "none" and not re.fullmatch(_RESERVATION, value):
        message = "is no reservation; write projects/<project>/locations/<location>/reservations/<name>, or none"
        raise ValueError(f"{value!r:.80} {message}")
    return value


def read_data(value: str) -> str:
    """Data that may be read and written: a project, a dataset of one, or a bucket with or without a prefix."""
    if not re.fullmatch(f"{_PROJECT}|{_DATASET}|{_BUCKET}", value):
        raise ValueError(f"{value!r:.80} is no data; write project, project.dataset or gs://bucket/prefix")
    return value


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """A time of day, in minutes since midnight; 24:00 is the end of the day."""

    minute: int

    def __str__(self) -> str:
        return f"{self.minute // 60:02d}:{self.minute % 60:02d}"


def read_time_of_day(value: object) -> TimeOfDay:
    """A time of day like "20:00"."""
    if isinstance(value, TimeOfDay):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00", value):
        raise ValueError(f'{value!r:.80} is no time of day; write it like "20:00"')
    hours, minutes = value.split(":")
    return TimeOfDay(int(hours) * 60 + int(minutes))


def read_moment(value: object) -> datetime:
    """A moment, with its time zone. In UTC. A number is none: it might be a date without its dashes, or a count."""
    if isinstance(value, datetime):
        return _in_utc(value)
    if not isinstance(value, str):
        raise ValueError(f"must be a moment, {_LIKE_A_MOMENT}")
    found = _MOMENT.fullmatch(value)
    if found is not None and found["zone"] is None:
        raise ValueError(f"must say its time zone, {_LIKE_A_MOMENT}")
    if found is not None:
        try:
            return _in_utc(datetime.fromisoformat(value.upper()))
        except ValueError:
            pass  # no such day, or beyond the calendar
    raise ValueError(f"{value!r:.80} is no moment; write one {_LIKE_A_MOMENT}")


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"must say its time zone, {_LIKE_A_MOMENT}")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"is beyond the calendar; write a moment {_LIKE_A_MOMENT}") from None


def read_line(value: str) -> str:
    """One line of text that every database keeps and every terminal shows."""
    if not value.isprintable():
        raise ValueError("must be one line of printable characters")
    return value


def read_label(value: str) -> str:
    """One label of a job with its value, as BigQuery takes them: team=ml."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}=[a-z0-9_-]{0,63}", value):
        raise ValueError(f"{value!r:.80} is no label with its value, like team=ml")
    return value


def read_whose(value: str) -> str:
    """Whose a budget is: a name, or * for each."""
    if not value or not value.isprintable() or value != value.strip():
        raise ValueError(f'{value!r:.80} is nobody; write a name, or "*" for each')
    return value


_as_text = PlainSerializer(str, return_type=str)

_usd_text = {"pattern": r"^[0-9]{1,7}(\.[0-9]{1,9})?$", "examples": ["12.50"]}
_ratio_text = {"pattern": r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$", "examples": ["0.05"]}

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Usd = Annotated[
    UsdAmount,
    BeforeValidator(read_usd),
    _as_text,
    WithJsonSchema({"type": ["string", "integer"], "minimum": 0, **_usd_text}, mode="validation"),
    WithJsonSchema({"type": "string", **_usd_text}, mode="serialization"),
]
Ratio = Annotated[
    Share, BeforeValidator(read_share), _as_text, WithJsonSchema({"type": "string", "format": "decimal", **_ratio_text})
]
Whole = Annotated[int, BeforeValidator(read_whole)]
Zone = Annotated[
    ZoneInfo,
    BeforeValidator(read_zone),
    _as_text,
    WithJsonSchema({"type": "string", "examples": ["America/New_York"]}),
]
EmailOrDomain = Annotated[str, Field(max_length=320), AfterValidator(read_email_or_domain)]
ProjectId = Annotated[Name, AfterValidator(read_project)]
WhoseProject = Annotated[str, Field(min_length=1, max_length=320), AfterValidator(read_whose_project)]
Account = Annotated[str, Field(max_length=320), AfterValidator(read_account)]
Reservation = Annotated[str, Field(max_length=500), AfterValidator(read_reservation)]
Data = Annotated[str, Field(max_length=1300), AfterValidator(read_data)]
Clock24 = Annotated[
    TimeOfDay,
    BeforeValidator(read_time_of_day),
    _as_text,
    WithJsonSchema({"type": "string", "pattern": r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$", "examples": ["20:00"]}),
]
Moment = Annotated[datetime, BeforeValidator(read_moment)]
Line = Annotated[str, AfterValidator(read_line)]
Label = Annotated[str, Field(max_length=127), AfterValidator(read_label)]
Whose = Annotated[str, Field(min_length=1, max_length=320), AfterValidator(read_whose)]
