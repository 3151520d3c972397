"""Read where a caller wants its query to run: in a reservation, or on demand whatever its project is assigned to.

Used by admission, to judge it and to size holds; pure. It may stand in the request
(https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfiguration, reservation), among its connection
properties, or in the text as the system variable @@reservation
(https://cloud.google.com/bigquery/docs/reference/system-variables), which a session keeps for the queries that follow.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from bqgate.domain.job import Method, QueryRequest
from bqgate.wire.fields import object_at, text_at

# BigQuery's word for: in none, but on demand.
NO_RESERVATION = "none"


def reservations_named(request: QueryRequest) -> tuple[str | None, ...]:
    """Every reservation that the query names, NO_RESERVATION in small letters; None: one that cannot be read.

    Raises:
        MalformedRequest: a field is of the wrong type.
    """
    named = [*_in_fields(request), *request.facts.reservations]
    return tuple(NO_RESERVATION if name is not None and name.lower() == NO_RESERVATION else name for name in named)


def may_run_on_demand(request: QueryRequest) -> bool:
    """Whether the query may leave its project's reservation: by its own word, or by one that cannot be read here.

    Text that it makes, procedures, and earlier queries of its session may have said so.
    """
    return _may_be_hidden(request) or any(name in {None, NO_RESERVATION} for name in reservations_named(request))


def may_choose_reservation(request: QueryRequest) -> bool:
    """Whether the query may run in a reservation of its own choice, by its own word or by one that cannot be read."""
    return _may_be_hidden(request) or any(name != NO_RESERVATION for name in reservations_named(request))


def _may_be_hidden(request: QueryRequest) -> bool:
    return request.facts.is_dynamic or any(key == "session_id" for key, _ in _properties(request))


def _in_fields(request: QueryRequest) -> Iterator[str | None]:
    holder = _configuration(request)
    field = text_at(holder, "reservation")
    if field is not None:
        yield field
    for key, value in _properties(request):
        if "reservation" in key:
            yield value


def _properties(request: QueryRequest) -> Iterator[tuple[str, str | None]]:
    """The connection properties, their keys in small letters."""
    holder = _configuration(request)
    if request.method is Method.INSERT:
        holder = object_at(holder, "query") or {}
    properties = holder.get("connectionProperties")
    for item in properties if isinstance(properties, list) else ():
        if isinstance(item, dict):
            yield str(item.get("key")).lower(), text_at(item, "value")


def _configuration(request: QueryRequest) -> Mapping[str, Any]:
    if request.method is Method.QUERY:
        return request.body
    return object_at(request.body, "configuration") or {}
