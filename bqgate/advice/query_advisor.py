"""Find out what would make a refused query cheaper: the Advisor port.

Called by the gate's handler after a refusal was decided and booked, never for a query that is forwarded. Parses in one
thread of its own; where it `asks` BigQuery, it looks at the query's tables (tables.get) and dry-runs the query once
more with the filter that is missing. Both are free, and in the caller's name.

Bounded in every way, because a refusal must cost next to nothing: an advice takes at most `deadline_s`, at most
UNDER_WAY_MAX are sought at once, what was found is kept for a minute for whoever repeats the query, and texts over
query_shape.SQL_CHARS_MAX are not read. Whatever fails, the answer is what was found until then, or nothing.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from bqgate.advice.query_shape import QueryShape, TableUse, read_shape, with_conditions
from bqgate.advice.suggestions import Facts, RewrittenQuery, advice_for, conditions_for
from bqgate.domain.errors import BqgateError
from bqgate.domain.job import Estimate, Method, QueryRequest
from bqgate.domain.principal import Credential
from bqgate.domain.table import TableFacts
from bqgate.ports import Clock, DryRunner, TableSource, Telemetry
from bqgate.wire.query_request import dry_run_body

UNDER_WAY_MAX = 4
_TABLES_MAX = 5
_KEPT_S = 60.0
_KEPT_MAX = 1_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asking:
    """The ways to BigQuery."""

    bigquery: DryRunner
    tables: TableSource


@dataclass(slots=True)
class _Search:
    """One advice under way, the best that is known so far, and what the thread does for it."""

    request: QueryRequest
    estimate: Estimate
    credential: Credential
    advice: str = ""
    reading: asyncio.Future[Any] | None = None


class QueryAdvisor:
    """An Advisor over sqlglot and, where `asking` is given, BigQuery. Close it at the end."""

    def __init__(self, *, clock: Clock, telemetry: Telemetry, deadline_s: float, asking: Asking | None = None) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._deadline_s = deadline_s
        self._asking = asking
        self._under_way = 0
        self._kept: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bqgate-advice")

    async def advise(self, request: QueryRequest, estimate: Estimate, credential: Credential) -> str:
        """One or two sentences about this query; see ports.Advisor."""
        key = f"{request.fingerprint}:{credential.fingerprint}"
        kept = self._kept.get(key)
        if kept is not None and kept[0] > self._clock.monotonic_s():
            return kept[1]
        if self._under_way >= UNDER_WAY_MAX:
            self._telemetry.count("advice_total", result="busy")
            return ""
        self._under_way += 1
        search = _Search(request, estimate, credential)
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._search(search)
        except TimeoutError:
            self._telemetry.count("advice_total", result="late")
            return search.advice
        finally:
            self._leave(search)
        self._telemetry.count("advice_total", result="given" if search.advice else "nothing")
        self._keep(key, search.advice)
        return search.advice

    async def close(self) -> None:
        """Take no more work; what is being read ends by itself, within a moment."""
        self._reader.shutdown(wait=False, cancel_futures=True)

    async def _search(self, search: _Search) -> None:
        if _is_legacy(search.request):
            return
        shape = await self._in_thread(search, lambda: read_shape(search.request.sql))
        if shape is None:
            return
        search.advice = advice_for(shape, {})
        if self._asking is None:
            return
        facts = await _fetch_facts(self._asking.tables, shape, search)
        search.advice = advice_for(shape, facts)
        rewritten = await self._try_rewrite(self._asking.bigquery, shape, facts, search)
        if rewritten is not None:
            search.advice = advice_for(shape, facts, rewritten)

    async def _try_rewrite(
        self, bigquery: DryRunner, shape: QueryShape, facts: Facts, search: _Search
    ) -> RewrittenQuery | None:
        """What the query would process with the filters that it lacks; None where BigQuery does not say."""
        conditions = conditions_for(shape, facts, self._clock.now())
        if not conditions or not search.estimate.is_known:
            return None
        sql = await self._in_thread(search, lambda: with_conditions(search.request.sql, conditions))
        if sql is None:
            return None
        body = dry_run_body(search.request)
        body["configuration"]["query"]["query"] = sql
        try:
            estimate = await bigquery.dry_run(
                project_id=search.request.project_id, body=body, credential=search.credential
            )
        except BqgateError:
            return None
        if not estimate.is_known:
            return None
        return RewrittenQuery(conditions, search.estimate.bytes_processed, estimate.bytes_processed)

    async def _in_thread(self, search: _Search, work: Callable[[], T]) -> T:
        reading = asyncio.get_running_loop().run_in_executor(self._reader, work)
        search.reading = reading
        return await asyncio.shield(reading)

    def _leave(self, search: _Search) -> None:
        """Give the place back; what the thread still does keeps it, for a thread cannot be stopped."""
        if search.reading is None or search.reading.done():
            self._under_way -= 1
        else:
            search.reading.add_done_callback(lambda _done: self._leave(search))

    def _keep(self, key: str, advice: str) -> None:
        self._kept[key] = (self._clock.monotonic_s() + _KEPT_S, advice)
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT_MAX:
            self._kept.popitem(last=False)


async def _fetch_facts(tables: TableSource, shape: QueryShape, search: _Search) -> dict[tuple[str, ...], TableFacts]:
    """What the query's tables are, by the path as it writes them. Those that cannot be looked at are left out."""
    paths = list(dict.fromkeys(use.path for use in shape.uses if _is_the_callers(use, search)))[:_TABLES_MAX]

    async def fetch(path: tuple[str, ...]) -> TableFacts | None:
        project_id, dataset_id, table_id = _whole_path(path, search.request)
        try:
            return await tables.fetch_table(
                project_id=project_id, dataset_id=dataset_id, table_id=table_id, credential=search.credential
            )
        except BqgateError:
            return None

    found = await asyncio.gather(*(fetch(path) for path in paths))
    return {path: facts for path, facts in zip(paths, found, strict=True) if facts is not None}


def _is_the_callers(use: TableUse, search: _Search) -> bool:
    """Whether BigQuery said that the query reads this table: what it may not read, nobody looks at for it."""
    whole = _whole_path(use.path, search.request)
    return len(whole) == 3 and ".".join(whole) in search.estimate.referenced_tables


def _whole_path(path: tuple[str, ...], request: QueryRequest) -> tuple[str, ...]:
    """Project, dataset and table; fewer where the query and its default dataset do not say."""
    default = _query_part(request).get("defaultDataset")
    if len(path) == 1 and isinstance(default, dict):
        path = (str(default.get("projectId") or request.project_id), str(default.get("datasetId")), *path)
    return (request.project_id, *path) if len(path) == 2 else path


def _is_legacy(request: QueryRequest) -> bool:
    return str(_query_part(request).get("useLegacySql")).lower() == "true"


def _query_part(request: QueryRequest) -> Mapping[str, Any]:
    """Where the request has the query's own options."""
    part: Mapping[str, Any] = request.body
    if request.method is Method.INSERT:
        part = part["configuration"]["query"]
    return part
