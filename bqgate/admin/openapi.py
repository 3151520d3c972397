"""Write the OpenAPI 3.1 document of the control plane, out of its operations and their models.

Served at /openapi.json and, as a page to read, at /openapi; written when the first asks for it, because that takes as
long as the rest of a start. What the framework itself can answer (routes, guard, rate limits, bodies) is added here, so
that each operation lists only what is its own. Schemas are pydantic's JSON schemas. Format:
https://spec.openapis.org/oas/v3.1.1.html .
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel

from bqgate import __version__
from bqgate.admin.documents import answer_json
from bqgate.admin.operation import Answered, Operation, Parameter, Place, RateClass
from bqgate.admin.page import answer_page
from bqgate.admin.parameters import Parameters
from bqgate.admin.problem import MEDIA_TYPE
from bqgate.admin.rate_limits import HEADER_MEANINGS
from bqgate.admin.schemas import ProblemDocument
from bqgate.domain.principal import Identity

_Mode = Literal["validation", "serialization"]

_REF = "#/components/schemas/{model}"
_DESCRIPTION = """\
Money is text of decimal dollars, moments are RFC 3339 in UTC, errors are problem documents (RFC 9457).

A request bears `Authorization: Bearer …`, or `access_token` in its URL; a gate whose `identity.mode` is open asks for
neither. What is marked so asks nobody who they are: health, logins, this document. HEAD is answered where GET is.
Another method is refused with 405 and Allow, an unknown path with 404.
"""


class OpenApiViews:
    """The views of the document itself."""

    def __init__(self, operations: Sequence[Operation], public: Collection[str]) -> None:
        self._operations = (*operations, *self.operations())
        self._public = public
        self._written: tuple[dict[str, Any], str] | None = None
        self._one_writes = asyncio.Lock()

    def operations(self) -> tuple[Operation, ...]:
        """What is answered here."""
        return (
            Operation(
                "openapi.document",
                "GET",
                "/openapi.json",
                "This document",
                "openapi",
                self.document,
                answers={200: Answered("An OpenAPI 3.1 document.", model=None, media_type="application/json")},
            ),
            Operation(
                "openapi.page",
                "GET",
                "/openapi",
                "This document as a page to read",
                "openapi",
                self.page,
                answers={200: Answered("The page.", media_type="text/html")},
            ),
        )

    async def document(self, request: web.Request, _identity: Identity) -> web.Response:
        """GET /openapi.json."""
        Parameters(request)
        document, _page = await self._write_once()
        return answer_json(document)

    async def page(self, request: web.Request, _identity: Identity) -> web.Response:
        """GET /openapi."""
        Parameters(request)
        _document, page = await self._write_once()
        return answer_page(page)

    async def _write_once(self) -> tuple[dict[str, Any], str]:
        """The document and its page, from the first who asks on. A thread writes them: queries do not wait."""
        async with self._one_writes:
            if self._written is None:
                self._written = await asyncio.to_thread(self._write)
            return self._written

    def _write(self) -> tuple[dict[str, Any], str]:
        from bqgate.admin.openapi_page import render_page  # noqa: PLC0415 - Markdown's renderer, for who reads the page

        document = openapi_document(self._operations, self._public)
        return document, render_page(document)


def openapi_document(operations: Sequence[Operation], public: Collection[str]) -> dict[str, Any]:
    """The document. `public` are the ids of operations that ask nobody who they are."""
    references, schemas = _schemas_of(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        written = _write_operation(operation, references, is_public=operation.id in public)
        paths.setdefault(operation.path, {})[operation.method.lower()] = written
    tags = dict.fromkeys(operation.tag for operation in operations)
    return {
        "openapi": "3.1.1",
        "info": {"title": "bqgate control plane", "version": __version__, "description": _DESCRIPTION},
        "tags": [{"name": tag} for tag in tags],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A token or key of the gate's own."}
            },
            "schemas": schemas,
        },
    }


_References = Mapping[tuple[type[BaseModel], _Mode], Mapping[str, Any]]


def _schemas_of(operations: Sequence[Operation]) -> tuple[_References, dict[str, Any]]:
    wanted: dict[tuple[type[BaseModel], _Mode], None] = {(ProblemDocument, "serialization"): None}
    for operation in operations:
        if operation.body is not None:
            wanted[operation.body, "validation"] = None
        for answered in operation.answers.values():
            if answered.model is not None:
                wanted[answered.model, "serialization"] = None
    return _schemas_for(tuple(wanted))


@cache
def _schemas_for(wanted: tuple[tuple[type[BaseModel], _Mode], ...]) -> tuple[_References, dict[str, Any]]:
    """The same for every gate of a process; pydantic takes a fifth of a second for them."""
    from pydantic.json_schema import models_json_schema  # noqa: PLC0415 - of no use to a gate whose document nobody reads

    references, definitions = models_json_schema(list(wanted), ref_template=_REF)
    schemas = definitions["$defs"]
    used: set[str] = set()
    for each in wanted:
        _gather(references[each], schemas, used)
    # A type that tells its own schema leaves pydantic's idea of it behind, which nobody refers to.
    return {each: references[each] for each in wanted}, {name: schemas[name] for name in sorted(used)}


def _gather(schema: Any, schemas: Mapping[str, Any], used: set[str]) -> None:
    """Add the names of all schemas that one refers to, through others too."""
    if isinstance(schema, dict):
        name = str(schema.get("$ref", "")).rpartition("/")[2]
        if name and name not in used:
            used.add(name)
            _gather(schemas[name], schemas, used)
        for member in schema.values():
            _gather(member, schemas, used)
    elif isinstance(schema, list):
        for member in schema:
            _gather(member, schemas, used)


def _write_operation(operation: Operation, references: _References, *, is_public: bool) -> dict[str, Any]:
    answers = {**_framework_answers(operation, is_public=is_public), **operation.answers}
    headers = {} if is_public or operation.rate is RateClass.UNLIMITED else HEADER_MEANINGS
    written: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [_write_parameter(parameter) for parameter in operation.parameters],
        "responses": {
            str(status): _write_answer(answers[status], status, headers, references) for status in sorted(answers)
        },
    }
    if is_public:
        written["security"] = []
    if operation.body is not None:
        schema = references[operation.body, "validation"]
        content = {media_type: {"schema": schema} for media_type in operation.body_types}
        written["requestBody"] = {"required": True, "content": content}
    return written


def _framework_answers(operation: Operation, *, is_public: bool) -> dict[int, Answered]:
    answers = {400: Answered("The request is not understood; `field` says what of it.")}
    if not is_public:
        challenge = {"WWW-Authenticate": "What would be accepted (RFC 6750)."}
        answers[401] = Answered("The caller did not prove who it is.", headers=challenge)
        answers[403] = Answered("The caller is known and may not do this.", headers=challenge)
        answers[429] = Answered("Too many requests.", headers={"Retry-After": "Seconds to wait."})
        answers[503] = Answered("Something that is needed does not answer; try again.")
    if "{" in operation.path:
        answers[404] = Answered("There is no such thing.")
    if operation.body is not None:
        answers[408] = Answered("The body came too slowly.")
        answers[413] = Answered("The body is too large.")
        answers[415] = Answered("The body is of another type, or compressed.")
    return {status: _as_problem(answer) for status, answer in answers.items()}


def _as_problem(answer: Answered) -> Answered:
    return Answered(answer.description, ProblemDocument, MEDIA_TYPE, answer.headers)


def _write_parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place.value,
        "required": parameter.is_required or parameter.place is Place.PATH,
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }


def _write_answer(
    answer: Answered, status: int, rate_headers: Mapping[str, str], references: _References
) -> dict[str, Any]:
    # A caller who is not known yet is not counted.
    headers = {**answer.headers, **({} if status in {401, 503} else rate_headers)}
    written: dict[str, Any] = {"description": answer.description}
    if headers:
        written["headers"] = {
            name: {"description": meaning, "schema": {"type": "string"}} for name, meaning in headers.items()
        }
    if answer.media_type:
        written["content"] = {answer.media_type: {"schema": _schema_of(answer, references)}}
    return written


def _schema_of(answer: Answered, references: _References) -> Mapping[str, Any]:
    if answer.model is not None:
        return references[answer.model, "serialization"]
    if answer.media_type == MEDIA_TYPE:
        return references[ProblemDocument, "serialization"]
    return {"type": "object"} if answer.media_type == "application/json" else {"type": "string"}
