"""List the methods of BigQuery's REST API v2 and find the one that a verb and a path mean.

The server routes by this table and the discovery document is built from it, so that a client which reads the document
calls exactly what is served. Ids, verbs, paths and query parameters are facts of the public discovery document,
revision 20261009: https://bigquery.googleapis.com/$discovery/rest?version=v2
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote

DATASET = "projects/{projectId}/datasets/{datasetId}"
TABLE = f"{DATASET}/tables/{{tableId}}"
POLICY = f"{TABLE}/rowAccessPolicies/{{policyId}}"
ROUTINE = f"{DATASET}/routines/{{routineId}}"
MODEL = f"{DATASET}/models/{{modelId}}"
PAGE = "maxResults pageToken"
FORMAT = "formatOptions.timestampOutputFormat formatOptions.useInt64Timestamp"


@dataclass(frozen=True)
class ApiMethod:
    """One method: `id` without the leading "bigquery.", path below `/bigquery/v2/`, schema names ("" for none)."""

    id: str
    verb: str
    path: str
    request: str = ""
    response: str = ""
    query: str = ""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        parts = re.split(r"\{(\w+)\}", self.path)
        text = "".join(f"(?P<{part}>[^/]+?)" if odd % 2 else re.escape(part) for odd, part in enumerate(parts))
        return re.compile(text)


METHODS = (
    ApiMethod("datasets.delete", "DELETE", DATASET, query="deleteContents"),
    ApiMethod("datasets.get", "GET", DATASET, "", "Dataset", "accessPolicyVersion datasetView"),
    ApiMethod("datasets.insert", "POST", "projects/{projectId}/datasets", "Dataset", "Dataset", "accessPolicyVersion"),
    ApiMethod("datasets.list", "GET", "projects/{projectId}/datasets", "", "DatasetList", f"all filter {PAGE}"),
    ApiMethod("datasets.patch", "PATCH", DATASET, "Dataset", "Dataset", "accessPolicyVersion updateMode"),
    ApiMethod("datasets.undelete", "POST", f"{DATASET}:undelete", "UndeleteDatasetRequest", "Dataset"),
    ApiMethod("datasets.update", "PUT", DATASET, "Dataset", "Dataset", "accessPolicyVersion updateMode"),
    ApiMethod("jobs.cancel", "POST", "projects/{projectId}/jobs/{jobId}/cancel", "", "JobCancelResponse", "location"),
    ApiMethod("jobs.delete", "DELETE", "projects/{projectId}/jobs/{jobId}/delete", "", "", "location"),
    ApiMethod("jobs.get", "GET", "projects/{projectId}/jobs/{jobId}", "", "Job", "location"),
    ApiMethod(
        "jobs.getQueryResults",
        "GET",
        "projects/{projectId}/queries/{jobId}",
        "",
        "GetQueryResultsResponse",
        f"{FORMAT} location {PAGE} startIndex timeoutMs",
    ),
    ApiMethod("jobs.insert", "POST", "projects/{projectId}/jobs", "Job", "Job"),
    ApiMethod(
        "jobs.list",
        "GET",
        "projects/{projectId}/jobs",
        "",
        "JobList",
        f"allUsers maxCreationTime minCreationTime parentJobId projection stateFilter {PAGE}",
    ),
    ApiMethod("jobs.query", "POST", "projects/{projectId}/queries", "QueryRequest", "QueryResponse"),
    ApiMethod("models.delete", "DELETE", MODEL),
    ApiMethod("models.get", "GET", MODEL, "", "Model"),
    ApiMethod("models.list", "GET", f"{DATASET}/models", "", "ListModelsResponse", PAGE),
    ApiMethod("models.patch", "PATCH", MODEL, "Model", "Model"),
    ApiMethod(
        "projects.getServiceAccount", "GET", "projects/{projectId}/serviceAccount", "", "GetServiceAccountResponse"
    ),
    ApiMethod("projects.list", "GET", "projects", "", "ProjectList", PAGE),
    ApiMethod("routines.delete", "DELETE", ROUTINE),
    ApiMethod("routines.get", "GET", ROUTINE, "", "Routine", "readMask"),
    ApiMethod("routines.getIamPolicy", "POST", f"{ROUTINE}:getIamPolicy", "GetIamPolicyRequest", "Policy"),
    ApiMethod("routines.insert", "POST", f"{DATASET}/routines", "Routine", "Routine"),
    ApiMethod("routines.list", "GET", f"{DATASET}/routines", "", "ListRoutinesResponse", f"filter readMask {PAGE}"),
    ApiMethod("routines.setIamPolicy", "POST", f"{ROUTINE}:setIamPolicy", "SetIamPolicyRequest", "Policy"),
    ApiMethod(
        "routines.testIamPermissions",
        "POST",
        f"{ROUTINE}:testIamPermissions",
        "TestIamPermissionsRequest",
        "TestIamPermissionsResponse",
    ),
    ApiMethod("routines.update", "PUT", ROUTINE, "Routine", "Routine"),
    ApiMethod(
        "rowAccessPolicies.batchDelete",
        "POST",
        f"{TABLE}/rowAccessPolicies:batchDelete",
        "BatchDeleteRowAccessPoliciesRequest",
    ),
    ApiMethod("rowAccessPolicies.delete", "DELETE", POLICY, query="force"),
    ApiMethod("rowAccessPolicies.get", "GET", POLICY, "", "RowAccessPolicy"),
    ApiMethod("rowAccessPolicies.getIamPolicy", "POST", f"{POLICY}:getIamPolicy", "GetIamPolicyRequest", "Policy"),
    ApiMethod("rowAccessPolicies.insert", "POST", f"{TABLE}/rowAccessPolicies", "RowAccessPolicy", "RowAccessPolicy"),
    ApiMethod(
        "rowAccessPolicies.list",
        "GET",
        f"{TABLE}/rowAccessPolicies",
        "",
        "ListRowAccessPoliciesResponse",
        "pageSize pageToken",
    ),
    ApiMethod(
        "rowAccessPolicies.testIamPermissions",
        "POST",
        f"{POLICY}:testIamPermissions",
        "TestIamPermissionsRequest",
        "TestIamPermissionsResponse",
    ),
    ApiMethod("rowAccessPolicies.update", "PUT", POLICY, "RowAccessPolicy", "RowAccessPolicy"),
    ApiMethod(
        "tabledata.insertAll",
        "POST",
        f"{TABLE}/insertAll",
        "TableDataInsertAllRequest",
        "TableDataInsertAllResponse",
    ),
    ApiMethod(
        "tabledata.list", "GET", f"{TABLE}/data", "", "TableDataList", f"{FORMAT} selectedFields startIndex {PAGE}"
    ),
    ApiMethod("tables.delete", "DELETE", TABLE),
    ApiMethod("tables.get", "GET", TABLE, "", "Table", "selectedFields view"),
    ApiMethod("tables.getIamPolicy", "POST", f"{TABLE}:getIamPolicy", "GetIamPolicyRequest", "Policy"),
    ApiMethod("tables.insert", "POST", f"{DATASET}/tables", "Table", "Table"),
    ApiMethod("tables.list", "GET", f"{DATASET}/tables", "", "TableList", PAGE),
    ApiMethod("tables.patch", "PATCH", TABLE, "Table", "Table", "autodetect_schema"),
    ApiMethod("tables.setIamPolicy", "POST", f"{TABLE}:setIamPolicy", "SetIamPolicyRequest", "Policy"),
    ApiMethod(
        "tables.testIamPermissions",
        "POST",
        f"{TABLE}:testIamPermissions",
        "TestIamPermissionsRequest",
        "TestIamPermissionsResponse",
    ),
    ApiMethod("tables.update", "PUT", TABLE, "Table", "Table", "autodetect_schema"),
)

# Methods with a verb of their own after a colon go first: a table id never holds one.
BY_PRECEDENCE = sorted(METHODS, key=lambda each: ":" not in each.path)


def canonical_path(raw_path: str) -> str:
    """Strip what clients put before a method's path: doubled slashes, and the service path as often as it comes."""
    path = re.sub(r"/{2,}", "/", raw_path)
    while path.startswith("/bigquery/v2/"):
        path = path.removeprefix("/bigquery/v2")
    return path.rstrip("/") or "/"


def find(verb: str, path: str) -> tuple[ApiMethod, dict[str, str]] | None:
    """Find the method of a canonical, still percent-encoded path, with its path parameters decoded."""
    below = path.removeprefix("/")
    for method in BY_PRECEDENCE:
        if method.verb == verb and (match := method.pattern.fullmatch(below)):
            return method, {name: unquote(value) for name, value in match.groupdict().items()}
    return None
