"""Serve a sandbox over HTTP: read calls from sockets, write answers to them.

`Sandbox.start` is the door for tests and the demo, `python -m bqgate.sandbox` for everybody else. Below it: uploads,
batches, the sandbox's own paths, discovery, and the router for everything else. This file knows gzip, connection
breaking and where a call goes; it knows nothing about queries.

The handler is one for all paths, since clients put doubled slashes and more than one prefix before a method's path.
"""

from __future__ import annotations

import asyncio
import errno
import gzip
import os
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote

from aiohttp import web

from bqgate.sandbox import admin, batch, discovery
from bqgate.sandbox.clock import Clock
from bqgate.sandbox.faults import Faults
from bqgate.sandbox.job_json import jobs_view_row
from bqgate.sandbox.jobs import JobStore
from bqgate.sandbox.journal import Journal
from bqgate.sandbox.methods import canonical_path
from bqgate.sandbox.replies import ApiError, Reply, encode, error_reply
from bqgate.sandbox.result_cache import ResultCache
from bqgate.sandbox.routes import Incoming, Router, struck
from bqgate.sandbox.runner import JobRunner
from bqgate.sandbox.settings import SandboxSettings
from bqgate.sandbox.system_parameters import plain_names
from bqgate.sandbox.uploads import PATH as UPLOAD_PATH
from bqgate.sandbox.uploads import Uploads
from bqgate.sandbox.warehouse import Warehouse
from bqgate.sandbox.world import World

# Google's front end takes headers and URL of 16 KiB; aiohttp's own bound is half of that.
LINE_BYTES_MAX = 32 * 1024
# A request is 10 MB at most at Google; a batch may hold many.
BODY_BYTES_MAX = 64 * 2**20
GZIP_FROM_BYTES = 512
DISCOVERY_PATHS = {"/$discovery/rest", "/discovery/v1/apis/bigquery/v2/rest"}
BATCH_PATHS = {"/batch", "/batch/bigquery/v2"}
JSON_TYPE = "application/json; charset=UTF-8"


class CannotListen(OSError):
    """The port cannot be opened; the message says why, and what to do."""


class Sandbox:
    """A running sandbox.

    Attributes:
        url: Where it is reached, without a slash at its end.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self._world = world
        self._router = Router(world)
        self._uploads = Uploads(world, self._router, folder)
        self.url = ""
        self.settings = world.settings
        self.clock = world.clock
        self.warehouse = world.warehouse
        self.faults = world.faults
        self.jobs = world.jobs
        self.journal = world.journal
        self.cache = world.cache

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        settings: SandboxSettings | None = None,
        *,
        clock: Clock | None = None,
        warehouse: Warehouse | None = None,
    ) -> AsyncIterator[Sandbox]:
        """Serve until the block ends.

        Args:
            settings: None: as they come.
            clock: One that the caller wants to move; None: a running one.
            warehouse: One that the caller keeps and closes; None: a new one with what the settings say.

        Raises:
            CannotListen: The port is taken, or the host is none to listen on.
            WarehouseError: The folder of data holds something that cannot be read.
        """
        settings = settings or SandboxSettings()
        clock = clock or Clock()
        own = None if warehouse else await asyncio.to_thread(_open_warehouse, settings, clock)
        warehouse = warehouse or own
        assert warehouse is not None
        with (
            tempfile.TemporaryDirectory(prefix="bqgate-sandbox-") as folder,
            ThreadPoolExecutor(settings.worker_threads, thread_name_prefix="sandbox") as pool,
        ):
            store = JobStore(settings.jobs_kept)
            runner = JobRunner(clock, store, pool, settings.time_scale)
            world = World(settings, clock, warehouse, store, runner, ResultCache(), Faults(), Journal())
            warehouse.register_jobs_view(
                lambda: [jobs_view_row(job, settings, progress=runner.progress(job)) for job in store]
            )
            sandbox = cls(world, Path(folder))
            app = web.Application(client_max_size=BODY_BYTES_MAX)
            app.router.add_route("*", "/{tail:.*}", sandbox.handle)
            web_runner = web.AppRunner(
                app, max_line_size=LINE_BYTES_MAX, max_field_size=LINE_BYTES_MAX, access_log=None, shutdown_timeout=1
            )
            await web_runner.setup()
            try:
                await _open_port(web_runner, settings)
                host, port = web_runner.addresses[0][:2]
                sandbox.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
                yield sandbox
            finally:
                await runner.close()
                await web_runner.cleanup()
                await asyncio.to_thread(pool.shutdown)
                if own:
                    await asyncio.to_thread(own.close)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request, whatever it is."""
        incoming = Incoming(
            verb=request.method,
            path=request.rel_url.raw_path,
            query=plain_names(request.query),
            headers=request.headers,
            body=b"",
            root_url=f"{request.scheme}://{request.host}",
        )
        try:
            return await self._dispatch(request, incoming)
        except ApiError as error:
            return await self._written(request, error_reply(error))

    async def _dispatch(self, request: web.Request, incoming: Incoming) -> web.StreamResponse:
        path = canonical_path(incoming.path)
        if upload := UPLOAD_PATH.fullmatch(path):
            reply = await self._uploads.answer(request, incoming, unquote(upload["projectId"]))
            return await self._written(request, reply)
        incoming = Incoming(
            incoming.verb, incoming.path, incoming.query, incoming.headers, await _body_of(request), incoming.root_url
        )
        if path.startswith(admin.PREFIX):
            return await self._written(request, admin.answer(self._world, incoming))
        if unquote(path) in DISCOVERY_PATHS:
            return await self._written(request, Reply(body=discovery.document(incoming.root_url)))
        if path in BATCH_PATHS and incoming.verb == "POST":
            return await self._batch(request, incoming, path)
        return await self._written(request, await self._router.answer(incoming))

    async def _batch(self, request: web.Request, incoming: Incoming, path: str) -> web.StreamResponse:
        self._router.noted(incoming, "batch", None)
        fault = self._world.faults.draw("batch", incoming.verb, path, is_dry_run=False)
        reply = await struck(self._world, fault)
        if reply:
            return await self._written(request, reply)
        content_type, body = await batch.answer(self._router, incoming)
        breaks = fault.kind if fault and fault.kind in {"cut", "lost"} else ""
        return await self._written(request, Reply(200, body, {"Content-Type": content_type}, breaks))

    async def _written(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        headers = {"Content-Type": JSON_TYPE, "Vary": "Origin, X-Origin, Referer", **reply.headers}
        body = _bytes_of(request, reply)
        if len(body) >= GZIP_FROM_BYTES and _takes_gzip(request):
            body = await asyncio.to_thread(gzip.compress, body, 1)
            headers["Content-Encoding"] = "gzip"
        if isinstance(reply.body, dict) and "etag" in reply.body:
            headers["ETag"] = f'"{reply.body["etag"]}"'
        if reply.breaks:
            return await _broken(request, reply, headers, body)
        if not body:
            del headers["Content-Type"]
        reason = "Resume Incomplete" if reply.status == 308 else None
        return web.Response(status=reply.status, reason=reason, body=body, headers=headers)


async def _open_port(runner: web.AppRunner, settings: SandboxSettings) -> None:
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
    except (OSError, UnicodeError) as error:  # names that are none are refused by Python's encoder of names
        number = error.errno if isinstance(error, OSError) and error.errno and error.errno > 0 else None
        why = "there is no such name" if number is None else os.strerror(number)
        remedy = "Choose another port (0 takes a free one), or end the program that listens there."
        if number != errno.EADDRINUSE:
            remedy = "Choose an address of this machine (127.0.0.1), and a port from 1024 on."
        raise CannotListen(f"cannot listen at {settings.host}:{settings.port}: {why}. {remedy}") from error


def _open_warehouse(settings: SandboxSettings, clock: Clock) -> Warehouse:
    warehouse = Warehouse(row_multiplier=settings.row_multiplier, now=clock.now)
    if settings.data:
        warehouse.load_directory(settings.data)
    return warehouse


async def _body_of(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise ApiError(413, "uploadTooLarge", "Request Entity Too Large") from error
    except web.RequestPayloadError as error:
        raise ApiError(400, "badRequest", f"The request body can not be read: {error}") from error


def _takes_gzip(request: web.Request) -> bool:
    """Whether gzip was asked for, with a weight above zero and no less than plain text's (RFC 9110 section 12.5.3)."""
    weights: dict[str, float] = {}
    for element in ",".join(request.headers.getall("Accept-Encoding", ())).split(","):
        coding, _, weight = element.partition(";")
        try:
            weights[coding.strip().lower()] = float(weight.strip().lower().removeprefix("q=") or 1)
        except ValueError:
            weights[coding.strip().lower()] = 0
    gzip_weight = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0)))
    return gzip_weight > 0 and gzip_weight >= weights.get("identity", 0)


def _bytes_of(request: web.Request, reply: Reply) -> bytes:
    if isinstance(reply.body, bytes):
        return reply.body
    if isinstance(reply.body, str):
        return reply.body.encode()
    return encode(reply.body, pretty=plain_names(request.query).get("prettyPrint", "true").lower() != "false")


async def _broken(request: web.Request, reply: Reply, headers: dict[str, str], body: bytes) -> web.StreamResponse:
    """Break the connection: after half of the body, or before anything was sent."""
    response = web.StreamResponse(status=reply.status, headers={**headers, "Content-Length": str(len(body))})
    if reply.breaks == "cut":
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
    if request.transport:
        # A plain close lets the half that was written out; nothing has been written where the answer is to be lost.
        request.transport.close()
    return response
