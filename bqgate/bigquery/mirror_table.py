"""Implement ports.MirrorTable: the table at BigQuery into which the ledger's entries are loaded.

Called by exports.Mirror; calls datasets.get, tables.get, tables.insert, tables.patch, jobs.insert with an upload,
jobs.get and jobs.query (https://cloud.google.com/bigquery/docs/reference/rest/v2), all in the gate's own name and past
the data plane. Load jobs and DDL are free. Every call may be made twice: a load job has an id that its caller chose,
and BigQuery answers 409 to the second.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from bqgate.bigquery.json_calls import JsonCalls, json_post, segment
from bqgate.domain.errors import JobNotFound, UpstreamRefused, UpstreamUnavailable
from bqgate.ports import LoadResult, TableShape
from bqgate.wire.http_message import HttpRequest
from bqgate.wire.json_text import json_bytes

# On the load jobs, so that whoever reads a list of jobs knows what they are.
_LABELS = {"bqgate_mirror": "entries"}
_STATEMENT_WAIT_MS = 20_000
_BOUNDARY = "bqgate-7f3c1e5a9d2b4086"  # ends with what base64 and gzip have too, but not behind two dashes and a line


class BigQueryMirrorTable:
    """One table of one dataset, which somebody else has made."""

    def __init__(self, calls: JsonCalls, *, project_id: str, dataset_id: str, table_id: str) -> None:
        """Take the gate's own way to BigQuery."""
        self._calls = calls
        self._reference = {"projectId": project_id, "datasetId": dataset_id, "tableId": table_id}
        self._project = f"/bigquery/v2/projects/{segment(project_id)}"
        self._dataset = f"{self._project}/datasets/{segment(dataset_id)}"
        self._table = f"{self._dataset}/tables/{segment(table_id)}"
        self._location: str | None = None

    async def describe(self) -> TableShape | None:
        """What the table looks like; see ports.MirrorTable."""
        self._location = None  # somebody may have made the dataset anew, elsewhere
        await self._find_location()
        try:
            table = await self._calls.ask(HttpRequest("GET", self._table, "prettyPrint=false"), None)
        except UpstreamRefused as refusal:
            if refusal.status == 404:
                return None
            raise
        partitioning = table.get("timePartitioning") or {}
        row_count = table.get("numRows")
        return TableShape(
            fields=tuple((table.get("schema") or {}).get("fields") or ()),
            partitioned_by=f"{partitioning.get('type', '')} {partitioning.get('field', '')}".strip(),
            clustered_by=tuple((table.get("clustering") or {}).get("fields") or ()),
            row_count=None if row_count is None else int(row_count),
        )

    async def create(self, fields: Sequence[Mapping[str, Any]], *, partitioned_by: str, clustered_by: str) -> None:
        """Make the table, partitioned by day."""
        table = {
            "tableReference": self._reference,
            "schema": {"fields": list(fields)},
            "timePartitioning": {"type": "DAY", "field": partitioned_by},
            "clustering": {"fields": [clustered_by]},
        }
        await self._ask_once_made(json_post(f"{self._dataset}/tables", table))

    async def set_fields(self, fields: Sequence[Mapping[str, Any]]) -> None:
        """Give the table more columns."""
        changed = json_post(self._table, {"schema": {"fields": list(fields)}})
        await self._calls.ask(HttpRequest("PATCH", changed.path, changed.query, changed.headers, changed.body), None)

    async def load(self, job_id: str, rows: bytes) -> None:
        """Start a load job; see ports.MirrorTable."""
        project_id = self._reference["projectId"]
        job = {
            "jobReference": {"projectId": project_id, "jobId": job_id, "location": await self._find_location()},
            "configuration": {
                "labels": _LABELS,
                "load": {
                    "destinationTable": self._reference,
                    "sourceFormat": "NEWLINE_DELIMITED_JSON",
                    "writeDisposition": "WRITE_APPEND",
                    "createDisposition": "CREATE_NEVER",
                },
            },
        }
        content_type = f"multipart/related; boundary={_BOUNDARY}"
        path = f"/upload{self._project}/jobs"
        query = "uploadType=multipart&prettyPrint=false"
        call = HttpRequest("POST", path, query, (("Content-Type", content_type),), _multipart(json_bytes(job), rows))
        await self._ask_once_made(call)

    async def fetch_load(self, job_id: str) -> LoadResult:
        """How a load job stands; see ports.MirrorTable."""
        query = urlencode({"location": await self._find_location(), "prettyPrint": "false"})
        path = f"{self._project}/jobs/{segment(job_id)}"
        try:
            job = await self._calls.ask(HttpRequest("GET", path, query), None)
        except UpstreamRefused as refusal:
            if refusal.status == 404:
                raise JobNotFound(f"Not found: Job {job_id}") from refusal
            raise
        status = job.get("status") or {}
        if status.get("state") != "DONE":
            return LoadResult(is_done=False)
        error = status.get("errorResult")
        if error:
            reason = str(error.get("reason") or "unknown")
            return LoadResult(is_done=True, fault=reason, message=str(error.get("message") or ""))
        load = (job.get("statistics") or {}).get("load") or {}
        return LoadResult(is_done=True, row_count=int(load.get("outputRows") or 0))

    async def run_statement(self, sql: str) -> None:
        """Run DDL to its end; see ports.MirrorTable. Done twice it leaves the same."""
        query = {
            "query": sql,
            "useLegacySql": False,
            "timeoutMs": _STATEMENT_WAIT_MS,
            "location": await self._find_location(),
        }
        answer = await self._calls.ask(json_post(f"{self._project}/queries", query), None)
        if answer.get("jobComplete") is not True:
            raise UpstreamUnavailable("A statement at BigQuery has not ended in time.")

    async def _find_location(self) -> str:
        """Where the dataset is, as when the table was described last."""
        if self._location is None:
            dataset = await self._calls.ask(HttpRequest("GET", self._dataset, "prettyPrint=false"), None)
            self._location = str(dataset.get("location") or "US")
        return self._location

    async def _ask_once_made(self, call: HttpRequest) -> None:
        """Make what may have been made already."""
        try:
            await self._calls.ask(call, None)
        except UpstreamRefused as refusal:
            if refusal.status != 409:
                raise


def _multipart(document: bytes, media: bytes) -> bytes:
    """Both parts of an upload (https://cloud.google.com/bigquery/docs/reference/api-uploads)."""
    return b"".join(
        (
            f"--{_BOUNDARY}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode(),
            document,
            f"\r\n--{_BOUNDARY}\r\nContent-Type: application/octet-stream\r\n\r\n".encode(),
            media,
            f"\r\n--{_BOUNDARY}--\r\n".encode(),
        )
    )
