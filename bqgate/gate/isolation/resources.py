"""Judge the bodies that make and change datasets, tables, views, models and routines.

Called by boundary.py for the methods whose rule says so. Fields are let through by name (resource_fields.py), also in
the bodies of methods that only ask, or bring rows. References must agree with the URL. A view's query is
dry-run as if its creator had asked it, since its schema would be shown in the answer. What leaves is the call with the
body that was judged. Reference: https://cloud.google.com/bigquery/docs/reference/rest/v2/tables.
"""

from collections.abc import Mapping
from typing import Any

from bqgate.domain.errors import MalformedRequest
from bqgate.domain.principal import Credential
from bqgate.gate.body import (
    BODY_BYTES_MAX,
    parse_json_object,
    plain_body,
    read_bounded,
    read_json_object,
    with_json,
    without_body,
    without_mark,
)
from bqgate.gate.isolation.denials import dataset_denied, key_denied, table_denied, use_denied
from bqgate.gate.isolation.field_lists import Fields, listed
from bqgate.gate.isolation.ids import check_ids
from bqgate.gate.isolation.queries import Bounds, QueryJudge
from bqgate.gate.isolation.resource_fields import (
    ARGUMENTS,
    DATASET_FIELDS,
    MODEL_FIELDS,
    ROUTINE_FIELDS,
    TABLE_FIELDS,
)
from bqgate.gate.isolation.rules import Rule
from bqgate.gate.routes import Route
from bqgate.wire.fields import flag_at, object_at, text_at
from bqgate.wire.http_message import HttpRequest

_ALLOWED: Mapping[Rule, tuple[Fields, str]] = {
    Rule.DATASET_BODY: (DATASET_FIELDS, "datasetReference"),
    Rule.TABLE_BODY: (TABLE_FIELDS, "tableReference"),
    Rule.ROUTINE_BODY: (ROUTINE_FIELDS, "routineReference"),
    Rule.MODEL_BODY: (MODEL_FIELDS, "modelReference"),
}
# Whatever language a body of these names, what can run in it is SQL.
_OF_SQL_ALONE = frozenset({"PROCEDURE", "TABLE_VALUED_FUNCTION"})
_ENCRYPTIONS = ("encryptionConfiguration", "defaultEncryptionConfiguration")


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
        fields, reference_name = _ALLOWED[rule]
        body = listed(await read_json_object(call), fields)
        _check_reference(body, reference_name, route, bounds)
        _check_encryption(body, bounds)
        _check_foreign_keys(body, route, bounds)
        for name in ("view", "materializedView"):
            definition = object_at(body, name)
            if definition is not None:
                await self._check_view(definition, name, route, bounds, credential)
        if rule is Rule.ROUTINE_BODY:
            await self._check_routine(body, bounds)
        return with_json(call, body)

    async def _check_view(
        self,
        definition: Mapping[str, Any],
        name: str,
        route: Route,
        bounds: Bounds,
        credential: Credential,
    ) -> None:
        sql = text_at(definition, "query", path=f"{name}.")
        if sql is None:
            return
        is_legacy = name == "view" and flag_at(definition, "useLegacySql", path=f"{name}.") is not False
        await self._judge.judge_view(
            sql, project_id=route.project_id or "", use_legacy_sql=is_legacy, bounds=bounds, credential=credential
        )

    async def _check_routine(self, body: Mapping[str, Any], bounds: Bounds) -> None:
        """A routine's body in SQL names only what is in scope; a function in another language cannot name tables."""
        definition = text_at(body, "definitionBody")
        language = (text_at(body, "language") or "SQL").upper()
        if definition is None or (language == "JAVASCRIPT" and text_at(body, "routineType") not in _OF_SQL_ALONE):
            return
        if language not in {"SQL", "LANGUAGE_UNSPECIFIED"}:
            raise use_denied(f"A routine in {language[:32]}")
        await self._judge.judge_routine(definition, bounds)


async def judged_arguments(call: HttpRequest, route: Route) -> HttpRequest:
    """A call whose body makes and changes no resource, with nothing in it but the method's own arguments.

    Raises:
        AccessDenied: there is something else.
        MalformedRequest, BodyTooLarge: it is not such a body.
    """
    data = await read_bounded(plain_body(call), bytes_max=BODY_BYTES_MAX)
    if not without_mark(data).strip():
        return without_body(call)
    body = listed(await parse_json_object(data, kept=("rows",)), ARGUMENTS[route.method_id])
    suffix = text_at(body, "templateSuffix")
    if suffix is not None:
        # The rows go to a table of this name.
        check_ids({"tableId": f"{route.params.get('tableId', '')}{suffix}"})
    return with_json(call, body)


def _check_reference(body: dict[str, Any], name: str, route: Route, bounds: Bounds) -> None:
    """What the body says it is must be what the URL says; a new dataset is named by the body alone."""
    reference = object_at(body, name) or {}
    check_ids({key: text_at(reference, key) for key in reference}, path=f"{name}.")
    project, dataset = text_at(reference, "projectId"), text_at(reference, "datasetId")
    wanted = route.params.get("datasetId")
    if project not in {None, route.project_id} or (wanted is not None and dataset not in {None, wanted}):
        raise MalformedRequest(f"{name} does not agree with the URL.", field=name)
    if wanted is None and not bounds.scope.allows_dataset(route.project_id or "", dataset or ""):
        raise dataset_denied(route.project_id or "", dataset or "", "bigquery.datasets.create")


def _check_encryption(body: Mapping[str, Any], bounds: Bounds) -> None:
    for name in _ENCRYPTIONS:
        key = text_at(object_at(body, name) or {}, "kmsKeyName", path=f"{name}.")
        if key is not None and not bounds.scope.allows_key(key):
            raise key_denied(key)


def _check_foreign_keys(body: Mapping[str, Any], route: Route, bounds: Bounds) -> None:
    """A foreign key tells whether there is such a table, and what its primary key is."""
    keys = (object_at(body, "tableConstraints") or {}).get("foreignKeys") or []
    for key in keys if isinstance(keys, list) else [keys]:
        table = object_at(key, "referencedTable", path="tableConstraints.foreignKeys.")
        if table is None:
            continue
        names = {name: text_at(table, name) for name in table}
        check_ids(names, path="tableConstraints.foreignKeys.referencedTable.")
        project = names.get("projectId") or route.project_id or ""
        dataset = names.get("datasetId") or route.params.get("datasetId", "")
        if not bounds.scope.allows_dataset(project, dataset):
            raise table_denied(f"{project}.{dataset}.{names.get('tableId') or ''}")
