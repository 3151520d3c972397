"""Choose the way of one call: to the query handler, through, or apart into the calls of a batch.

Called by the door with a call as it came, and by the batch step with the calls inside; leaves an Answer or raises what
the ways raise. Every request that could start a job meets the handler here, whatever path or packing it came by.
"""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from bqgate.domain.errors import UnsupportedRequest
from bqgate.gate.batch import answer_batch
from bqgate.gate.override import with_real_verb
from bqgate.gate.passthrough import Passthrough, gate_root, with_gate_location
from bqgate.gate.routes import Kind, Route, resolve
from bqgate.gate.submission import Forward, Submission, check_chunk, read_submission, read_upload
from bqgate.wire.exchange import Answer, Call

# Google takes neither in a batch (https://cloud.google.com/bigquery/docs/batch): "no media, no batch".
_NOT_IN_BATCH = frozenset({Kind.BATCH, Kind.UPLOAD, Kind.CHUNK, Kind.DISCOVERY})


class SubmissionHandler(Protocol):
    """Who judges jobs: gate.handler."""

    async def handle_query(
        self, call: Call, route: Route, submission: Mapping[str, Any], forward: Forward, /
    ) -> Answer:
        """Answer a submitted job. `call.path` is BigQuery's; `forward` may be used once."""


class Dispatcher:
    """The crossing behind the door."""

    def __init__(self, handler: SubmissionHandler, passthrough: Passthrough) -> None:
        self._handler = handler
        self._passthrough = passthrough

    async def dispatch(self, call: Call, *, origin: str) -> Answer:
        """Answer a call.

        Args:
            call: as it came; its path is the gate's.
            origin: the gate's scheme and host as the caller used them.
        """
        call = await with_real_verb(call)
        route = resolve(call.method, call.path)
        call = replace(call, path=route.upstream_path)
        if route.kind is Kind.BATCH:
            part = partial(self._dispatch_part, workload=route.workload)
            return await answer_batch(call, dispatch=part, new_boundary=partial(secrets.token_hex, 12))
        return await self._answer(call, route, root=gate_root(origin, route))

    async def _dispatch_part(self, call: Call, *, workload: str | None) -> Answer:
        """Answer a call inside a batch, which inherits the workload of the batch's own path."""
        call = await with_real_verb(call)
        route = resolve(call.method, call.path)
        if route.kind in _NOT_IN_BATCH:
            raise UnsupportedRequest("A batch may hold neither uploads nor batches nor discovery.")
        route = replace(route, workload=route.workload or workload)
        return await self._answer(replace(call, path=route.upstream_path), route, root="")

    async def _answer(self, call: Call, route: Route, *, root: str) -> Answer:
        match route.kind:
            case Kind.SUBMIT:
                return await self._submit(call, route, await read_submission(call))
            case Kind.UPLOAD:
                answer = await self._submit(call, route, await read_upload(call))
                return with_gate_location(answer, root=root)
            case Kind.CHUNK:
                check_chunk(call)
                return with_gate_location(await self._passthrough.send(call), root=root)
            case Kind.DISCOVERY:
                return await self._passthrough.send_discovery(call, root=root)
            case _:
                return await self._passthrough.send(call)

    async def _submit(self, call: Call, route: Route, submission: Submission) -> Answer:
        return await self._handler.handle_query(call, route, submission.document, submission.forward)
