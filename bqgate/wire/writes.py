"""Tell what a call to BigQuery may write: a query by its dry run, a load or copy job by its body, REST by its route.

Called by the gate when such a call is sent and by settlement when a job has ended; admission then drops the estimates
that were made before. In doubt more is touched, never less: too much costs a dry run, too little lets a good query fail
under the gate's own cap. Nothing is raised; what cannot be read may write anything in its project.
"""

import re
from collections.abc import Mapping
from typing import Any

from bqgate.domain.data_scope import split_name
from bqgate.domain.errors import MalformedRequest
from bqgate.domain.job import Estimate, Method, QueryRequest
from bqgate.domain.touched import EVERYTHING, Touched, touched_names
from bqgate.wire.fields import camel_keys, object_at, text_at
from bqgate.wire.sql_facts import only_reads

# Statements that change nothing, beyond the table that their result may go to.
_READING = frozenset({"SELECT", "EXPORT_DATA", "EXPORT_MODEL", "ASSERT", "BEGIN_TRANSACTION", "ROLLBACK_TRANSACTION"})

# A project may be called example.com:sales; legacy SQL writes project:dataset.table.
_BEFORE_A_DOT = re.compile(r"(?<![\w:-])([\w:-]++)[`\]\s]*+\.")
_OF_A_DOMAIN = re.compile(r"(?<![\w.-])[\w-]++(?:\.[\w-]++)++:[\w-]++")
# A longer text is not searched for names: it may write anything.
_SEARCHED_CHARS_MAX = 64 * 1024

_DATASET = ("projectId", "datasetId")
_TABLE = (*_DATASET, "tableId")
_ROUTINE = (*_DATASET, "routineId")
_MODEL = (*_DATASET, "modelId")
# Methods that change what a query reads, by the parameters of their paths that name it. Who makes something new says
# its name in the body, which is not read: it lies in the dataset.
_WRITING_METHODS: Mapping[str, tuple[str, ...]] = {
    "datasets.delete": _DATASET,
    "datasets.patch": _DATASET,
    "datasets.undelete": _DATASET,
    "datasets.update": _DATASET,
    "models.delete": _MODEL,
    "models.patch": _MODEL,
    "routines.delete": _ROUTINE,
    "routines.insert": _DATASET,
    "routines.update": _ROUTINE,
    "rowAccessPolicies.batchDelete": _TABLE,
    "rowAccessPolicies.delete": _TABLE,
    "rowAccessPolicies.insert": _TABLE,
    "rowAccessPolicies.update": _TABLE,
    "tabledata.insertAll": _TABLE,
    "tables.delete": _TABLE,
    "tables.insert": _DATASET,
    "tables.patch": _TABLE,
    "tables.update": _TABLE,
}


def touched_by(request: QueryRequest, estimate: Estimate) -> Touched | None:
    """What a query may write; None: nothing.

    A script, or a query that no dry run could read, may write anything in its project and in those that are named.
    """
    destination = _destination_of_query(request)
    targets = touched_names((*estimate.targets, *destination))
    if estimate.statement_type in _READING:
        return targets if targets.name_count else None
    has_said = estimate.is_known or estimate.unknown_because in {"row_level_security", "federated", "lower_bound"}
    if has_said and estimate.statement_type and targets.name_count:
        return targets
    named = {split_name(name)[0] for name in (*estimate.referenced_tables, *estimate.targets)}
    return targets | touched_names({request.project_id, *named})


def touched_by_unread(request: QueryRequest) -> Touched | None:
    """What a query may write that no dry run was made of; None: nothing."""
    if only_reads(request.sql, request.facts):
        destination = touched_names(_destination_of_query(request))
        return destination if destination.name_count else None
    if request.facts.is_dynamic or len(request.sql) > _SEARCHED_CHARS_MAX:
        return EVERYTHING
    return touched_names({request.project_id, *_words_before_dots(request.sql), *_default_projects(request)})


def touched_by_job(project_id: str, document: Mapping[str, Any]) -> Touched | None:
    """What a load or copy job may write; None for an extract job, which writes files.

    Args:
        project_id: the job's, of the URL.
        document: the Job as it was submitted.
    """
    try:
        configuration = object_at(camel_keys(document, path=""), "configuration") or {}
        for kind in ("load", "copy"):
            part = object_at(configuration, kind)
            if part is not None:
                return touched_names([_table_name(part, project_id) or project_id])
        if object_at(configuration, "extract") is not None:
            return None
    except MalformedRequest:
        pass  # BigQuery will say so; or it reads it otherwise
    return touched_names([project_id])


def job_named(project_id: str, document: Mapping[str, Any]) -> str | None:
    """The job that a body names, as its caller will ask after it ("project:jobid"); None: BigQuery chooses its id."""
    try:
        reference = object_at(camel_keys(document, path=""), "jobReference") or {}
        job_id = text_at(reference, "jobId")
    except MalformedRequest:
        return None
    return None if job_id is None else f"{project_id}:{job_id}"


def touched_by_route(method_id: str, params: Mapping[str, str]) -> Touched | None:
    """What a call of a method other than jobs.insert and jobs.query may write; None: nothing that an estimate is of.

    Args:
        method_id: as in BigQuery's discovery document, "tables.patch".
        params: what its path names, decoded: projectId, datasetId, tableId….
    """
    naming = _WRITING_METHODS.get(method_id)
    if naming is None:
        return None
    return touched_names([".".join(params[name] for name in naming)])


def _words_before_dots(sql: str) -> frozenset[str]:
    """All that may be the project of a name in a text, and much that is not."""
    words = _BEFORE_A_DOT.findall(sql)
    return frozenset((*words, *(word.partition(":")[0] for word in words), *_OF_A_DOMAIN.findall(sql))) - {""}


def _default_projects(request: QueryRequest) -> tuple[str, ...]:
    """The project in which a query's short names lie, where it is not the job's."""
    try:
        part = request.body if request.method is not Method.INSERT else request.body["configuration"]["query"]
        project = text_at(object_at(part, "defaultDataset") or {}, "projectId")
    except MalformedRequest:
        project = None
    return () if project is None else (project,)


def _destination_of_query(request: QueryRequest) -> tuple[str, ...]:
    """The table that the caller wants the result in."""
    if request.method is not Method.INSERT:
        return ()
    try:
        name = _table_name(request.body["configuration"]["query"], request.project_id)
    except MalformedRequest:
        name = request.project_id
    return () if name is None else (name,)


def _table_name(part: Mapping[str, Any], project_id: str) -> str | None:
    """The name of a job's destination table; None where it has none that can be named.

    Raises:
        MalformedRequest: a field of it is of the wrong type.
    """
    reference = object_at(part, "destinationTable")
    if not reference:
        return None
    project = text_at(reference, "projectId") or project_id
    dataset, table = text_at(reference, "datasetId"), text_at(reference, "tableId")
    return None if dataset is None or table is None else f"{project}.{dataset}.{table}"
