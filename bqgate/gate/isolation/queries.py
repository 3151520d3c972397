"""Judge a query by its dry run: everything that it reads, writes and calls must be in the customer's scope.

Called by boundary.py for submitted queries and by resources.py for the queries of views; asks BigQuery through the
dry run that admission makes anyway. What leaves: the Estimate, or AccessDenied, or BigQuery's own refusal of the query
where its message can tell nothing of others. One query needs one dry run; a second is asked for only where admission
swallowed BigQuery's refusal of a jobs.insert.

What a dry run says is trusted for queries, DML and CREATE TABLE AS. Definitions are checked by their text as well: that
sources behind LIKE, CLONE and COPY are among the referenced tables is not documented.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from bqgate.admission.estimates.estimator import DRY_RUN_REFUSED
from bqgate.domain.data_scope import DataScope, split_name
from bqgate.domain.errors import AccessDenied, UpstreamRefused
from bqgate.domain.job import Estimate, QueryRequest
from bqgate.domain.principal import Credential
from bqgate.gate.isolation.denials import table_denied, use_denied
from bqgate.gate.isolation.names import (
    check_all_names,
    check_dataset_name,
    check_files,
    check_hidden_names,
    written_name,
)
from bqgate.gate.isolation.sql_text import SqlText, read_sql
from bqgate.ports import DryRunner
from bqgate.wire.fields import object_at, text_at
from bqgate.wire.query_request import dry_run_body

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


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a query is judged by.

    `projects`: where names without a project may lie; `is_alone` False: BigQuery's IAM tells callers apart, and only
    the lists of the dry run count.
    """

    scope: DataScope
    projects: tuple[str, ...]
    is_alone: bool
    allows_unknown: bool


def bounds_of(request: QueryRequest, scope: DataScope, *, is_alone: bool, allows_unknown: bool) -> Bounds:
    """The bounds of a submitted query."""
    return Bounds(scope, _projects(request), is_alone=is_alone, allows_unknown=allows_unknown)


def _projects(request: QueryRequest) -> tuple[str, ...]:
    body: dict[str, Any] = dict(request.body)
    query = object_at(object_at(body, "configuration") or {}, "query") or body
    default = object_at(query, "defaultDataset") or {}
    named = text_at(default, "projectId")
    return (request.project_id,) if named in {None, request.project_id} else (request.project_id, str(named))


class QueryJudge:
    """Judges estimates as they are made."""

    def __init__(self, bigquery: DryRunner) -> None:
        self._bigquery = bigquery

    async def judge_request(
        self, request: QueryRequest, bounds: Bounds, credential: Credential, ask: Callable[[], Awaitable[Estimate]]
    ) -> Estimate:
        """The estimate that `ask` brings, once it is clear that the query stays within its bounds.

        Raises:
            AccessDenied: it does not, or nobody can say.
            UpstreamRefused: BigQuery refuses the query.
            UpstreamUnavailable: BigQuery does not answer.
        """
        estimate = await self._judge(request.sql, bounds, ask)
        if estimate.unknown_because != DRY_RUN_REFUSED or bounds.allows_unknown:
            return estimate
        # BigQuery's words are the caller's to read, but no job may come of what could not be judged.
        body = dry_run_body(request)
        return await self._judge(request.sql, bounds, lambda: self._dry_run(request.project_id, body, credential))

    async def judge_text(
        self, sql: str, *, project_id: str, use_legacy_sql: bool, bounds: Bounds, credential: Credential
    ) -> None:
        """Return when a view's query stays within bounds.

        Raises:
            AccessDenied, UpstreamRefused, UpstreamUnavailable: as judge_request.
        """
        query = {"query": sql, "useLegacySql": use_legacy_sql, "useQueryCache": False}
        body = {"jobReference": {"projectId": project_id}, "configuration": {"query": query, "dryRun": True}}
        await self._judge(sql, bounds, lambda: self._dry_run(project_id, body, credential))

    async def _dry_run(self, project_id: str, body: dict[str, Any], credential: Credential) -> Estimate:
        return await self._bigquery.dry_run(project_id=project_id, body=body, credential=credential)

    async def _judge(self, sql: str, bounds: Bounds, ask: Callable[[], Awaitable[Estimate]]) -> Estimate:
        text = read_sql(sql)
        if bounds.is_alone:
            check_hidden_names(text, bounds.scope, bounds.projects)
        try:
            estimate = await ask()
        except UpstreamRefused as refused:
            if bounds.is_alone and refused.status in {400, 403, 404}:
                # "Did you mean …" and "Not found: Table …" would tell of what is not the caller's to know.
                check_all_names(text, bounds.scope, bounds.projects)
            raise
        if estimate.unknown_because != DRY_RUN_REFUSED:
            check_estimate(estimate, text, bounds)
        elif bounds.is_alone:
            check_all_names(text, bounds.scope, bounds.projects)
        return estimate


def check_estimate(estimate: Estimate, text: SqlText, bounds: Bounds) -> None:
    """Return when all that a dry run names is in scope, and it names all.

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
        _check_statement(estimate, text, bounds)


def _check_statement(estimate: Estimate, text: SqlText, bounds: Bounds) -> None:
    """What only a gate must ask that stands alone between its customers."""
    kind, scope, projects = estimate.statement_type, bounds.scope, bounds.projects
    if kind not in _ALLOWED and not (bounds.allows_unknown and kind in _OPAQUE):
        raise use_denied(f"A statement of type {kind or 'unknown'}")
    if kind in _CHANGING:
        written = written_name(text, projects)
        if written is None and not estimate.targets:
            raise _unknown(estimate)
        if written and not scope.allows_name(written):
            raise table_denied(written)
    elif kind == "CREATE_TABLE_AS_SELECT":
        check_all_names(text, scope, projects, until="AS")  # CREATE TABLE … LIKE other AS SELECT …
    elif kind in _SCHEMAS:
        check_dataset_name(text, scope, projects)
    elif kind in _DEFINING and not (kind in _QUERYING and estimate.table_count):
        check_all_names(text, scope, projects)
    if kind in _WITH_FILES or "LIBRARY" in {path.word for path in text.paths}:
        check_files(text, scope)


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
