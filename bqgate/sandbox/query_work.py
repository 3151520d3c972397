"""Do what a query job asks: plan, look into the cache, check the caps, execute.

Handlers build a QueryWork from a checked configuration and either ask it for a plan (dry run) or hand it to the runner.
It calls the warehouse, which blocks, so both happen in worker threads. Options of BigQuery that the sandbox has no
answer to are refused with 501 before there is a job.

Sources: https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#jobconfigurationquery,
https://cloud.google.com/bigquery/docs/best-practices-costs (maximumBytesBilled is compared with the pre-run estimate),
https://cloud.google.com/bigquery/docs/cached-results (CREATE_NEVER without a destination: only if cached).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bqgate.sandbox.jobs import Job
from bqgate.sandbox.replies import ApiError
from bqgate.sandbox.result_cache import key_of
from bqgate.sandbox.users import User
from bqgate.sandbox.warehouse import (
    BytesBilledLimitExceeded,
    Interrupt,
    NotFound,
    Plan,
    QueryContext,
    Result,
    TableRef,
)
from bqgate.sandbox.world import World

QUERY_TEXT_MAX = 1024 * 1024

# Options that change what a query does or costs and that the sandbox can not honour.
REFUSED = (
    "createSession",
    "continuous",
    "writeIncrementalResults",
    "tableDefinitions",
    "userDefinedFunctionResources",
    "schemaUpdateOptions",
    "timePartitioning",
    "rangePartitioning",
    "clustering",
    "destinationEncryptionConfiguration",
)


def table_ref(reference: Mapping[str, str], project: str) -> TableRef:
    """Read a TableReference.

    Raises:
        ApiError: 400 when the dataset or the table is missing.
    """
    for name in ("datasetId", "tableId"):
        if not reference.get(name):
            raise ApiError(400, "required", f"Required parameter is missing: {name}", location=name)
    return TableRef(reference.get("projectId") or project, reference["datasetId"], reference["tableId"])


def check_query(query: Mapping[str, Any]) -> None:
    """Refuse a configuration that no job can be made of.

    Raises:
        ApiError: 400 or 501.
    """
    if not query.get("query", "").strip():
        raise ApiError(400, "required", "Required parameter is missing: query", location="query")
    if len(query["query"].encode()) > QUERY_TEXT_MAX:
        raise ApiError(
            400,
            "invalid",
            "The query is too large. The maximum standard SQL query length is 1024.00K characters, including comments "
            "and white space characters.",
        )
    for name in REFUSED:
        if query.get(name):
            raise ApiError(501, "notImplemented", f"The sandbox does not support {name}", location=name)
    for prop in query.get("connectionProperties", ()):
        if prop.get("key") != "query_label" and prop.get("value", "UTC") != "UTC":
            raise ApiError(
                501, "notImplemented", f"The sandbox does not support the connection property {prop.get('key')}"
            )
    for name in ("maximumBytesBilled",):
        if query.get(name, 0) < 0:
            raise ApiError(400, "invalid", f"Invalid value for {name}: {query[name]}", location=name)


class QueryWork:
    """What one query is asked to do."""

    def __init__(self, world: World, user: User, project: str, location: str, configuration: Mapping[str, Any]) -> None:
        self._world = world
        self._query: Mapping[str, Any] = configuration["query"]
        self._interrupt = Interrupt()
        self._cached: Result | None = None
        self._cache_key = key_of(project, user.cache_key, location, self._query)
        default = self._query.get("defaultDataset", {})
        destination = self._query.get("destinationTable")
        self.destination = table_ref(destination, project) if destination else None
        self.context = QueryContext(
            project=project,
            now=world.clock.now(),
            default_dataset=(
                (default.get("projectId") or project, default["datasetId"]) if default.get("datasetId") else None
            ),
            parameters=self._query.get("queryParameters", ()),
            user_email=user.email,
            location=location,
            # The API's own default is legacy SQL; every official client sends false.
            use_legacy_sql=self._query.get("useLegacySql", True),
            destination=self.destination,
            write_disposition=self._query.get("writeDisposition", "WRITE_EMPTY"),
            create_disposition=self._query.get("createDisposition", "CREATE_IF_NEEDED"),
        )

    def plan(self) -> Plan:
        """Ask the warehouse what the query would do and read."""
        return self._world.warehouse.plan(self._query["query"], self.context)

    def cached(self, plan: Plan) -> Result | None:
        """Return the result that would be served without running, if there is one."""
        usable = (
            self._world.settings.query_cache
            and self._query.get("useQueryCache", True)
            and plan.deterministic
            and self.destination is None
        )
        return self._world.cache.find(self._cache_key, plan, self.context.now) if usable else None

    def prepare(self, job: Job) -> None:
        plan = job.plan = self.plan()
        self._cached = self.cached(plan)
        if self._cached:
            job.cache_hit = True
            return
        if self._query.get("createDisposition") == "CREATE_NEVER" and self.destination is None:
            raise NotFound("Not found: no cached result for this query, and createDisposition is CREATE_NEVER")
        cap = self._query.get("maximumBytesBilled") or None
        if cap is not None and plan.bytes_billed_if_run > cap:
            raise BytesBilledLimitExceeded(cap, plan.bytes_billed_if_run)
        budget: int = self._query.get("scriptOptions", {}).get("statementByteBudget") or 0
        for statement in plan.statements:
            if budget and statement.bytes_billed_if_run > budget:
                raise BytesBilledLimitExceeded(budget, statement.bytes_billed_if_run)

    def run(self, job: Job) -> Result:  # noqa: ARG002 - the shape of every Work
        if self._cached:
            return replace(self._cached, bytes_processed=0, bytes_billed=0, slot_ms=0, wall_ms=0)
        result = self._world.warehouse.execute(
            self._query["query"],
            self.context,
            maximum_bytes_billed=self._query.get("maximumBytesBilled") or None,
            interrupt=self._interrupt,
        )
        if result.plan.statement_type == "SELECT" and result.plan.deterministic and self.destination is None:
            self._world.cache.put(self._cache_key, result, self.context.now)
        return result

    def interrupt(self) -> None:
        self._interrupt.interrupt()
