"""Read what a caller submits (jobs.insert, jobs.query) and write what goes to BigQuery for it.

Called by the intake step and by the estimator. One description comes out (QueryRequest), two bodies can be made of it:
the dry run (always in jobs.insert's form, because only that answer names tables, user and accuracy) and the
forwarded request, which differs from the caller's only in the fields that the gate sets. Errors: MalformedRequest.
Reference: https://cloud.google.com/bigquery/docs/reference/rest/v2/Job and .../jobs/query.
"""

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from bqgate.domain.errors import MalformedRequest, UnsupportedRequest
from bqgate.domain.job import Method, QueryRequest
from bqgate.domain.resource_ids import is_job_id, is_location
from bqgate.wire.enumerations import OF_INSERT, OF_QUERY, Enumeration, settle_enumerations
from bqgate.wire.fields import camel_keys, object_at, settled_flag, text_at, wrong_type
from bqgate.wire.integers import INT32, INT64, UINT32, integer_at, settled_integer
from bqgate.wire.job_labels import labels_at, merged_labels
from bqgate.wire.json_text import write_json
from bqgate.wire.query_text import read_query_text

_PROPERTY_KEY_CHARS_MAX = 128
_PROPERTY_VALUE_CHARS_MAX = 16 * 1024
_FLAGS = ("continuous", "createSession", "useLegacySql", "useQueryCache")
_REQUEST_ID = re.compile(r"[\x20-\x7e]{1,36}")
_JOB_TYPES = ("query", "load", "copy", "extract")
# Fields of QueryRequest that mean the same in configuration.query; the others that decide an estimate sit elsewhere.
_QUERY_FIELDS = (
    "query",
    "useLegacySql",
    "defaultDataset",
    "parameterMode",
    "queryParameters",
    "connectionProperties",
    "createSession",
    "destinationEncryptionConfiguration",
)


def parse_insert(project_id: str, document: Mapping[str, Any]) -> QueryRequest | None:
    """Read a Job. None: it is a load, copy or extract job.

    Raises:
        MalformedRequest: not exactly one configuration, a field of the wrong type, a bad job id, another project.
        UnsupportedRequest: a continuous query, whose cost has no bound.
    """
    body = camel_keys(document, path="")
    configuration = object_at(body, "configuration")
    if configuration is None:
        raise MalformedRequest("Required parameter is missing: configuration", reason="required", field="configuration")
    kinds = [kind for kind in _JOB_TYPES if configuration.get(kind) is not None]
    if len(kinds) != 1:
        raise MalformedRequest("Exactly one of configuration.query, load, copy and extract must be given.")
    body["configuration"] = configuration
    reference = object_at(body, "jobReference") or {}
    if reference:
        body["jobReference"] = reference
    job_id, location = _job_id(reference), _location(reference, "jobReference.")
    if kinds != ["query"]:
        return None
    query = object_at(configuration, "query", path="configuration.") or {}
    configuration["query"] = query
    path = "configuration.query."
    _settle(query, OF_INSERT, path)
    _read_script_options(query, path)
    _settle_bounds(configuration, "configuration.")
    sql, facts = read_query_text(query, path)
    project_id = _project(project_id, reference)
    return QueryRequest(
        method=Method.INSERT,
        project_id=project_id,
        body=body,
        sql=sql,
        facts=facts,
        fingerprint=_fingerprint(_dry_run_job(Method.INSERT, project_id, body, location)),
        dry_run=settled_flag(configuration, "dryRun", path="configuration.") or False,
        job_id=job_id,
        location=location,
        maximum_bytes_billed=_cap(query, path),
        use_query_cache=query.get("useQueryCache") is not False,
        labels=labels_at(configuration, path="configuration."),
    )


def parse_query(project_id: str, document: Mapping[str, Any]) -> QueryRequest:
    """Read a QueryRequest.

    Raises:
        MalformedRequest: a field is missing or of the wrong type.
        UnsupportedRequest: a continuous query.
    """
    body = camel_keys(document, path="")
    _settle(body, OF_QUERY, "")
    request_id = text_at(body, "requestId")
    if request_id is not None and _REQUEST_ID.fullmatch(request_id) is None:
        raise MalformedRequest("requestId must be at most 36 ASCII characters.", field="requestId")
    for name in ("timeoutMs", "maxResults"):
        if name in body:
            settled_integer(body, name, UINT32)
    _settle_bounds(body, "")
    if "jobTimeoutMs" in body and (settled_integer(body, "jobTimeoutMs") or 0) < 0:
        raise MalformedRequest("jobTimeoutMs must not be negative.", field="jobTimeoutMs")
    sql, facts = read_query_text(body, "")
    location = _location(body, "")
    return QueryRequest(
        method=Method.QUERY,
        project_id=project_id,
        body=body,
        sql=sql,
        facts=facts,
        fingerprint=_fingerprint(_dry_run_job(Method.QUERY, project_id, body, location)),
        dry_run=settled_flag(body, "dryRun") or False,
        request_id=request_id,
        location=location,
        maximum_bytes_billed=_cap(body, ""),
        use_query_cache=body.get("useQueryCache") is not False,
        labels=labels_at(body),
    )


def dry_run_body(request: QueryRequest, *, use_query_cache: bool = False) -> dict[str, Any]:
    """The Job that asks what this query would process, whichever method it came by.

    The cache is off unless asked for, so that the hold covers the query even when the cached result is gone by then;
    the caller's cap is left out, so that the answer is a number and not a refusal.
    """
    return _dry_run_job(
        request.method, request.project_id, request.body, request.location, use_query_cache=use_query_cache
    )


def _dry_run_job(
    method: Method, project_id: str, body: Mapping[str, Any], location: str | None, *, use_query_cache: bool = False
) -> dict[str, Any]:
    if method is Method.INSERT:
        configuration = dict(body["configuration"])
        query = dict(configuration["query"])
        if query.get("destinationTable") is None:
            query.pop("createDisposition", None)
    else:
        configuration = {name: body[name] for name in ("reservation",) if name in body}
        query = {name: body[name] for name in _QUERY_FIELDS if name in body}
    query.pop("maximumBytesBilled", None)
    query.pop("priority", None)
    query["useQueryCache"] = use_query_cache
    configuration |= {"query": query, "dryRun": True}
    for name in ("jobTimeoutMs", "labels"):
        configuration.pop(name, None)
    reference = {"projectId": project_id}
    if location is not None:
        reference["location"] = location
    return {"jobReference": reference, "configuration": configuration}


def _fingerprint(dry_run_job: Mapping[str, Any]) -> str:
    """A hash of all that decides the estimate of a query: equal for two requests that must get the same one."""
    decisive = write_json(dry_run_job, sort_keys=True, with_digests=True)
    return sha256(decisive.encode("utf-8", "surrogatepass")).hexdigest()


def forward_body(
    request: QueryRequest,
    *,
    job_id: str,
    maximum_bytes_billed: int | None,
    labels: Mapping[str, str],
    notes: Mapping[str, str] | None = None,
    is_script: bool = False,
) -> dict[str, Any]:
    """The caller's request as it goes to BigQuery.

    Changed are: the job id where there was none (jobs.insert), the cap (None: left as the caller set it), the gate's
    labels, and for jobs.query the job creation mode, because a query without a job cannot be found again. `notes` are
    labels for people, which take what room the others leave.
    """
    merged = merged_labels(request.labels, labels, notes or {})
    body = dict(request.body)
    if request.method is Method.QUERY:
        body["jobCreationMode"] = "JOB_CREATION_REQUIRED"
        if maximum_bytes_billed is not None:
            body["maximumBytesBilled"] = str(maximum_bytes_billed)
        return body | {"labels": merged}
    configuration = dict(body["configuration"])
    query = dict(configuration["query"])
    if maximum_bytes_billed is not None:
        query["maximumBytesBilled"] = str(maximum_bytes_billed)
        if is_script:
            query["scriptOptions"] = _script_options(query, maximum_bytes_billed)
    reference = dict(body.get("jobReference") or {})
    reference |= {"projectId": request.project_id, "jobId": request.job_id or job_id}
    return body | {"jobReference": reference, "configuration": configuration | {"query": query, "labels": merged}}


def may_be_served_from_cache(request: QueryRequest) -> bool:
    """Whether "only if cached" can be said of this query: jobs.insert, the cache wanted, no destination table.

    Source: https://cloud.google.com/bigquery/docs/cached-results (createDisposition CREATE_NEVER).
    """
    if request.method is not Method.INSERT or not request.use_query_cache:
        return False
    return request.body["configuration"]["query"].get("destinationTable") is None


def cached_only_body(request: QueryRequest) -> dict[str, Any]:
    """The caller's request, bound to the cache: without a result there the job fails with notFound, free."""
    configuration = request.body["configuration"]
    query = configuration["query"] | {"createDisposition": "CREATE_NEVER", "useQueryCache": True}
    return {**request.body, "configuration": configuration | {"query": query}}


def _read_script_options(query: dict[str, Any], path: str) -> None:
    """Check the script options now: a fault that is found after the hold was placed would leave the hold standing."""
    options = object_at(query, "scriptOptions", path=path)
    if options is not None:
        settled_integer(options, "statementByteBudget", path=f"{path}scriptOptions.")
        query["scriptOptions"] = options


def _script_options(query: Mapping[str, Any], budget_bytes: int) -> dict[str, Any]:
    """The caller's script options with a byte budget per statement that is never wider than the cap."""
    options = query.get("scriptOptions") or {}
    own = integer_at(options, "statementByteBudget") or 0
    budget = min(own, budget_bytes) if own > 0 else budget_bytes
    return {**options, "statementByteBudget": str(budget)}


def _settle_bounds(holder: dict[str, Any], path: str) -> None:
    """Check the caller's slots and time now, as above: a throttled query's are compared with its tier's."""
    for name, kind in (("maxSlots", INT32), ("jobTimeoutMs", INT64)):
        if name in holder:
            settled_integer(holder, name, kind, path=path)


def _cap(query: dict[str, Any], path: str) -> int | None:
    """The caller's own cap. Zero is proto JSON's "not given": BigQuery would see no cap, so the gate sees none."""
    cap = settled_integer(query, "maximumBytesBilled", path=path)
    if cap is not None and cap < 0:
        field = f"{path}maximumBytesBilled"
        raise MalformedRequest(f"Invalid value for field {field}: it must not be negative.", field=field)
    return cap or None


def _job_id(reference: Mapping[str, Any]) -> str | None:
    job_id = text_at(reference, "jobId", path="jobReference.")
    if job_id is not None and not is_job_id(job_id):
        raise MalformedRequest(
            f'Invalid job ID "{job_id[:64]}". Job IDs must be alphanumeric (plus underscores and dashes) and must be '
            "at most 1024 characters long.",
            field="jobReference.jobId",
        )
    return job_id


def _project(project_id: str, reference: Mapping[str, Any]) -> str:
    """The project of the URL is billed; a reference to another one would hide which."""
    named = text_at(reference, "projectId", path="jobReference.")
    if named is not None and named != project_id:
        raise MalformedRequest(
            f"jobReference.projectId is {named}, but the request is for project {project_id}.",
            field="jobReference.projectId",
        )
    return project_id


def _location(holder: Mapping[str, Any], path: str) -> str | None:
    location = text_at(holder, "location", path=path)
    if location is not None and not is_location(location):
        field = f"{path}location"
        raise MalformedRequest(f"Invalid value for field {field}: it is no location of BigQuery's.", field=field)
    return location


def _settle(query: dict[str, Any], kinds: Sequence[Enumeration], path: str) -> None:
    """Put into one spelling what is judged by name or as yes and no, and drop what only BigQuery may say."""
    query.pop("systemVariables", None)  # an output; as an input it would set labels
    for name in _FLAGS:
        if name in query:
            settled_flag(query, name, path=path)
    if query.get("continuous") is True:
        raise UnsupportedRequest("Continuous queries never end, so no budget can cover them; bqgate refuses them.")
    settle_enumerations(query, kinds, path=path)
    items = query.get("connectionProperties")
    if items is None:
        return
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise wrong_type(f"{path}connectionProperties", "a list of objects")
    query["connectionProperties"] = [_property(item, f"{path}connectionProperties.") for item in items]


def _property(item: Mapping[str, Any], path: str) -> dict[str, Any]:
    """A connection property of bounded size: 64 labels in one query_label are the longest there is."""
    for name, chars_max in (("key", _PROPERTY_KEY_CHARS_MAX), ("value", _PROPERTY_VALUE_CHARS_MAX)):
        if len(text_at(item, name, path=path) or "") > chars_max:
            raise wrong_type(f"{path}{name}", f"at most {chars_max} characters long")
    return dict(item)
