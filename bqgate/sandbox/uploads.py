"""Take jobs that come with a file: multipart, media and resumable uploads.

The server comes here for `/upload/bigquery/v2/projects/{p}/jobs` and `/resumable/upload/…`. The file is written to disk
as it arrives, in constant memory, and handed to jobs.insert with the configuration that came first. A resumable upload
gets a URL with an `upload_id`, built from the address that the caller used; between its chunks the answer is 308 with
the range that has arrived. What leaves is a Reply, or an ApiError.

Source: https://cloud.google.com/bigquery/docs/reference/api-uploads
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from bqgate.sandbox import job_methods
from bqgate.sandbox.methods import METHODS
from bqgate.sandbox.multipart import split_related
from bqgate.sandbox.replies import ApiError, Reply, error_reply, from_warehouse
from bqgate.sandbox.routes import Incoming, Router, masked, parsed_or_none, struck
from bqgate.sandbox.warehouse import WarehouseError
from bqgate.sandbox.world import World

PATH = re.compile(r"(?:/resumable)?/upload(?:/bigquery/v2)?/projects/(?P<projectId>[^/]+)/jobs")
CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
INSERT = next(method for method in METHODS if method.id == "jobs.insert")
METADATA_MAX = 10 * 2**20
CHUNK = 256 * 1024


@dataclass
class Upload:
    """A resumable upload: the call that opened it, what has arrived, and the answer once it is complete."""

    opened_by: Incoming
    file: Path
    received: int = 0
    reply: Reply | None = None


class Uploads:
    """The uploads of one sandbox; `folder` holds the files until they are loaded."""

    def __init__(self, world: World, router: Router, folder: Path) -> None:
        self._world = world
        self._router = router
        self._folder = folder
        self._open: dict[str, Upload] = {}

    async def answer(self, request: web.Request, incoming: Incoming, project: str) -> Reply:
        """Answer a call of an upload path; the body of `incoming` is still unread."""
        entry = self._router.noted(incoming, "upload", None)
        fault = self._world.faults.draw("upload", incoming.verb, incoming.path, is_dry_run=False)
        reply = await struck(self._world, fault)
        if reply is None:
            try:
                reply = await self._answer(request, incoming, project, entry)
            except WarehouseError as error:
                reply = error_reply(from_warehouse(error))
            except ApiError as error:
                reply = error_reply(error)
            reply.breaks = fault.kind if fault and fault.kind in {"cut", "lost"} else ""
        entry.status = reply.status
        return reply

    async def _answer(self, request: web.Request, incoming: Incoming, project: str, entry: Any) -> Reply:
        if upload_id := incoming.query.get("upload_id"):
            return await self._continue(request, upload_id, project)
        match incoming.query.get("uploadType"):
            case "resumable":
                metadata = await request.content.read(METADATA_MAX) if request.body_exists else b""
                entry.body = parsed_or_none(metadata)
                return self._begin(_with_body(incoming, metadata), project)
            case "multipart":
                metadata, file = await self._split(request)
                entry.body = parsed_or_none(metadata)
                return await self._insert(_with_body(incoming, metadata), project, file)
            case "media":
                raise ApiError(
                    400, "required", "Required parameter is missing: configuration", location="configuration"
                )
            case other:
                raise ApiError(400, "invalidParameter", f"Invalid value for uploadType: {other}", location="uploadType")

    def _begin(self, incoming: Incoming, project: str) -> Reply:
        # Checked at once, so that a bad token or body is refused before gigabytes are sent.
        self._router.call_of(incoming, INSERT, {"projectId": project})
        upload_id = secrets.token_urlsafe(32)
        self._open[upload_id] = Upload(incoming, self._new_file())
        url = f"{incoming.root_url}/upload/bigquery/v2/projects/{project}/jobs"
        headers = {
            "Location": f"{url}?uploadType=resumable&upload_id={upload_id}",
            "X-GUploader-UploadID": upload_id,
        }
        return Reply(200, None, headers)

    async def _continue(self, request: web.Request, upload_id: str, project: str) -> Reply:
        upload = self._open.get(upload_id)
        if upload is None:
            raise ApiError(404, "notFound", "Not found: no such upload, or it has ended long ago")
        if request.method == "DELETE":
            upload.file.unlink(missing_ok=True)
            del self._open[upload_id]
            return Reply(499)
        total = await self._receive(request, upload)
        if upload.reply:
            return upload.reply
        if total != upload.received:
            headers = {"Range": f"bytes=0-{upload.received - 1}"} if upload.received else {}
            return Reply(308, None, headers)
        upload.reply = await self._insert(upload.opened_by, project, upload.file)
        return upload.reply

    async def _receive(self, request: web.Request, upload: Upload) -> int | None:
        """Add a chunk to the file, or nothing for a question about the state; returns the total where it is known."""
        text = request.headers.get("Content-Range")
        if text is None:
            await self._append(upload, _chunks(request), skip=upload.received)
            return upload.received
        match = CONTENT_RANGE.fullmatch(text.strip())
        if match is None:
            raise ApiError(400, "badRequest", f"Failed to parse Content-Range header: {text}")
        first, _, total = match.groups()
        if first is not None:
            if int(first) > upload.received:
                raise ApiError(400, "badRequest", f"Invalid Content-Range: byte {upload.received} was expected next")
            await self._append(upload, _chunks(request), skip=upload.received - int(first))
        return None if total == "*" else int(total)

    async def _append(self, upload: Upload, chunks: AsyncIterator[bytes], *, skip: int) -> None:
        """Write what is new; `skip` bytes at the start had arrived before."""
        with await asyncio.to_thread(upload.file.open, "ab") as file:
            async for chunk in chunks:
                fresh = chunk[skip:]
                skip = max(0, skip - len(chunk))
                await asyncio.to_thread(file.write, fresh)
                upload.received += len(fresh)

    async def _split(self, request: web.Request) -> tuple[bytes, Path]:
        """Take a multipart/related body apart: the metadata, and the file on disk."""
        if not request.content_type.startswith("multipart/"):
            raise ApiError(400, "badRequest", "uploadType=multipart needs a multipart/related body")
        body, file = self._new_file(), self._new_file()
        try:
            with await asyncio.to_thread(body.open, "wb") as out:
                async for chunk in _chunks(request):
                    await asyncio.to_thread(out.write, chunk)
            head = await asyncio.to_thread(split_related, body, request.headers["Content-Type"], file)
        except ValueError as error:
            await asyncio.to_thread(file.unlink)
            raise ApiError(400, "badRequest", f"Malformed multipart body: {error}") from error
        finally:
            await asyncio.to_thread(body.unlink)
        return head, file

    async def _insert(self, incoming: Incoming, project: str, file: Path) -> Reply:
        call = self._router.call_of(incoming, INSERT, {"projectId": project})
        configuration = call.body.get("configuration")
        is_load = isinstance(configuration, Mapping) and "load" in configuration
        try:
            reply = await job_methods.insert(self._world, call, file if is_load else None)
        except (ApiError, WarehouseError):
            await asyncio.to_thread(file.unlink, missing_ok=True)
            raise
        if not is_load:
            await asyncio.to_thread(file.unlink, missing_ok=True)
        return masked(reply, call)

    def _new_file(self) -> Path:
        file = self._folder / secrets.token_hex(16)
        file.touch()
        return file


def _with_body(incoming: Incoming, body: bytes) -> Incoming:
    return Incoming(incoming.verb, incoming.path, incoming.query, incoming.headers, body, incoming.root_url)


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_chunked(CHUNK):
        yield chunk
