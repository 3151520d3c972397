"""Page through rows: the part that jobs.query, getQueryResults and tabledata.list have in common, and getQueryResults.

Page tokens are opaque to callers: an offset in base64. A page holds what was asked for, and the settings' `page_rows`
and `page_bytes` at most; 10 MB is Google's bound. A failed job answers with its error and the status that belongs to
its reason. Reading rows blocks, so it happens in a worker thread.

Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/getQueryResults
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bqgate.sandbox.job_json import dml_json, etag_of, schema_json
from bqgate.sandbox.jobs import Job
from bqgate.sandbox.replies import STATUS_OF_REASON, ApiError, Reply, RowsText
from bqgate.sandbox.settings import SandboxSettings
from bqgate.sandbox.warehouse import RowSource
from bqgate.sandbox.world import Call, World

WAIT_MS_DEFAULT = 10_000
WAIT_MS_MAX = 200_000


@dataclass(frozen=True)
class PageWish:
    """Which rows are wanted, and how timestamps are to look. `count` None: as many as fit."""

    start: int = 0
    count: int | None = None
    use_int64_timestamp: bool = False
    output_format: str = ""

    @property
    def int64(self) -> bool:
        """Whether timestamps are whole microseconds.

        Raises:
            ApiError: 501 for ISO8601_STRING.
        """
        if self.output_format == "ISO8601_STRING":
            raise ApiError(501, "notImplemented", "The sandbox does not support timestampOutputFormat ISO8601_STRING")
        return self.use_int64_timestamp or self.output_format == "INT64"


def token_of(offset: int) -> str:
    return base64.urlsafe_b64encode(f"rows:{offset}".encode()).decode()


def offset_of(token: str) -> int:
    """Read a page token.

    Raises:
        ApiError: 400 `invalid`.
    """
    try:
        kind, _, offset = base64.urlsafe_b64decode(token.encode()).decode().partition(":")
    except (binascii.Error, UnicodeError):
        kind, offset = "", ""
    if kind != "rows" or not offset.isdecimal():
        raise ApiError(400, "invalid", "Invalid page token", location="pageToken", location_type="parameter")
    return int(offset)


def wish_of(call: Call) -> PageWish:
    """Read the paging parameters of a GET; a page token wins over startIndex."""
    token = call.text("pageToken")
    return PageWish(
        start=offset_of(token) if token else call.number("startIndex") or 0,
        count=call.number("maxResults"),
        use_int64_timestamp=call.flag("formatOptions.useInt64Timestamp"),
        output_format=call.text("formatOptions.timestampOutputFormat"),
    )


def page_of(
    rows: RowSource, wish: PageWish, settings: SandboxSettings, columns: Sequence[int] | None = None
) -> dict[str, Any]:
    """Build `rows`, `totalRows` and, when there is more, `pageToken`; blocks."""
    total = len(rows)
    count = settings.page_rows if wish.count is None else min(wish.count, settings.page_rows)
    page = rows.page_text(
        wish.start, count, bytes_max=settings.page_bytes, columns=columns, use_int64_timestamp=wish.int64
    )
    shown: dict[str, Any] = {"totalRows": str(total)}
    if page.rows:
        shown["rows"] = RowsText(*page)
    if wish.start + page.rows < total:
        shown["pageToken"] = token_of(wish.start + page.rows)
    return shown


def first_page(job: Job, wish: PageWish, settings: SandboxSettings) -> dict[str, Any]:
    """Build the part about results of a finished job; blocks."""
    shown: dict[str, Any] = {"totalBytesProcessed": str(job.bytes_processed), "cacheHit": job.cache_hit}
    result = job.result
    if result is None:
        return shown
    if result.schema:
        shown["schema"] = schema_json(result.schema)
        shown |= page_of(result.rows, wish, settings)
    if result.dml:
        shown |= {"numDmlAffectedRows": str(result.dml.affected), "dmlStats": dml_json(result.dml)}
    return shown


def failure_of(job: Job) -> ApiError:
    """Turn a failed job's error into the answer of a call that waited for its rows."""
    error = job.error or {}
    reason = error.get("reason", "internalError")
    # The status of bytesBilledLimitExceeded is not documented; 400 is what its neighbours have.
    return ApiError(
        STATUS_OF_REASON.get(reason, 400),
        reason,
        error.get("message", ""),
        location=error.get("location", ""),
        location_type="other",
    )


async def get_query_results(world: World, call: Call) -> Reply:
    """Answer jobs.getQueryResults: wait for the end of the job, then show a page."""
    job = world.jobs.find(call.project, call.params["jobId"], call.text("location"))
    if job.type != "QUERY":
        raise ApiError(400, "invalid", f"Job {job.full_id} is not a query job")
    wish = wish_of(call)
    timeout_ms = call.number("timeoutMs")
    wait_ms = min(WAIT_MS_DEFAULT if timeout_ms is None else timeout_ms, WAIT_MS_MAX)
    complete = await world.clock.wait_for(job.done, wait_ms / 1000)
    body: dict[str, Any] = {
        "kind": "bigquery#getQueryResultsResponse",
        "jobReference": {"projectId": job.project, "jobId": job.id, "location": job.location},
        "jobComplete": complete,
    }
    if complete:
        if job.error:
            raise failure_of(job)
        body |= await asyncio.to_thread(first_page, job, wish, world.settings)
        body.pop("dmlStats", None)
    return Reply(body={"etag": etag_of(body["jobReference"]), **body})
