"""Read the system parameters that all of Google's APIs share, and give an answer the enums that one of them asks for.

Used by the server, the batch handler and the router. Each has a name with a dollar, which generated clients write.
Source: https://cloud.google.com/apis/docs/system-parameters
"""

from __future__ import annotations

from typing import Any

from multidict import MultiDict, MultiMapping

PLAIN_NAMES = {f"${name}": name for name in ("alt", "fields", "prettyPrint")}
NAMED, NUMBERED = "json", "json;enum-encoding=int"

# google.cloud.bigquery.v2: JobCreationReason.Code and ReservationEdition.
CODES = ("CODE_UNSPECIFIED", "REQUESTED", "LONG_RUNNING", "LARGE_RESULTS", "OTHER")
EDITIONS = ("RESERVATION_EDITION_UNSPECIFIED", "STANDARD", "ENTERPRISE", "ENTERPRISE_PLUS")


def plain_names(query: MultiMapping[str]) -> MultiDict[str]:
    """Return the parameters under their plain names."""
    return MultiDict((PLAIN_NAMES.get(name, name), value) for name, value in query.items())


def numbered(body: Any) -> Any:
    """Return an answer with its enums as numbers."""
    if isinstance(body, list):
        return [numbered(each) for each in body]
    if not isinstance(body, dict):
        return body
    return {name: _number_of(name, value) for name, value in body.items()}


def _number_of(name: str, value: Any) -> Any:
    if name == "jobCreationReason":
        return {**value, "code": CODES.index(value["code"])}
    if name == "edition" and value in EDITIONS:
        return EDITIONS.index(value)
    return value if name in {"rows", "schema", "configuration"} else numbered(value)
