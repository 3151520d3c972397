"""Tell which of BigQuery's methods a request is, in whatever form its path comes. What is not in the table is refused.

Called by the dispatch step with the verb and the raw path; leaves a Route, or UnsupportedRequest (501) and
MalformedRequest. The table holds the 47 methods of BigQuery's discovery document (revision 20261009) and a test holds
it against that document. Paths are accepted with and without /bigquery/v2, because Node with BIGQUERY_EMULATOR_HOST,
googleapiclient and Go leave it out; below /w/{workload}; with doubled slashes; and below a doubled prefix, as Node
builds its uploads (/bigquery/v2/upload/bigquery/v2/…).

Segments are compared percent-decoded and go upstream as they came. A segment that decodes to a slash, a backslash or
to dots, or that holds a character which nobody sees, is refused: the gate and BigQuery could read it differently. So is
a space in any name but a table's, and a project whose id is none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import NoReturn
from unicodedata import category
from urllib.parse import quote, unquote

from bqgate.domain.errors import MalformedRequest, UnsupportedRequest

_DATASET = "projects/{projectId}/datasets/{datasetId}"
_MODEL = f"{_DATASET}/models/{{modelId}}"
_ROUTINE = f"{_DATASET}/routines/{{routineId}}"
_TABLE = f"{_DATASET}/tables/{{tableId}}"
_POLICY = f"{_TABLE}/rowAccessPolicies/{{policyId}}"

METHODS: tuple[tuple[str, str, str], ...] = (
    ("datasets.delete", "DELETE", _DATASET),
    ("datasets.get", "GET", _DATASET),
    ("datasets.insert", "POST", "projects/{projectId}/datasets"),
    ("datasets.list", "GET", "projects/{projectId}/datasets"),
    ("datasets.patch", "PATCH", _DATASET),
    ("datasets.undelete", "POST", f"{_DATASET}:undelete"),
    ("datasets.update", "PUT", _DATASET),
    ("jobs.cancel", "POST", "projects/{projectId}/jobs/{jobId}/cancel"),
    ("jobs.delete", "DELETE", "projects/{projectId}/jobs/{jobId}/delete"),
    ("jobs.get", "GET", "projects/{projectId}/jobs/{jobId}"),
    ("jobs.getQueryResults", "GET", "projects/{projectId}/queries/{jobId}"),
    ("jobs.insert", "POST", "projects/{projectId}/jobs"),
    ("jobs.list", "GET", "projects/{projectId}/jobs"),
    ("jobs.query", "POST", "projects/{projectId}/queries"),
    ("models.delete", "DELETE", _MODEL),
    ("models.get", "GET", _MODEL),
    ("models.list", "GET", f"{_DATASET}/models"),
    ("models.patch", "PATCH", _MODEL),
    ("projects.getServiceAccount", "GET", "projects/{projectId}/serviceAccount"),
    ("projects.list", "GET", "projects"),
    ("routines.delete", "DELETE", _ROUTINE),
    ("routines.get", "GET", _ROUTINE),
    ("routines.getIamPolicy", "POST", f"{_ROUTINE}:getIamPolicy"),
    ("routines.insert", "POST", f"{_DATASET}/routines"),
    ("routines.list", "GET", f"{_DATASET}/routines"),
    ("routines.setIamPolicy", "POST", f"{_ROUTINE}:setIamPolicy"),
    ("routines.testIamPermissions", "POST", f"{_ROUTINE}:testIamPermissions"),
    ("routines.update", "PUT", _ROUTINE),
    ("rowAccessPolicies.batchDelete", "POST", f"{_TABLE}/rowAccessPolicies:batchDelete"),
    ("rowAccessPolicies.delete", "DELETE", _POLICY),
    ("rowAccessPolicies.get", "GET", _POLICY),
    ("rowAccessPolicies.getIamPolicy", "POST", f"{_POLICY}:getIamPolicy"),
    ("rowAccessPolicies.insert", "POST", f"{_TABLE}/rowAccessPolicies"),
    ("rowAccessPolicies.list", "GET", f"{_TABLE}/rowAccessPolicies"),
    ("rowAccessPolicies.testIamPermissions", "POST", f"{_POLICY}:testIamPermissions"),
    ("rowAccessPolicies.update", "PUT", _POLICY),
    ("tabledata.insertAll", "POST", f"{_TABLE}/insertAll"),
    ("tabledata.list", "GET", f"{_TABLE}/data"),
    ("tables.delete", "DELETE", _TABLE),
    ("tables.get", "GET", _TABLE),
    ("tables.getIamPolicy", "POST", f"{_TABLE}:getIamPolicy"),
    ("tables.insert", "POST", f"{_DATASET}/tables"),
    ("tables.list", "GET", f"{_DATASET}/tables"),
    ("tables.patch", "PATCH", _TABLE),
    ("tables.setIamPolicy", "POST", f"{_TABLE}:setIamPolicy"),
    ("tables.testIamPermissions", "POST", f"{_TABLE}:testIamPermissions"),
    ("tables.update", "PUT", _TABLE),
)
# The two methods that can start a query; every other one passes through unmetered.
SUBMITTING = frozenset({"jobs.insert", "jobs.query"})

_API = ("bigquery", "v2")
_UPLOADS = (("resumable", "upload"), ("upload",))
_BATCHES = (("batch", "bigquery", "v2"), ("batch",))
_DISCOVERIES = (("$discovery", "rest"), ("discovery", "v1", "apis", "bigquery", "v2", "rest"))
# Control and formatting characters, private ones, half characters, ends of lines and paragraphs.
_UNSEEN = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
# An id, with the domain in front that old ones have, in its one spelling: BigQuery takes no capitals
# (https://cloud.google.com/resource-manager/docs/creating-managing-projects). Google's have 6 characters at least, but
# whether there is such a project BigQuery says itself. Or a project's number.
_PROJECT = re.compile(
    r"(?:(?=.{1,253}:)[a-z0-9-]+(?:\.[a-z0-9-]+)*:)?[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?|[1-9][0-9]{0,18}", re.ASCII
)
_SEGMENTS_MAX = 32  # the longest path that is known has 14
_WORKLOAD = re.compile(r"[a-z0-9_-]{1,63}")  # the form of a label's value, which a workload becomes


class Kind(StrEnum):
    """What the gate does with a request."""

    SUBMIT = "submit"  # a job in a JSON body: read, and gated when it is a query
    UPLOAD = "upload"  # a job that comes with media, or the beginning of a resumable upload: the same
    CHUNK = "chunk"  # a later request of a resumable upload whose job was judged at its beginning
    PASSED = "passed"  # nothing that a budget covers
    DISCOVERY = "discovery"
    BATCH = "batch"


# What somebody may have to pay for.
SUBMISSIONS = frozenset({Kind.SUBMIT, Kind.UPLOAD})


@dataclass(frozen=True, slots=True)
class Route:
    """One recognised request. `upstream_path` is still percent-encoded; `params` are decoded.

    `project_number` is what the caller called the project, where `in_project` has put its id in that place.
    """

    kind: Kind
    method_id: str
    upstream_path: str
    project_id: str | None = None
    workload: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    project_number: str | None = None


def resolve(verb: str, path: str) -> Route:
    """The method behind a verb and a raw path.

    Raises:
        MalformedRequest: the workload is not one, or a segment or a name has two readings.
        UnsupportedRequest: no method that the gate knows.
    """
    return _resolved_lately(verb, path) if len(path) <= _REMEMBERED_CHARS_MAX else _resolved(verb, path)


def _resolved(verb: str, path: str) -> Route:
    raw = tuple(segment for segment in path.split("/") if segment)
    if len(raw) > _SEGMENTS_MAX:
        _refuse(verb, path)
    names = tuple(_decode(segment) for segment in raw)
    workload = None
    if names[:1] == ("w",) and len(names) > 1:
        workload = _workload(names[1])
        raw, names = raw[2:], names[2:]
    beyond_api = len(_API) if names[: len(_API)] == _API else 0
    rest = names[beyond_api:]
    if rest in _BATCHES:
        if verb != "POST":
            _refuse(verb, path)
        return Route(Kind.BATCH, "batch", "/batch/bigquery/v2", workload=workload)
    if rest in _DISCOVERIES:
        if verb not in {"GET", "HEAD"}:
            _refuse(verb, path)
        return Route(Kind.DISCOVERY, "discovery", "/" + "/".join(rest), workload=workload)
    upload = next((prefix for prefix in _UPLOADS if rest[: len(prefix)] == prefix), ())
    start = beyond_api + len(upload)
    if upload and names[start : start + len(_API)] == _API:
        start += len(_API)
    method_id, params = _match("POST" if upload and verb in {"PUT", "DELETE"} else verb, names[start:]) or _refuse(
        verb, path
    )
    if upload and method_id != "jobs.insert":
        _refuse(verb, path)
    _refuse_spaces(params)
    _check_project(params)
    upstream_path = "/" + "/".join((*upload, *_API, *raw[start:]))
    kind = _kind(method_id, verb, is_upload=bool(upload))
    return Route(kind, method_id, upstream_path, params.get("projectId"), workload, params)


# A client asks for the same few paths again and again.
_REMEMBERED_CHARS_MAX = 256
_resolved_lately = lru_cache(maxsize=1_000)(_resolved)


def in_project(route: Route, project_id: str) -> Route:
    """The same submission to a project that the caller called by its number."""
    segments = route.upstream_path.split("/")
    at = segments.index(_API[-1]) + 2  # …/v2/projects/{projectId}/…
    upstream_path = "/".join((*segments[:at], quote(project_id, safe=":"), *segments[at + 1 :]))
    params = {**route.params, "projectId": project_id}
    return replace(
        route, upstream_path=upstream_path, project_id=project_id, params=params, project_number=route.project_id
    )


def _kind(method_id: str, verb: str, *, is_upload: bool) -> Kind:
    if is_upload:
        return Kind.UPLOAD if verb == "POST" else Kind.CHUNK
    return Kind.SUBMIT if method_id in SUBMITTING else Kind.PASSED


def _match(verb: str, names: tuple[str, ...]) -> tuple[str, dict[str, str]] | None:
    wanted = "GET" if verb == "HEAD" else verb
    for method_id, template in _TEMPLATES.get((wanted, len(names)), ()):
        params = _params(template, names)
        if params is not None:
            return method_id, params
    return None


def _params(template: tuple[str, ...], names: tuple[str, ...]) -> dict[str, str] | None:
    params: dict[str, str] = {}
    for part, name in zip(template, names, strict=True):
        if not part.startswith("{"):
            if part != name:
                return None
            continue
        variable, _, suffix = part.partition("}")
        value = name.removesuffix(suffix)
        if not value or not name.endswith(suffix):
            return None
        params[variable[1:]] = value
    return params


def _decode(segment: str) -> str:
    """The meaning of one segment; refused where it could be read as more than one."""
    if segment.isascii() and segment.replace("-", "").replace("_", "").isalnum():
        return segment
    try:
        name = unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise MalformedRequest("The path is not UTF-8.", reason="badRequest") from None
    if "#" in segment or "/" in name or "\\" in name or name in {".", ".."} or not _is_visible(name):
        raise MalformedRequest(f"The path has a segment that bqgate does not pass on: {segment[:64]}")
    return name


def _is_visible(name: str) -> bool:
    """Whether all of a name can be seen: spaces and characters newer than Python's tables count as seen."""
    return name.isprintable() or not any(category(each) in _UNSEEN for each in name)


def _refuse_spaces(params: Mapping[str, str]) -> None:
    """Return when no name but a table's has a space, for whoever trims a name reads another one.

    Source: https://cloud.google.com/bigquery/docs/tables#table_naming (every kind of space, Zs, is allowed there).
    """
    for name, value in params.items():
        if name != "tableId" and (
            " " in value or (not value.isascii() and any(category(each) == "Zs" for each in value))
        ):
            raise MalformedRequest(f"Invalid {name} {value[:64]!r}: it must not have spaces.", field=name)


def _check_project(params: Mapping[str, str]) -> None:
    """Return when the project is an id or a number, with the domain in front that old ones have.

    It becomes a customer's name, and goes into the ledger's and the budgets' keys.
    """
    project_id = params.get("projectId")
    if project_id is not None and _PROJECT.fullmatch(project_id) is None:
        raise MalformedRequest(
            f"Invalid project ID '{project_id[:64]}'. Project IDs must contain 6-63 lowercase letters, digits, or "
            "dashes. Some project IDs also include domain name separated by a colon. IDs must start with a letter and "
            "may not end with a dash.",
            field="projectId",
        )


def _workload(name: str) -> str:
    if _WORKLOAD.fullmatch(name) is None:
        raise MalformedRequest(
            f'Invalid workload "{name[:64]}" in /w/{{workload}}: 1 to 63 of a-z, 0-9, underscore and dash.'
        )
    return name


def _refuse(verb: str, path: str) -> NoReturn:
    raise UnsupportedRequest(f"bqgate knows no method {verb[:16]} {path[:256]}; it is refused.")


def _by_verb_and_length() -> dict[tuple[str, int], tuple[tuple[str, tuple[str, ...]], ...]]:
    """The table, ready for matching; literal last segments before variable ones."""
    table: dict[tuple[str, int], tuple[tuple[str, tuple[str, ...]], ...]] = {}
    for method_id, verb, path in METHODS:
        template = tuple(path.split("/"))
        key = (verb, len(template))
        table[key] = (*table.get(key, ()), (method_id, template))
    return table


_TEMPLATES = _by_verb_and_length()
