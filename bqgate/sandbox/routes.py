"""Answer one call of the API: find the method, the caller, the handler, and trim the answer.

The server comes here with every plain call, the batch handler with every call inside a batch; uploads use the pieces.
What leaves is always a Reply: refusals have become BigQuery's error bodies. Injected faults strike here, so that they
strike calls inside a batch too. Methods of the API without a handler answer 501.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from multidict import MultiDict, MultiMapping

from bqgate.sandbox import datasets, field_mask, job_methods, methods, results, tables
from bqgate.sandbox.faults import Fault
from bqgate.sandbox.journal import Entry
from bqgate.sandbox.json_text import read_json
from bqgate.sandbox.methods import ApiMethod
from bqgate.sandbox.query_jobs import QueryMethod
from bqgate.sandbox.replies import ApiError, Reply, error_reply, from_warehouse
from bqgate.sandbox.system_parameters import NAMED, NUMBERED, numbered, plain_names
from bqgate.sandbox.users import user_of
from bqgate.sandbox.warehouse import WarehouseError
from bqgate.sandbox.world import Call, World

Handler = Callable[[World, Call], Awaitable[Reply]]

HANDLERS: dict[str, Handler] = {
    "datasets.delete": datasets.delete,
    "datasets.get": datasets.get,
    "datasets.insert": datasets.insert,
    "datasets.list": datasets.list_datasets,
    "datasets.patch": datasets.change,
    "datasets.update": datasets.change,
    "jobs.cancel": job_methods.cancel,
    "jobs.delete": job_methods.delete,
    "jobs.get": job_methods.get,
    "jobs.getQueryResults": results.get_query_results,
    "jobs.insert": job_methods.insert,
    "jobs.list": job_methods.list_jobs,
    "projects.getServiceAccount": datasets.get_service_account,
    "projects.list": datasets.list_projects,
    "tabledata.insertAll": tables.insert_all,
    "tabledata.list": tables.list_rows,
    "tables.delete": tables.delete,
    "tables.get": tables.get,
    "tables.insert": tables.insert,
    "tables.list": tables.list_tables,
    "tables.patch": tables.change,
    "tables.update": tables.change,
}


@dataclass(frozen=True)
class Incoming:
    """A call as it came in: still a verb, a raw path (percent-encoded), parameters, headers and bytes.

    `query` has system parameters under their plain names.
    """

    verb: str
    path: str
    query: MultiMapping[str]
    headers: Mapping[str, str]
    body: bytes
    root_url: str


def overridden(incoming: Incoming) -> Incoming:
    """Honour X-HTTP-Method-Override; a GET that was sent as a form has its parameters in the body."""
    verb = incoming.headers.get("X-HTTP-Method-Override", "").upper()
    if incoming.verb != "POST" or not verb:
        return incoming
    query, body = MultiDict(incoming.query), incoming.body
    if incoming.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
        query.extend(plain_names(_form(body)))
        body = b""
    return Incoming(verb, incoming.path, query, incoming.headers, body, incoming.root_url)


def _form(body: bytes) -> MultiDict[str]:
    return MultiDict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def parsed(body: bytes) -> Any:
    """Read a JSON body; an empty one means no fields.

    Raises:
        ApiError: 400 `parseError`.
    """
    if not body.strip():
        return {}
    try:
        value = read_json(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "parseError", f"Parse Error: {error}") from error
    if not isinstance(value, dict):
        raise ApiError(400, "parseError", "Parse Error: the body is not a JSON object")
    return value


def parsed_or_none(body: bytes) -> Any:
    """Read a body for the journal, which takes what it can get."""
    try:
        return parsed(body)
    except ApiError:
        return None


def is_dry_run(body: Any) -> bool:
    if not isinstance(body, dict):
        return False
    configuration = body.get("configuration")
    inner = configuration.get("dryRun") if isinstance(configuration, dict) else None
    return inner is True or body.get("dryRun") is True


class Router:
    """Answers calls of the API of one sandbox."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._query_method = QueryMethod(world)

    async def answer(self, incoming: Incoming) -> Reply:
        """Answer a call, whatever it is."""
        incoming = overridden(incoming)
        path = methods.canonical_path(incoming.path)
        found = methods.find(incoming.verb, path)
        body = parsed_or_none(incoming.body)
        entry = self.noted(incoming, found[0].id if found else "", body)
        fault = self._world.faults.draw(entry.method, incoming.verb, path, is_dry_run=is_dry_run(body))
        reply = await struck(self._world, fault)
        if reply is None:
            reply = await self._refusals_answered(incoming, found)
            reply.breaks = fault.kind if fault and fault.kind in {"cut", "lost"} else ""
        entry.status = reply.status
        return reply

    def noted(self, incoming: Incoming, method: str, body: Any) -> Entry:
        return self._world.journal.write(
            Entry(
                at=self._world.clock.now(),
                verb=incoming.verb,
                path=incoming.path,
                method=method,
                query=list(incoming.query.items()),
                headers=dict(incoming.headers),
                body=body,
            )
        )

    async def _refusals_answered(self, incoming: Incoming, found: tuple[ApiMethod, dict[str, str]] | None) -> Reply:
        try:
            return await self._answer(incoming, found)
        except WarehouseError as error:
            return error_reply(from_warehouse(error))
        except ApiError as error:
            return error_reply(error)
        except RecursionError:
            return error_reply(ApiError(400, "invalid", "The request body is nested too deeply"))

    async def _answer(self, incoming: Incoming, found: tuple[ApiMethod, dict[str, str]] | None) -> Reply:
        if found is None:
            raise ApiError(404, "notFound", f"Not Found: no method of the API is {incoming.verb} {incoming.path}")
        call = self.call_of(incoming, *found)
        if found[0].id == "jobs.query":
            reply = await self._query_method.answer(call)
        elif found[0].id in HANDLERS:
            reply = await HANDLERS[found[0].id](self._world, call)
        else:
            raise ApiError(501, "notImplemented", f"The sandbox does not support {found[0].id}")
        return masked(reply, call)

    def call_of(self, incoming: Incoming, method: ApiMethod, params: Mapping[str, str]) -> Call:
        """Check what all methods have in common.

        Raises:
            ApiError: 400 or 401.
        """
        user = user_of(self._world.settings, incoming.headers, incoming.query)
        alt = incoming.query.get("alt", "json")
        if alt not in {NAMED, NUMBERED} or "callback" in incoming.query:
            raise ApiError(
                400,
                "invalidParameter",
                f"Invalid value '{alt}'. The sandbox answers in JSON only",
                location="alt",
                location_type="parameter",
            )
        if project := params.get("projectId"):
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9:.\-_]{0,127}", project):
                raise ApiError(400, "invalid", f"Invalid project ID '{project}'.")
            self._world.seen_projects[project] = None
        return Call(method, params, incoming.query, incoming.headers, parsed(incoming.body), user, incoming.root_url)


def masked(reply: Reply, call: Call) -> Reply:
    """Trim an answer to `fields=`, with enums as `alt=` wants them."""
    if call.text("alt") == NUMBERED:
        reply.body = numbered(reply.body)
    if call.text("fields") and reply.body is not None:
        reply.body = field_mask.apply(field_mask.parse(call.text("fields")), reply.body)
    return reply


async def struck(world: World, fault: Fault | None) -> Reply | None:
    """Do what a fault does before any work; None: go on."""
    if fault is None:
        return None
    if fault.delay_s:
        await world.clock.sleep(fault.delay_s)
    if fault.kind == "error":
        return error_reply(ApiError(fault.status, fault.reason, fault.message))
    if fault.kind == "text":
        return Reply(fault.status, fault.message, {"Content-Type": "text/plain; charset=UTF-8"})
    return None
