"""Judge a query by its dry run: everything that it reads, writes and calls must be in the customer's scope.

Called by boundary.py for submitted queries and by resources.py for the queries of views; asks BigQuery through the
dry run that admission makes anyway. What leaves: the Estimate, or AccessDenied, or BigQuery's own refusal of the query
where its message can tell nothing of others. One query needs one dry run; a second is asked for only where admission
swallowed BigQuery's refusal of a jobs.insert.

What a dry run says is trusted for queries, DML and CREATE TABLE AS. Definitions are checked by their text as well: that
sources behind LIKE, CLONE and COPY are among the referenced tables is not documented.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bqgate.admission.estimates.estimator import DRY_RUN_REFUSED
from bqgate.domain.data_scope import DataScope, split_name
from bqgate.domain.errors import AccessDenied, UpstreamRefused
from bqgate.domain.job import Estimate, QueryRequest
from bqgate.domain.principal import Credential
from bqgate.gate.isolation.denials import message_denied, table_denied, use_denied
from bqgate.gate.isolation.names import names_others
from bqgate.gate.isolation.text_verdict import TextVerdict, judge_text
from bqgate.gate.long_texts import LongTexts
from bqgate.ports import DryRunner
from bqgate.wire.error_reply import message_of
from bqgate.wire.fields import object_at, text_at
from bqgate.wire.query_request import dry_run_body
from bqgate.wire.sql_text import check_length

# Older pages of BigQuery's reference say that longer lists are cut.
_TABLES_SURE = 50
_UNSURE = frozenset({"script", "row_level_security", "federated", "no_statistics"})
_READING = frozenset({"SELECT", "CREATE_TABLE_AS_SELECT"})
_CHANGING = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE_TABLE"})
# Definitions around a query, whose tables the dry run lists.
_QUERYING = frozenset({"CREATE_VIEW", "CREATE_MATERIALIZED_VIEW", "CREATE_MODEL"})
_SCHEMAS = frozenset({"CREATE_SCHEMA", "ALTER_SCHEMA", "DROP_SCHEMA", "UNDROP_SCHEMA"})
_DEFINING = _QUERYING | {
    *("CREATE_TABLE", "CREATE_SNAPSHOT_TABLE", "CREATE_FUNCTION", "CREATE_TABLE_FUNCTION", "CREATE_PROCEDURE"),
    *("CREATE_SEARCH_INDEX", "CREATE_VECTOR_INDEX"),
    *("ALTER_TABLE", "ALTER_VIEW", "ALTER_MATERIALIZED_VIEW", "ALTER_MODEL"),
    *("ALTER_SEARCH_INDEX", "ALTER_VECTOR_INDEX"),
    *("DROP_TABLE", "DROP_SNAPSHOT_TABLE", "DROP_EXTERNAL_TABLE", "DROP_VIEW", "DROP_MATERIALIZED_VIEW"),
    *("DROP_MODEL", "DROP_FUNCTION", "DROP_TABLE_FUNCTION", "DROP_PROCEDURE"),
    *("DROP_SEARCH_INDEX", "DROP_VECTOR_INDEX"),
}
# Statements that may bring in a file by their options.
_WITH_FILES = frozenset(
    {"CREATE_MODEL", "CREATE_TABLE", "CREATE_FUNCTION", "CREATE_TABLE_FUNCTION", "CREATE_PROCEDURE"}
)
_ALLOWED = _READING | _CHANGING | _SCHEMAS | _DEFINING
# What isolation.unknown_tables: allow lets through beside them; its inner statements are nobody's to see.
_OPAQUE = frozenset({"", "SCRIPT", "CALL", "EXECUTE_IMMEDIATE"})
_STANDARD_PREFIX = re.compile(r"#standardsql[ \t]*+\r?+\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a query is judged by.

    `customer`: whose query it is; `projects`: where names without a project may lie; `is_alone` False: BigQuery's IAM
    tells callers apart, and only the lists of the dry run count.
    """

    customer: str
    scope: DataScope
    projects: tuple[str, ...]
    is_alone: bool
    allows_unknown: bool


def bounds_of(
    request: QueryRequest, customer: str, scope: DataScope, *, is_alone: bool, allows_unknown: bool
) -> Bounds:
    """The bounds of a submitted query."""
    return Bounds(customer, scope, _projects(request), is_alone=is_alone, allows_unknown=allows_unknown)


def _may_be_legacy(sql: str, use_legacy_sql: object) -> bool:
    """Whether BigQuery may read the query as legacy SQL: unless the flag or its first line says otherwise it may.

    Where a prefix may stand is not said in full
    (https://cloud.google.com/bigquery/docs/introduction-sql#changing_from_the_default_dialect), so the plainest place
    alone speaks for GoogleSQL, and any against it.
    """
    if "#legacysql" in sql.lower():
        return True
    return _STANDARD_PREFIX.match(sql) is None and use_legacy_sql is not False


def _query_of(request: QueryRequest) -> Mapping[str, Any]:
    body: dict[str, Any] = dict(request.body)
    return object_at(object_at(body, "configuration") or {}, "query") or body


def _projects(request: QueryRequest) -> tuple[str, ...]:
    default = object_at(_query_of(request), "defaultDataset") or {}
    named = text_at(default, "projectId")
    return (request.project_id,) if named in {None, request.project_id} else (request.project_id, str(named))


class QueryJudge:
    """Judges estimates as they are made."""

    def __init__(self, bigquery: DryRunner, long_texts: LongTexts) -> None:
        self._bigquery = bigquery
        self._long_texts = long_texts

    async def judge_request(
        self, request: QueryRequest, bounds: Bounds, credential: Credential, ask: Callable[[], Awaitable[Estimate]]
    ) -> Estimate:
        """The estimate that `ask` brings, once it is clear that the query stays within its bounds.

        Raises:
            AccessDenied: it does not, or nobody can say.
            UpstreamRefused: BigQuery refuses the query.
            UpstreamUnavailable: BigQuery does not answer.
        """
        may_be_legacy = _may_be_legacy(request.sql, _query_of(request).get("useLegacySql"))
        reservations = request.facts.reservations
        estimate = await self._judge(request.sql, bounds, ask, may_be_legacy=may_be_legacy, reservations=reservations)
        if estimate.unknown_because != DRY_RUN_REFUSED or bounds.allows_unknown:
            return estimate
        # BigQuery's words are the caller's to read, but no job may come of what could not be judged.
        body = dry_run_body(request)

        async def again() -> Estimate:
            return (await self._dry_run(request.project_id, body, credential)).with_calls(request.facts)

        return await self._judge(request.sql, bounds, again, may_be_legacy=may_be_legacy)

    async def judge_view(
        self, sql: str, *, project_id: str, use_legacy_sql: bool, bounds: Bounds, credential: Credential
    ) -> None:
        """Return when a view's query stays within bounds.

        Raises:
            AccessDenied, UpstreamRefused, UpstreamUnavailable: as judge_request.
            MalformedRequest: it is longer than BigQuery takes it.
        """
        query = {"query": sql, "useLegacySql": use_legacy_sql, "useQueryCache": False}
        body = {"jobReference": {"projectId": project_id}, "configuration": {"query": query, "dryRun": True}}
        check_length(sql, is_legacy=use_legacy_sql, field="query")
        ask = partial(self._dry_run, project_id, body, credential)
        await self._judge(sql, bounds, ask, may_be_legacy=_may_be_legacy(sql, use_legacy_sql))

    async def judge_routine(self, sql: str, bounds: Bounds) -> None:
        """Return when a routine's body, which no dry run is made of, names only what is in scope.

        Raises:
            AccessDenied: it does not.
            MalformedRequest: it is longer than BigQuery takes it.
        """
        check_length(sql, is_legacy=False, field="definitionBody")
        reading = partial(judge_text, sql, bounds.scope, bounds.projects)
        verdict = await self._long_texts.read(bounds.customer, sql, reading)
        _raise(verdict.forbidden or verdict.names)

    async def _dry_run(self, project_id: str, body: dict[str, Any], credential: Credential) -> Estimate:
        return await self._bigquery.dry_run(project_id=project_id, body=body, credential=credential)

    async def _judge(
        self,
        sql: str,
        bounds: Bounds,
        ask: Callable[[], Awaitable[Estimate]],
        *,
        may_be_legacy: bool,
        reservations: Sequence[str | None] = (),
    ) -> Estimate:
        verdict = TextVerdict()
        if bounds.is_alone:
            reading = partial(judge_text, sql, bounds.scope, bounds.projects, may_be_legacy=may_be_legacy)
            verdict = await self._long_texts.read(bounds.customer, sql, reading)
            _raise(verdict.forbidden)
            if not all(name and bounds.scope.allows_reservation(name) for name in reservations):
                raise use_denied("A reservation that customers.<name>.reservations does not list")
        try:
            estimate = await ask()
        except UpstreamRefused as refused:
            if bounds.is_alone and refused.status in {400, 403, 404}:
                # "Did you mean …" and "Not found: Table …" would tell of what is not the caller's to know.
                _raise(verdict.names)
                if names_others(message_of(refused.body) or "", bounds.scope):
                    raise message_denied() from None
            raise
        if estimate.unknown_because != DRY_RUN_REFUSED:
            check_estimate(estimate, verdict, bounds)
        else:
            _raise(verdict.names)
        return estimate


def check_estimate(estimate: Estimate, verdict: TextVerdict, bounds: Bounds) -> None:
    """Return when all that a dry run names is in scope, and it names all.

    Args:
        estimate: the dry run.
        verdict: what the text says; asked only where the gate stands alone between its customers.
        bounds: what is within reach.

    Raises:
        AccessDenied: it is not, or it may not.
    """
    named = (
        *estimate.referenced_tables,
        *estimate.referenced_views,
        *estimate.referenced_routines,
        *estimate.targets,
    )
    for name in named:
        if not _is_within(name, bounds):
            raise table_denied(name)
    is_sure = estimate.unknown_because not in _UNSURE and estimate.table_count < _TABLES_SURE
    is_sure = is_sure and bool(estimate.statement_type)
    if not is_sure and not bounds.allows_unknown:
        raise _unknown(estimate)
    if bounds.is_alone:
        _check_statement(estimate, verdict, bounds)


def _check_statement(estimate: Estimate, verdict: TextVerdict, bounds: Bounds) -> None:
    """What only a gate must ask that stands alone between its customers."""
    kind = estimate.statement_type
    if kind not in _ALLOWED and not (bounds.allows_unknown and kind in _OPAQUE):
        raise use_denied(f"A statement of type {kind or 'unknown'}")
    if kind in _CHANGING:
        if verdict.written is None and not estimate.targets:
            raise _unknown(estimate)
        if verdict.written and not bounds.scope.allows_name(verdict.written):
            raise table_denied(verdict.written)
    elif kind == "CREATE_TABLE_AS_SELECT":
        _raise(verdict.names_before_as)  # CREATE TABLE … LIKE other AS SELECT …
    elif kind in _SCHEMAS:
        _raise(verdict.dataset_names)
    elif kind in _DEFINING and not (kind in _QUERYING and estimate.table_count):
        _raise(verdict.names)
    if kind in _WITH_FILES:
        _raise(verdict.files)


def _raise(denied: AccessDenied | None) -> None:
    if denied is not None:
        raise denied


def _is_within(name: str, bounds: Bounds) -> bool:
    _, dataset, table = split_name(name)
    if not bounds.is_alone and dataset.startswith("_"):
        return True  # a session's or a script's own, which BigQuery keeps apart by caller
    is_of_region = table.upper().startswith("INFORMATION_SCHEMA") and dataset.lower().startswith("region-")
    return bounds.scope.allows_name(name) and not is_of_region


def _unknown(estimate: Estimate) -> AccessDenied:
    why = estimate.unknown_because or f"it reads {estimate.table_count} tables or more"
    return AccessDenied(
        f"Access Denied: bqgate cannot see all that this query touches ({why}), and is set to refuse such queries; "
        "the setting isolation.unknown_tables: allow lets them run.",
        target="unknown tables",
    )
