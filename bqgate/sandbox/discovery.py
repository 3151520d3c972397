"""Write the discovery document that `bq` and google-api-python-client build themselves from.

The server answers the two discovery paths with it. It is made from the table of methods: verbs, paths and parameters
are exact, schemas are open objects, since both clients use them for documentation only.

Format: https://developers.google.com/discovery/v1/reference/apis
"""

from __future__ import annotations

import re
from typing import Any

from bqgate.sandbox.methods import METHODS, ApiMethod

BOOLEANS = {
    "all",
    "allUsers",
    "autodetect_schema",
    "deleteContents",
    "force",
    "formatOptions.useInt64Timestamp",
}
INTEGERS = {"maxResults", "timeoutMs", "pageSize", "accessPolicyVersion"}
ENUMS = {"projection": ["full", "minimal"], "stateFilter": ["done", "pending", "running"]}
GLOBAL_PARAMETERS = {
    "$.xgafv": "string",
    "access_token": "string",
    "alt": "string",
    "callback": "string",
    "fields": "string",
    "key": "string",
    "oauth_token": "string",
    "prettyPrint": "boolean",
    "quotaUser": "string",
    "uploadType": "string",
    "upload_protocol": "string",
}
SCOPE = "https://www.googleapis.com/auth/bigquery"


def document(root_url: str) -> dict[str, Any]:
    """Build the document for a sandbox that is reached at `root_url` (without a slash at its end)."""
    resources: dict[str, Any] = {}
    for method in METHODS:
        room, name = method.id.split(".")
        resources.setdefault(room, {"methods": {}})["methods"][name] = _method(method)
    names = {name for method in METHODS for name in (method.request, method.response) if name}
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "bigquery:v2",
        "name": "bigquery",
        "canonicalName": "Bigquery",
        "version": "v2",
        "revision": "20261009",
        "title": "BigQuery API",
        "description": "A stand-in for BigQuery.",
        "documentationLink": "https://cloud.google.com/bigquery/",
        "ownerDomain": "google.com",
        "ownerName": "Google",
        "protocol": "rest",
        "rootUrl": f"{root_url}/",
        "servicePath": "bigquery/v2/",
        "basePath": "/bigquery/v2/",
        "baseUrl": f"{root_url}/bigquery/v2/",
        "batchPath": "batch/bigquery/v2",
        "fullyEncodeReservedExpansion": True,
        "icons": {},
        "auth": {"oauth2": {"scopes": {SCOPE: {"description": "View and manage your data in Google BigQuery"}}}},
        "parameters": {
            name: {"type": kind, "location": "query", "description": ""} for name, kind in GLOBAL_PARAMETERS.items()
        },
        "schemas": {
            name: {"id": name, "type": "object", "additionalProperties": {"type": "any"}} for name in sorted(names)
        },
        "resources": resources,
    }


def _method(method: ApiMethod) -> dict[str, Any]:
    path, in_path = _expanded(method)
    parameters = {
        name: {"type": "string", "location": "path", "required": True, "pattern": pattern, "description": ""}
        for name, pattern in in_path.items()
    }
    for name in method.query.split():
        parameters[name] = _parameter(name)
    entry: dict[str, Any] = {
        "id": f"bigquery.{method.id}",
        "httpMethod": method.verb,
        "path": path,
        "flatPath": method.path,
        "description": "",
        "parameters": parameters,
        "parameterOrder": list(in_path),
        "scopes": [SCOPE],
    }
    if method.request:
        entry["request"] = {"$ref": method.request}
    if method.response:
        entry["response"] = {"$ref": method.response}
    if method.id == "jobs.insert":
        upload = "upload/bigquery/v2/projects/{+projectId}/jobs"
        entry["supportsMediaUpload"] = True
        entry["mediaUpload"] = {
            "accept": ["*/*"],
            "protocols": {
                "simple": {"multipart": True, "path": f"/{upload}"},
                "resumable": {"multipart": True, "path": f"/resumable/{upload}"},
            },
        }
    return entry


def _expanded(method: ApiMethod) -> tuple[str, dict[str, str]]:
    """Return the path as the document has it, and its parameters with their patterns."""
    if method.id.endswith(("IamPolicy", "testIamPermissions")):
        # The newer methods take the whole name of the resource as one parameter.
        resource, _, action = method.path.partition(":")
        return f"{{+resource}}:{action}", {"resource": f"^{re.sub(r'{[^}]+}', '[^/]+', resource)}$"}
    names = re.findall(r"\{(\w+)\}", method.path)
    return method.path.replace("{", "{+"), dict.fromkeys(names, "^[^/]+$")


def _parameter(name: str) -> dict[str, Any]:
    kind = "boolean" if name in BOOLEANS else "integer" if name in INTEGERS else "string"
    entry: dict[str, Any] = {"type": kind, "location": "query", "description": ""}
    if kind == "integer":
        entry["format"] = "uint32"
    if name in ENUMS:
        entry |= {"enum": ENUMS[name], "enumDescriptions": [""] * len(ENUMS[name])}
    if name == "stateFilter":
        entry["repeated"] = True
    return entry
