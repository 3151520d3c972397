"""Stand for BigQuery and keep books of what ran, so that a test can compare them with the gate's.

An aiohttp server that shares no code with the gate. What a query does is said in its SQL (scorekeeper_books.py) or set
by a test (`works`); faults are switched on by call or by chance (scorekeeper_faults.py). It knows jobs.insert,
jobs.query, jobs.get, jobs.list, jobs.cancel, jobs.delete, jobs.getQueryResults and uploads. Names, wording and rules:
https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs and .../jobs/query.
"""

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from tests.support.scorekeeper_books import Prices, Ran, Work, bytes_billed_error, work_in
from tests.support.scorekeeper_faults import BEFORE_THE_WORK, Called, Fault, FaultKind, FaultSwitches
from tests.support.scorekeeper_masks import MaskRefused, masked

_LABELS_MAX = 64
_REPEAT_MS = 15 * 60 * 1000
_WAIT_S = 10.0
_PAGE_JOBS = 50
_TABLES_LISTED_MAX = 50
_OPTIONAL_MODES = {"2", "job_creation_optional"}
_NAME_BY_KIND = {"query": "QUERY", "load": "LOAD", "copy": "COPY", "extract": "EXTRACT"}


class Refused(Exception):
    """An answer in Google's error format."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.document = {
            "error": {
                "code": status,
                "message": message,
                "errors": [{"message": message, "domain": "global", "reason": reason}],
                "status": {404: "NOT_FOUND", 409: "ALREADY_EXISTS"}.get(status, "INVALID_ARGUMENT"),
            }
        }


class Scorekeeper:
    """The server, its books, and its switches.

    `works` stands above what a query's SQL says of it. `ids` are those of projects that are asked for by their numbers;
    answers have ids. `projects` are all that there are; None: any. `emails` say whose which token is. `unlisted_ms` is
    how long a job is missing from lists, `latency_ms` how long one takes to begin, drawn from the seed. `members` say
    who asks in which project, and `shift_ms` how far its clock is from the machine's.
    """

    def __init__(self, *, seed: int = 0, latency_ms: tuple[float, float] = (0.0, 3.0)) -> None:
        self.url = ""
        self.books: list[Ran] = []
        self.works: dict[str, Work] = {}
        self.locations: dict[str, str] = {}
        self.ids: dict[str, str] = {}
        self.projects: set[str] | None = None
        self.emails: dict[str, str] = {}
        self.members: dict[str, str] = {}
        self.shift_ms = 0
        self.unlisted_ms = 0
        self.faults = FaultSwitches(seed)
        self.calls: list[Called] = []
        self._random = random.Random(seed)
        self._latency_ms = latency_ms
        self._numbers = itertools.count(1)
        self._jobs: dict[tuple[str, str], Ran] = {}
        self._by_request_id: dict[tuple[str, str], Ran] = {}
        self._children: list[Ran] = []
        self._uploads: dict[str, dict[str, Any]] = {}

    @classmethod
    @asynccontextmanager
    async def running(
        cls, *, seed: int = 0, latency_ms: tuple[float, float] = (0.0, 3.0)
    ) -> AsyncIterator["Scorekeeper"]:
        """One that listens on loopback."""
        keeper = cls(seed=seed, latency_ms=latency_ms)
        app = web.Application(client_max_size=2**26, middlewares=[keeper._by_id])
        for prefix in ("", "/bigquery/v2"):
            project = prefix + "/projects/{project}"
            app.router.add_post(project + "/jobs", keeper._insert)
            app.router.add_get(project + "/jobs", keeper._list)
            app.router.add_get(project + "/jobs/{job}", keeper._get)
            app.router.add_post(project + "/jobs/{job}/cancel", keeper._cancel)
            app.router.add_delete(project + "/jobs/{job}/delete", keeper._delete)
            app.router.add_post(project + "/queries", keeper._query)
            app.router.add_get(project + "/queries/{job}", keeper._results)
            for upload in ("/upload", "/resumable/upload"):
                app.router.add_post(upload + project + "/jobs", keeper._upload)
                app.router.add_put(upload + project + "/jobs", keeper._upload_rest)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        keeper.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield keeper
        finally:
            keeper.faults.clear()
            for ran in keeper.books:
                if ran.timer is not None:
                    ran.timer.cancel()
            await runner.cleanup()

    def billed_nanos(self, prices: Prices, *, project_id: str = "") -> int:
        """What all that ran to its end is billed, or one project's part of it."""
        return sum(prices.cost_nanos(ran) for ran in self.books if project_id in {"", ran.project_id})

    def _now_ms(self) -> int:
        # This server has the machine's time, as Google has, or one that is as far from it as a test's gates are.
        return int(datetime.now(UTC).timestamp() * 1000) + self.shift_ms  # noqa: TID251 - see above

    async def quiet(self, *, timeout_s: float = 30) -> None:
        """Return when nothing runs any more; TimeoutError."""
        async with asyncio.timeout(timeout_s):
            for ran in list(self.books):
                await ran.done.wait()

    def ran(self, project_id: str, job_id: str) -> Ran | None:
        """A job of the books, deleted or not."""
        return next((each for each in self.books if (each.project_id, each.job_id) == (project_id, job_id)), None)

    @web.middleware
    async def _by_id(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        project = request.match_info.get("project", "")
        if project in self.ids:
            project = request.match_info["project"] = self.ids[project]
        if self.projects is not None and project not in self.projects:
            self.calls.append(Called("", project, "", is_dry_run=False))
            return web.json_response(Refused(404, "notFound", f"Not found: Project {project}").document, status=404)
        return await handler(request)

    # The methods.

    async def _insert(self, request: web.Request) -> web.StreamResponse:
        return await self._submitted(request, await _json_of(request))

    async def _submitted(self, request: web.Request, document: dict[str, Any]) -> web.StreamResponse:
        project_id = request.match_info["project"]
        configuration = document.get("configuration") or {}
        reference = document.get("jobReference") or {}
        called = Called(
            "jobs.insert", project_id, str(reference.get("jobId") or ""), configuration.get("dryRun") is True
        )

        async def work() -> dict[str, Any]:
            if called.is_dry_run:
                token = request.headers.get("Authorization", "").partition(" ")[2]
                foretold = self._foretold(project_id, configuration, reference)
                return foretold | {"user_email": self.emails.get(token, foretold["user_email"])}
            await self._take_time()
            ran = self._begin(project_id, configuration, reference)
            if ran.work.ms == 0:
                await ran.done.wait()
            return self._job_document(ran)

        return await self._answer(request, called, work)

    async def _query(self, request: web.Request) -> web.StreamResponse:
        project_id = request.match_info["project"]
        document = await _json_of(request)
        called = Called("jobs.query", project_id, str(document.get("requestId") or ""), document.get("dryRun") is True)

        async def work() -> dict[str, Any]:
            names = ("query", "useLegacySql", "maximumBytesBilled", "useQueryCache", "connectionProperties")
            configuration = {
                "query": {name: document[name] for name in names if name in document},
                "labels": document.get("labels") or {},
            }
            if called.is_dry_run:
                return self._foretold(project_id, configuration, {})
            await self._take_time()
            ran = self._repeated(project_id, document)
            if ran is None:
                has_job = str(document.get("jobCreationMode") or "").lower() not in _OPTIONAL_MODES
                ran = self._begin(project_id, configuration, {"location": document.get("location")}, has_job=has_job)
                self._by_request_id[project_id, str(document.get("requestId") or "")] = ran
            await self._await_end(ran, document.get("timeoutMs"))
            return self._query_document(ran)

        return await self._answer(request, called, work)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        async def work() -> dict[str, Any]:
            return self._job_document(self._find(request))

        return await self._answer(request, _called(request, "jobs.get"), work)

    async def _results(self, request: web.Request) -> web.StreamResponse:
        async def work() -> dict[str, Any]:
            ran = self._find(request)
            await self._await_end(ran, request.query.get("timeoutMs"))
            document = self._query_document(ran)
            return {name: value for name, value in document.items() if name not in {"totalBytesBilled", "totalSlotMs"}}

        return await self._answer(request, _called(request, "jobs.getQueryResults"), work)

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        async def work() -> dict[str, Any]:
            ran = self._find(request)
            if ran.timer is not None:
                ran.timer.cancel()
            if ran.ended_ms is None:
                self._end(ran, {"reason": "stopped", "message": "Job execution was cancelled: User requested"})
            return {"kind": "bigquery#jobCancelResponse", "job": self._job_document(ran)}

        return await self._answer(request, _called(request, "jobs.cancel"), work)

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        async def work() -> dict[str, Any]:
            ran = self._find(request)
            if ran.ended_ms is None:
                raise Refused(400, "invalid", "A job that runs cannot be deleted.")
            ran.deleted_ms = self._now_ms()
            return {}

        return await self._answer(request, _called(request, "jobs.delete"), work)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        asked = request.query

        async def work() -> dict[str, Any]:
            since, until = int(asked.get("minCreationTime", "0")), int(asked.get("maxCreationTime", str(2**60)))
            parent, state = asked.get("parentJobId"), asked.get("stateFilter", "").upper()
            found = [
                self._listed(ran, is_full=asked.get("projection", "minimal").lower() == "full")
                for ran in reversed([*self.books, *self._children])
                if ran.project_id == request.match_info["project"]
                and ran.job_id is not None
                and ran.deleted_ms is None
                and ran.parent_id == parent
                and since <= ran.created_ms < until
                and ran.created_ms <= self._now_ms() - self.unlisted_ms
                and state in {"", _state(ran)}
            ]
            begin, size = int(asked.get("pageToken", "0")), int(asked.get("maxResults", str(_PAGE_JOBS)))
            page: dict[str, Any] = {"kind": "bigquery#jobList", "jobs": found[begin : begin + size]}
            if begin + size < len(found):
                page["nextPageToken"] = str(begin + size)
            return page

        return await self._answer(request, _called(request, "jobs.list"), work)

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.query.get("uploadType") == "resumable":
            token = f"u{next(self._numbers)}"
            self._uploads[token] = json.loads(body or b"{}")
            location = f"{self.url}{request.path}?uploadType=resumable&upload_id={token}"
            return web.Response(headers={"Location": location})
        boundary = request.headers["Content-Type"].partition("boundary=")[2].strip('"; ')
        part = body.split(f"--{boundary}".encode())[1]
        return await self._submitted(request, json.loads(part.partition(b"\r\n\r\n")[2]))

    async def _upload_rest(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        return await self._submitted(request, self._uploads.pop(request.query["upload_id"]))

    # How a call is answered.

    async def _answer(self, request: web.Request, called: Called, work: Any) -> web.StreamResponse:
        self.calls.append(called)
        fault = self.faults.take(called)
        if fault is not None and fault.kind in BEFORE_THE_WORK:
            refusal = await _befall(fault, request)
            if refusal is not None:
                return refusal
        status, document = 200, {}
        try:
            document = await work()
            mask = (
                request.query.get("fields") or request.query.get("$fields") or request.headers.get("X-Goog-FieldMask")
            )
            if mask:
                document = masked(document, mask)
        except Refused as refused:
            status, document = refused.status, refused.document
        except MaskRefused as refused:
            status, document = 400, Refused(400, "invalidParameter", str(refused)).document
        if fault is None or fault.kind in BEFORE_THE_WORK:
            return web.json_response(document, status=status)
        return await _lose(fault, request, status, json.dumps(document).encode())

    async def _take_time(self) -> None:
        least, most = self._latency_ms
        await _pass_s(self._random.uniform(least, most) / 1000)

    # What a query does.

    def _work_of(self, configuration: Mapping[str, Any]) -> Work:
        sql = str((configuration.get("query") or {}).get("query") or "")
        return self.works.get(sql) or work_in(sql)

    def _foretold(self, project_id: str, configuration: dict[str, Any], reference: Mapping[str, Any]) -> dict[str, Any]:
        work = self._work_of(configuration)
        if work.is_unseen:
            raise Refused(400, "invalidQuery", "Dry run is not supported for this query.")
        is_hit = work.is_cached and (configuration.get("query") or {}).get("useQueryCache") is not False
        size = 0 if work.is_external or is_hit else work.size_bytes
        said = str(size if work.said_bytes is None else work.said_bytes)
        place = str(reference.get("location") or self.locations.get(project_id, "US"))
        tables = [
            {"projectId": project_id, "datasetId": "d", "tableId": f"t{number}"}
            for number in range(min(work.tables, _TABLES_LISTED_MAX) if work.size_bytes and not work.children else 0)
        ]
        return {
            "kind": "bigquery#job",
            "id": f"{project_id}:{place}.",
            "user_email": self.members.get(project_id, "ann@example.com"),
            "configuration": {**configuration, "jobType": "QUERY"},
            "jobReference": {"projectId": project_id, "location": place},
            "statistics": {
                "creationTime": str(self._now_ms()),
                "totalBytesProcessed": said,
                "query": {
                    "totalBytesProcessed": said,
                    "totalBytesBilled": "0",
                    "totalBytesProcessedAccuracy": work.accuracy,
                    "statementType": work.statement_type,
                    "cacheHit": is_hit,
                    "referencedTables": tables,
                },
            },
            "status": {"state": "DONE"},
        }

    def _repeated(self, project_id: str, document: Mapping[str, Any]) -> Ran | None:
        """The first run of a repeated requestId, where the statement changes something and it is not long ago."""
        request_id = str(document.get("requestId") or "")
        ran = self._by_request_id.get((project_id, request_id)) if request_id else None
        if ran is None or not ran.work.is_mutating or self._now_ms() - ran.created_ms > _REPEAT_MS:
            return None
        return ran if ran.configuration["query"].get("query") == document.get("query") else None

    def _begin(
        self,
        project_id: str,
        configuration: dict[str, Any],
        reference: Mapping[str, Any],
        *,
        has_job: bool = True,
    ) -> Ran:
        labels = configuration.get("labels") or {}
        if len(labels) > _LABELS_MAX:
            raise Refused(400, "invalid", f"Too many labels: {len(labels)}. At most {_LABELS_MAX} are allowed.")
        number = next(self._numbers)
        job_id = str(reference.get("jobId") or f"job_{number}")
        place = str(reference.get("location") or self.locations.get(project_id, "US"))
        if has_job and (project_id, job_id) in self._jobs:
            raise Refused(409, "duplicate", f"Already Exists: Job {project_id}:{place}.{job_id}")
        work = self._work_of(configuration)
        its_id, now_ms = job_id if has_job else None, self._now_ms()
        ran = Ran(project_id, its_id, place, configuration, work, now_ms, query_id=f"q{number}")
        self.books.append(ran)
        if has_job:
            self._jobs[project_id, job_id] = ran
        refusal = _over_the_cap(configuration, work)
        if "query" not in configuration:
            ran.end(self._now_ms())
        elif refusal is not None:
            ran.refuse(self._now_ms(), refusal)
        elif work.ms:
            ran.timer = asyncio.get_running_loop().call_later(work.ms / 1000, self._end, ran)
        else:
            self._end(ran)
        return ran

    def _end(self, ran: Ran, error: dict[str, str] | None = None) -> None:
        ran.end(self._now_ms(), error)
        if not ran.work.children or ran.job_id is None:
            return
        for number, statement in enumerate(ran.statements):
            its_id = f"script_job_{ran.query_id}_{number}"
            its_own = {"query": {"query": "of a script"}, "labels": ran.labels}
            child = Ran(ran.project_id, its_id, ran.location, its_own, statement, ran.created_ms, parent_id=ran.job_id)
            child.end(self._now_ms())
            self._children.append(child)
            self._jobs[ran.project_id, its_id] = child

    def _find(self, request: web.Request) -> Ran:
        project_id, job_id = request.match_info["project"], request.match_info["job"]
        ran = self._jobs.get((project_id, job_id))
        place = request.query.get("location")
        is_elsewhere = ran is not None and (place or "US").lower() != ran.location.lower()
        if ran is None or ran.deleted_ms is not None or is_elsewhere:
            raise Refused(404, "notFound", f"Not found: Job {project_id}:{place or 'US'}.{job_id}")
        return ran

    async def _await_end(self, ran: Ran, timeout_ms: Any) -> None:
        wait_s = _WAIT_S if timeout_ms is None else int(timeout_ms) / 1000
        try:
            async with asyncio.timeout(wait_s):
                await ran.done.wait()
        except TimeoutError:
            return

    # What is told of a job.

    def _listed(self, ran: Ran, *, is_full: bool) -> dict[str, Any]:
        document = self._job_document(ran)
        if not is_full:
            document.pop("configuration")
        return document

    def _job_document(self, ran: Ran) -> dict[str, Any]:
        place = ran.location
        kind = next((name for name in _NAME_BY_KIND if name in ran.configuration), "query")
        statistics: dict[str, Any] = {"creationTime": str(ran.created_ms), "startTime": str(ran.created_ms)}
        status: dict[str, Any] = {"state": _state(ran)}
        if ran.ended_ms is not None:
            statistics |= {"endTime": str(ran.ended_ms), "totalBytesProcessed": str(ran.work.size_bytes)}
            statistics["totalSlotMs"] = str(ran.work.ms)
            if kind == "query":
                statistics["query"] = {
                    "statementType": ran.work.statement_type,
                    "totalBytesProcessed": str(ran.work.size_bytes),
                    "totalBytesBilled": str(ran.bytes_billed),
                    "totalSlotMs": str(ran.work.ms),
                    "cacheHit": ran.work.is_cached,
                }
            if ran.work.children:
                statistics["numChildJobs"] = str(len(ran.statements))
            if ran.parent_id is not None:
                statistics |= {"parentJobId": ran.parent_id, "scriptStatistics": {"evaluationKind": "STATEMENT"}}
            if ran.error is not None:
                status |= {"errorResult": ran.error, "errors": [ran.error]}
        return {
            "kind": "bigquery#job",
            "etag": "e",
            "id": f"{ran.project_id}:{place}.{ran.job_id}",
            "selfLink": f"{self.url}/bigquery/v2/projects/{ran.project_id}/jobs/{ran.job_id}?location={place}",
            "user_email": self.members.get(ran.project_id, "ann@example.com"),
            "configuration": {**ran.configuration, "jobType": _NAME_BY_KIND[kind]},
            "jobReference": {"projectId": ran.project_id, "jobId": ran.job_id, "location": place},
            "statistics": statistics,
            "status": status,
        }

    def _query_document(self, ran: Ran) -> dict[str, Any]:
        if ran.error is not None:
            raise Refused(400, ran.error["reason"], ran.error["message"])
        document: dict[str, Any] = {"kind": "bigquery#queryResponse", "schema": {"fields": []}}
        if ran.job_id is not None:
            reference = {"projectId": ran.project_id, "jobId": ran.job_id, "location": ran.location}
            document["jobReference"] = reference
        document |= {"queryId": ran.query_id, "location": ran.location, "jobComplete": ran.ended_ms is not None}
        if ran.ended_ms is not None:
            document |= {
                "rows": [],
                "totalRows": "0",
                "totalBytesProcessed": str(ran.work.size_bytes),
                "totalBytesBilled": str(ran.bytes_billed),
                "totalSlotMs": str(ran.work.ms),
                "statementType": ran.work.statement_type,
                "cacheHit": ran.work.is_cached,
            }
        return document


def _over_the_cap(configuration: Mapping[str, Any], work: Work) -> dict[str, str] | None:
    """BigQuery's own refusal of what is dearer than its cap, foretold and therefore free."""
    query = configuration.get("query") or {}
    cap = int(query.get("maximumBytesBilled") or 0)
    needed = 0 if work.is_external or work.children else work.billable_bytes
    if not cap or needed <= cap:
        return None
    return bytes_billed_error(cap, needed)


async def _befall(fault: Fault, request: web.Request) -> web.Response | None:
    """Have it happen before the work; None: the work begins, late."""
    match fault.kind:
        case FaultKind.UNAVAILABLE:
            refused = Refused(
                503, "backendError", "Error encountered during execution. Retrying may solve the problem."
            )
            return web.json_response(refused.document, status=503)
        case FaultKind.CUT_BEFORE:
            _cut(request)
            return web.Response(status=503)
        case FaultKind.STALL:
            await fault.released.wait()
        case _:
            await _pass_s(fault.seconds)
    return None


async def _lose(fault: Fault, request: web.Request, status: int, body: bytes) -> web.StreamResponse:
    """Have the answer lost in the way that is asked for."""
    if fault.kind is FaultKind.LOST:
        document = Refused(503, "backendError", "Error encountered during execution.").document
        return web.json_response(document, status=503)
    if fault.kind is FaultKind.LATE:
        await _pass_s(fault.seconds)
        return web.Response(body=body, status=status, content_type="application/json")
    if fault.kind is FaultKind.CUT_AFTER:
        _cut(request)
        return web.Response(status=503)
    at = body.find(b'"jobReference"')
    if at < 0:
        at = len(body) // 2
    if fault.kind is FaultKind.CUT_BEHIND_REFERENCE:
        at = body.find(b"}", at) + 1
    answer = web.StreamResponse(
        status=status, headers={"Content-Type": "application/json", "Content-Length": str(len(body))}
    )
    with suppress(ConnectionResetError):  # whoever asked may have gone
        await answer.prepare(request)
        await answer.write(body[:at])
        await _pass_s(0.005)
    _cut(request)
    return answer


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _called(request: web.Request, method: str) -> Called:
    return Called(method, request.match_info["project"], request.match_info.get("job", ""), is_dry_run=False)


async def _json_of(request: web.Request) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(await request.read() or b"{}")
    return document


def _state(ran: Ran) -> str:
    return "RUNNING" if ran.ended_ms is None else "DONE"


async def _pass_s(seconds: float) -> None:
    passed = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, passed.set)
    await passed.wait()
