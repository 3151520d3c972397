"""Answer errors of the control plane as application/problem+json (RFC 9457).

Raised by guard, rate limits, parameters and the views; written by routes around every view. What leaves: for a Problem
its own status; for a store that does not answer 503. Anything else is a bug and goes on to the middleware.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs, web

from bqgate.domain.errors import OUTAGES, BqgateError, BudgetStoreUnavailable, LedgerUnavailable
from bqgate.observe.request_fields import note_cause

MEDIA_TYPE = "application/problem+json"
TITLES: Mapping[int, str] = {each.value: each.phrase for each in HTTPStatus}


@dataclass(frozen=True, slots=True)
class FieldFault:
    """What is wrong with one field of the request; "" is the whole body."""

    field: str
    message: str


class Problem(Exception):
    """An error answer. `field` names the culprit in the request, `errors` all of them, `allow` a path's methods."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        field: str | None = None,
        errors: Sequence[FieldFault] = (),
        allow: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.field = field
        self.errors = tuple(errors)
        self.headers = dict(headers or {}) | ({hdrs.ALLOW: ", ".join(allow)} if allow else {})
        self.members = members


def problem_of_stores(error: BqgateError) -> Problem:
    """The answer to a store that does not answer.

    Raises:
        BqgateError: it is another failure, which the middleware knows.
    """
    if isinstance(error, OUTAGES):
        note_cause(error)
    match error:
        case LedgerUnavailable():
            return Problem(503, "The ledger does not answer; try again.")
        case BudgetStoreUnavailable():
            return Problem(503, "The budget store does not answer; try again.")
    raise error


def write_problem(problem: Problem) -> web.Response:
    """A problem as an answer that no cache may keep."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": TITLES[problem.status],
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.field is not None:
        document["field"] = problem.field
    if problem.errors:
        document["errors"] = [{"field": each.field, "message": each.message} for each in problem.errors]
    return web.Response(
        status=problem.status,
        body=json.dumps(document | problem.members, ensure_ascii=False).encode("utf-8", "backslashreplace"),
        content_type=MEDIA_TYPE,
        headers={hdrs.CACHE_CONTROL: "no-store"} | problem.headers,
    )
