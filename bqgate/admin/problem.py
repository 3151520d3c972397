"""Answer errors of the control plane as application/problem+json (RFC 9457).

Raised by parameters and the views; written by `answering`, which routes wraps around every view. What leaves: for a
Problem its own status; for a store that does not answer 503. Anything else is a bug and goes on to the middleware.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from http import HTTPStatus
from typing import Any

from aiohttp import web

from bqgate.domain.errors import BudgetStoreUnavailable, LedgerUnavailable

View = Callable[[web.Request], Awaitable[web.Response]]


class Problem(Exception):
    """An error answer. `field` names the culprit in the request, `allow` the methods that a path has."""

    def __init__(
        self, status: int, detail: str, *, field: str | None = None, allow: Sequence[str] = (), **members: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.field = field
        self.allow = allow
        self.members = members


def answering(view: View) -> View:
    """The view with its problems written as answers."""

    @wraps(view)
    async def answer(request: web.Request) -> web.Response:
        try:
            return await view(request)
        except Problem as problem:
            return _written(problem)
        except LedgerUnavailable:
            return _written(Problem(503, "The ledger does not answer; try again."))
        except BudgetStoreUnavailable:
            return _written(Problem(503, "The budget store does not answer; try again."))

    return answer


def _written(problem: Problem) -> web.Response:
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.field is not None:
        document["field"] = problem.field
    headers = {"Cache-Control": "no-store"}
    if problem.allow:
        headers["Allow"] = ", ".join(problem.allow)
    return web.Response(
        status=problem.status,
        body=json.dumps(document | problem.members, ensure_ascii=False).encode(),
        content_type="application/problem+json",
        headers=headers,
    )
