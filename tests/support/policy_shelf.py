"""Serve documents of one kind as the admin API does: lists, ETags, merge patches, problems.

For tests of the command line: it stands for the control plane as a client meets it over HTTP. It keeps what it is sent
and judges no value.
"""

import json
from typing import Any

from aiohttp import web

_PROBLEM = "application/problem+json"


class PolicyShelf:
    """Documents by name. `changed_between_reads` lets somebody else change a document after each GET of it.

    `faults` are (field, message) for which every PATCH is refused.
    """

    def __init__(self, plural: str, **documents: dict[str, Any]) -> None:
        self.documents = documents
        self.versions = dict.fromkeys(documents, 1)
        self.changed_between_reads = False
        self.faults: list[tuple[str, str]] = []
        self.seen: list[tuple[str, str, Any]] = []
        self._plural = plural

    def app(self) -> web.Application:
        app = web.Application()
        path = f"/admin/v1/{self._plural}"
        app.router.add_get(path, self._list)
        app.router.add_post(path, self._create)
        for method, view in (("GET", self._show), ("PATCH", self._patch), ("DELETE", self._delete)):
            app.router.add_route(method, path + "/{name}", view)
        return app

    async def _list(self, _request: web.Request) -> web.Response:
        return web.json_response({self._plural: [self._shown(name) for name in sorted(self.documents)]})

    async def _show(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.documents:
            return _problem(404, f"There is no {name!r}.")
        answer = self._answer(name)
        if self.changed_between_reads:
            self.versions[name] += 1
        return answer

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.seen.append(("POST", body["name"], dict(body)))
        name = body.pop("name")
        self.documents[name], self.versions[name] = body, 1
        return self._answer(name, status=201)

    async def _patch(self, request: web.Request) -> web.Response:
        name, body = request.match_info["name"], await request.json()
        self.seen.append(("PATCH", name, body))
        if (stale := self._stale(request, name)) is not None:
            return stale
        if self.faults:
            return _faulty(self.faults)
        self.documents[name] = {key: value for key, value in (self.documents[name] | body).items() if value is not None}
        self.versions[name] += 1
        return self._answer(name)

    async def _delete(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.seen.append(("DELETE", name, None))
        if (stale := self._stale(request, name)) is not None:
            return stale
        del self.documents[name]
        return web.Response(status=204)

    def _stale(self, request: web.Request, name: str) -> web.Response | None:
        if "If-Match" not in request.headers:
            return _problem(428, "Read it first, and send its ETag in If-Match.")
        if request.headers["If-Match"] != self._etag(name):
            return _problem(412, "It was changed meanwhile: read it again.")
        return None

    def _answer(self, name: str, *, status: int = 200) -> web.Response:
        return web.json_response(self._shown(name), status=status, headers={"ETag": self._etag(name)})

    def _shown(self, name: str) -> dict[str, Any]:
        return {"name": name, **self.documents[name], "source": "admin", "changed_at": None, "changed_by": None}

    def _etag(self, name: str) -> str:
        return f'"{self.versions[name]}"'


def _problem(status: int, detail: str) -> web.Response:
    return web.Response(status=status, text=json.dumps({"status": status, "detail": detail}), content_type=_PROBLEM)


def _faulty(faults: list[tuple[str, str]]) -> web.Response:
    (field, message), *more = faults
    document = {
        "status": 400,
        "detail": f"{field}: {message}." + (f" {len(more)} more in errors." if more else ""),
        "field": field,
        "errors": [{"field": field, "message": message} for field, message in faults],
    }
    return web.Response(status=400, text=json.dumps(document), content_type=_PROBLEM)
