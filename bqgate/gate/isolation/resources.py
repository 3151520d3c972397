"""Judge the bodies that make and change datasets, tables, views, models and routines.

Called by boundary.py for the methods whose rule says so. Fields are let through by name: what shares data, reaches for
files and connections, or is newer than this list, is refused. References must agree with the URL. A view's query is
dry-run as if its creator had asked it, since its schema would be shown in the answer. What leaves is the call with the
body that was judged. Reference: https://cloud.google.com/bigquery/docs/reference/rest/v2/tables.
"""

from collections.abc import Mapping
from typing import Any

from bqgate.domain.errors import MalformedRequest
from bqgate.domain.principal import Credential
from bqgate.gate.body import read_json_object, with_json
from bqgate.gate.isolation.denials import dataset_denied, use_denied
from bqgate.gate.isolation.names import check_all_names, check_hidden_names
from bqgate.gate.isolation.queries import Bounds, QueryJudge
from bqgate.gate.isolation.rules import Rule
from bqgate.gate.isolation.sql_text import read_sql
from bqgate.gate.routes import Route
from bqgate.wire.fields import camel_keys, flag_at, object_at, text_at
from bqgate.wire.http_message import HttpRequest

# What BigQuery puts into every resource, and ignores in requests.
_SHOWN = frozenset(
    {"kind", "id", "etag", "selfLink", "type", "creationTime", "lastModifiedTime", "location", "satisfiesPzs"}
)
_SHARED = _SHOWN | {"friendlyName", "description", "labels", "defaultCollation", "defaultRoundingMode"}
_DATASET = _SHARED | {
    *("datasetReference", "defaultTableExpirationMs", "defaultPartitionExpirationMs", "isCaseInsensitive"),
    *("maxTimeTravelHours", "storageBillingModel", "satisfiesPzi"),
}
_TABLE = _SHARED | {
    *("tableReference", "schema", "expirationTime", "timePartitioning", "rangePartitioning", "clustering"),
    *("requirePartitionFilter", "maxStaleness", "tableConstraints", "view", "materializedView"),
    *("numBytes", "numRows", "numLongTermBytes", "numPhysicalBytes", "numTotalLogicalBytes", "streamingBuffer"),
    *("numActiveLogicalBytes", "numLongTermLogicalBytes", "numTotalPhysicalBytes", "numActivePhysicalBytes"),
    *("numLongTermPhysicalBytes", "numTimeTravelPhysicalBytes", "numCurrentPhysicalBytes", "numPartitions"),
}
_ROUTINE = _SHARED | {
    *("routineReference", "routineType", "language", "arguments", "returnType", "returnTableType"),
    *("definitionBody", "strictMode", "determinismLevel", "buildStatus"),
}
_MODEL = _SHARED | {"modelReference", "expirationTime"}
_ALLOWED = {
    Rule.DATASET_BODY: (_DATASET, "datasetReference"),
    Rule.TABLE_BODY: (_TABLE, "tableReference"),
    Rule.ROUTINE_BODY: (_ROUTINE, "routineReference"),
    Rule.MODEL_BODY: (_MODEL, "modelReference"),
}
_VIEW = frozenset({"query", "useLegacySql", "useExplicitColumnNames"})
_MATERIALIZED_VIEW = frozenset(
    {
        *("query", "enableRefresh", "refreshIntervalMs", "lastRefreshTime", "maxStaleness"),
        "allowNonIncrementalDefinition",
    }
)


class ResourceBodies:
    """Judges what would be made or changed."""

    def __init__(self, judge: QueryJudge) -> None:
        self._judge = judge

    async def judged(
        self, call: HttpRequest, route: Route, rule: Rule, bounds: Bounds, credential: Credential
    ) -> HttpRequest:
        """The call with the body that was judged.

        Raises:
            AccessDenied: it sets or names what it may not.
            MalformedRequest, BodyTooLarge: it is not such a body.
            UpstreamRefused, UpstreamUnavailable: BigQuery's answer about a view's query.
        """
        body = camel_keys(await read_json_object(call), path="")
        allowed, reference_name = _ALLOWED[rule]
        for name in body:
            if name not in allowed:
                raise use_denied(f"The field {name[:64]}")
        _check_reference(body, reference_name, route, bounds)
        for name, parts in (("view", _VIEW), ("materializedView", _MATERIALIZED_VIEW)):
            definition = object_at(body, name)
            if definition is not None:
                body[name] = definition
                await self._check_view(definition, name, parts, route, bounds, credential)
        if rule is Rule.ROUTINE_BODY:
            _check_routine(body, bounds)
        return with_json(call, body)

    async def _check_view(
        self,
        definition: Mapping[str, Any],
        name: str,
        allowed: frozenset[str],
        route: Route,
        bounds: Bounds,
        credential: Credential,
    ) -> None:
        for part in definition:
            if part not in allowed:
                raise use_denied(f"The field {name}.{part[:64]}")
        sql = text_at(definition, "query", path=f"{name}.")
        if sql is None:
            return
        is_legacy = name == "view" and flag_at(definition, "useLegacySql", path=f"{name}.") is not False
        await self._judge.judge_text(
            sql, project_id=route.project_id or "", use_legacy_sql=is_legacy, bounds=bounds, credential=credential
        )


def _check_reference(body: dict[str, Any], name: str, route: Route, bounds: Bounds) -> None:
    """What the body says it is must be what the URL says; a new dataset is named by the body alone."""
    reference = object_at(body, name) or {}
    if reference:
        body[name] = reference
    project, dataset = text_at(reference, "projectId"), text_at(reference, "datasetId")
    wanted = route.params.get("datasetId")
    if project not in {None, route.project_id} or (wanted is not None and dataset not in {None, wanted}):
        raise MalformedRequest(f"{name} does not agree with the URL.", field=name)
    if wanted is None and not bounds.scope.allows_dataset(route.project_id or "", dataset or ""):
        raise dataset_denied(route.project_id or "", dataset or "", "bigquery.datasets.create")


def _check_routine(body: Mapping[str, Any], bounds: Bounds) -> None:
    """A routine's body in SQL names only what is in scope; other languages cannot name tables."""
    definition = text_at(body, "definitionBody")
    language = (text_at(body, "language") or "SQL").upper()
    if definition is None or language == "JAVASCRIPT":
        return
    if language not in {"SQL", "LANGUAGE_UNSPECIFIED"}:
        raise use_denied(f"A routine in {language[:32]}")
    text = read_sql(definition)
    check_hidden_names(text, bounds.scope, bounds.projects)
    check_all_names(text, bounds.scope, bounds.projects)
