"""Read and write INTERVAL values: months, days and a time part, which BigQuery never carries into each other.

Parameters, literals, loads and the encoding of results use it. Pure. The canonical form is `Y-M D H:M:S[.F]`, each of
the three parts with its own sign
(https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#interval_type).
"""

from __future__ import annotations

import re
from typing import NamedTuple

PARTS = ("YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND")
_MICROS = {"HOUR": 3_600_000_000, "MINUTE": 60_000_000, "SECOND": 1_000_000}
_PIECES = {
    "YEAR-MONTH": r"(?P<date_sign>[+-]?)(?P<YEAR>\d+)-(?P<MONTH>\d+)",
    "YEAR": r"(?P<date_sign>[+-]?)(?P<YEAR>\d+)",
    "MONTH": r"(?P<date_sign>[+-]?)(?P<MONTH>\d+)",
    "DAY": r"(?P<DAY>[+-]?\d+)",
    "HOUR": r"(?P<HOUR>\d+)",
    "MINUTE": r"(?P<MINUTE>\d+)",
    "SECOND": r"(?P<SECOND>\d+(?:\.\d{0,9})?|\.\d{1,9})",
}


class IntervalValue(NamedTuple):
    """The three parts of an INTERVAL."""

    months: int = 0
    days: int = 0
    micros: int = 0


def parse_interval(text: str, first: str = "YEAR", last: str = "SECOND") -> IntervalValue:
    """Read the text of an interval from one date part to another.

    Raises:
        ValueError: The text is not of that form.
    """
    found = re.fullmatch(_pattern(first, last), text.strip())
    if found is None:
        raise ValueError(text)
    parts = found.groupdict()
    months = int(parts.get("YEAR") or 0) * 12 + int(parts.get("MONTH") or 0)
    micros = sum(_micros(parts.get(name) or "0", name) for name in _MICROS)
    return IntervalValue(
        -months if parts.get("date_sign") == "-" else months,
        int(parts.get("DAY") or 0),
        -micros if parts.get("time_sign") == "-" else micros,
    )


def _pattern(first: str, last: str) -> str:
    names = PARTS[PARTS.index(first) : PARTS.index(last) + 1]
    groups = []
    dates = [name for name in names if name in {"YEAR", "MONTH"}]
    if dates:
        groups.append(_PIECES["-".join(dates)])
    if "DAY" in names:
        groups.append(_PIECES["DAY"])
    times = [name for name in names if name in _MICROS]
    if times:
        groups.append("(?P<time_sign>[+-]?)" + ":".join(_PIECES[name] for name in times))
    return r"\s+".join(groups)


def _micros(digits: str, name: str) -> int:
    whole, _, fraction = digits.partition(".")
    return int(whole or 0) * _MICROS[name] + int(fraction[:6].ljust(6, "0") or 0)


def format_interval(value: IntervalValue) -> str:
    """Write an interval in its canonical form."""
    years, months = divmod(abs(value.months), 12)
    seconds, fraction = divmod(abs(value.micros), 1_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    date_sign = "-" if value.months < 0 else ""
    time_sign = "-" if value.micros < 0 else ""
    text = f"{date_sign}{years}-{months} {value.days} {time_sign}{hours}:{minutes}:{seconds}"
    if not fraction:
        return text
    shown = f"{fraction:06d}"
    return f"{text}.{shown[:3] if shown.endswith('000') else shown}"
