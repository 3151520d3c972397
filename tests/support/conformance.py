"""Hold every answer of a control plane to its own OpenAPI document: status, media type, headers and body."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import jsonschema_rs
from aiohttp import web

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Conformance:
    """Compares answers with a document; `faults` has a sentence for each that differs."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self.faults: list[str] = []
        self.seen: set[tuple[str, int]] = set()

    def install(self, app: web.Application) -> None:
        """Look at every answer of an application."""

        @web.middleware
        async def compare(request: web.Request, handler: _Handler) -> web.StreamResponse:
            answer = await handler(request)
            resource = request.match_info.route.resource
            path = None if resource is None else resource.canonical
            operation = self._document["paths"].get(path, {}).get(request.method.lower())
            if operation is not None:
                self.seen.add((operation["operationId"], answer.status))
                fault = self._fault(operation, answer)
                if fault:
                    self.faults.append(f"{request.method} {request.path_qs}: {answer.status} {fault}")
            return answer

        app.middlewares.append(compare)

    def _fault(self, operation: Mapping[str, Any], answer: web.StreamResponse) -> str | None:
        documented = operation["responses"].get(str(answer.status))
        if documented is None:
            return "is not documented"
        missing = [name for name in documented.get("headers", {}) if name not in answer.headers]
        if missing:
            return f"lacks {missing}"
        assert isinstance(answer, web.Response)
        content = documented.get("content")
        if content is None:
            return "has a body" if answer.body else None
        if answer.content_type not in content:
            return f"is of type {answer.content_type}"
        if answer.content_type not in {"application/json", "application/problem+json"}:
            return None
        assert isinstance(answer.body, bytes)
        schema = {**content[answer.content_type]["schema"], "components": self._document["components"]}
        errors = [
            str(error.message)
            for error in jsonschema_rs.Draft202012Validator(schema).iter_errors(json.loads(answer.body))
        ]
        return f"is not of its model: {errors}" if errors else None
