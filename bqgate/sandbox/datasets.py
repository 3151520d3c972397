"""Answer datasets.* and projects.*.

Called by the server; the warehouse knows the datasets, and what it does not know of a Dataset resource (friendly name,
access, changed labels) is kept beside it, shown, and without effect: the sandbox has no permissions. What leaves is a
Reply or an ApiError.

Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/datasets
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bqgate.sandbox import shapes
from bqgate.sandbox.job_json import etag_of, ms
from bqgate.sandbox.jobs import canonical_location
from bqgate.sandbox.replies import ApiError, Reply
from bqgate.sandbox.results import offset_of, token_of
from bqgate.sandbox.warehouse import DatasetInfo
from bqgate.sandbox.world import Call, World

LIST_PAGE_MAX = 1_000
# Parts of a Dataset that the sandbox keeps without acting on them.
KEPT = ("friendlyName", "description", "labels", "access", "isCaseInsensitive")
# Parts that would have to change what happens to tables.
REFUSED = ("defaultTableExpirationMs", "defaultPartitionExpirationMs", "defaultCollation")
OWNER_ACCESS = [{"role": "OWNER", "specialGroup": "projectOwners"}]


def resource(world: World, info: DatasetInfo, root_url: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "kind": "bigquery#dataset",
        "id": f"{info.project}:{info.dataset}",
        "selfLink": f"{root_url}/bigquery/v2/projects/{info.project}/datasets/{info.dataset}",
        "datasetReference": {"projectId": info.project, "datasetId": info.dataset},
        "description": info.description,
        "labels": dict(info.labels),
        "access": OWNER_ACCESS,
        "creationTime": ms(info.created_at),
        "lastModifiedTime": ms(info.created_at),
        "location": canonical_location(info.location),
        "type": "DEFAULT",
        **world.dataset_extras.get((info.project, info.dataset), {}),
    }
    shown = {name: value for name, value in body.items() if value not in ("", {})}
    return {"etag": etag_of(shown), **shown}


def check_etag(call: Call, current: Mapping[str, Any]) -> None:
    """Refuse a change of something that has changed since the caller looked.

    Raises:
        ApiError: 412 `conditionNotMet`.
    """
    wanted = call.headers.get("If-Match", "*").strip().strip('"')
    if wanted not in {"*", current["etag"]}:
        raise ApiError(412, "conditionNotMet", "Precondition Failed", location="If-Match", location_type="header")


def merged_labels(old: Mapping[str, str], new: Mapping[str, Any]) -> dict[str, str]:
    """Apply a patch of labels: null takes one away."""
    merged = {**old, **new}
    return {key: str(value) for key, value in merged.items() if value is not None}


async def insert(world: World, call: Call) -> Reply:
    body = _checked(call)
    dataset_id = body.get("datasetReference", {}).get("datasetId", "")
    if not dataset_id:
        raise ApiError(400, "required", "Required parameter is missing: datasetId", location="datasetId")
    location = canonical_location(body.get("location") or world.settings.default_location)
    info = await world.runner.in_thread(
        lambda: world.warehouse.create_dataset(call.project, dataset_id, location=location)
    )
    world.dataset_extras[call.project, dataset_id] = _kept(body)
    return Reply(body=resource(world, info, call.root_url))


async def get(world: World, call: Call) -> Reply:
    return Reply(body=_current(world, call))


async def change(world: World, call: Call) -> Reply:
    """Answer datasets.patch (labels are merged) and datasets.update (what is not given is gone)."""
    current = _current(world, call)
    check_etag(call, current)
    body = _checked(call)
    kept = _kept(body)
    key = (call.project, call.params["datasetId"])
    if call.method.id == "datasets.patch":
        if "labels" in kept:
            kept["labels"] = merged_labels(current.get("labels", {}), body["labels"])
        kept = {**world.dataset_extras.get(key, {}), **kept}
    else:
        kept = {"description": "", "labels": {}, **kept}
    world.dataset_extras[key] = kept
    return Reply(body=_current(world, call))


async def delete(world: World, call: Call) -> Reply:
    key = (call.project, call.params["datasetId"])
    check_etag(call, _current(world, call))
    await world.runner.in_thread(
        lambda: world.warehouse.delete_dataset(*key, delete_contents=call.flag("deleteContents"))
    )
    world.dataset_extras.pop(key, None)
    return Reply(204)


async def list_datasets(world: World, call: Call) -> Reply:
    infos = world.warehouse.list_datasets(call.project)
    names = ("kind", "id", "datasetReference", "labels", "friendlyName", "location", "type")
    resources = [resource(world, info, call.root_url) for info in infos]
    listed = [{name: each[name] for name in names if name in each} for each in resources]
    return Reply(body=paged(call, "bigquery#datasetList", "datasets", listed))


def paged(call: Call, kind: str, name: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Build a list answer."""
    start = offset_of(call.text("pageToken")) if call.text("pageToken") else 0
    count = min(call.number("maxResults") or LIST_PAGE_MAX, LIST_PAGE_MAX)
    body: dict[str, Any] = {"kind": kind, "etag": etag_of(entries)}
    if entries:
        body[name] = entries[start : start + count]
    if start + count < len(entries):
        body["nextPageToken"] = token_of(start + count)
    return body


def _current(world: World, call: Call) -> dict[str, Any]:
    return resource(world, world.warehouse.get_dataset(call.project, call.params["datasetId"]), call.root_url)


def _checked(call: Call) -> dict[str, Any]:
    body: dict[str, Any] = shapes.checked(call.body, shapes.DATASET)
    for name in REFUSED:
        if body.get(name):
            raise ApiError(501, "notImplemented", f"The sandbox does not support {name}", location=name)
    return body


def _kept(body: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: body[name] for name in KEPT if name in body}
    return {**kept, "labels": merged_labels({}, kept["labels"])} if "labels" in kept else kept


async def list_projects(world: World, call: Call) -> Reply:
    """List the projects that somebody has called; the sandbox makes a project of every name."""
    entries = [
        {
            "kind": "bigquery#project",
            "id": project,
            "numericId": str(1000 + index),
            "projectReference": {"projectId": project},
            "friendlyName": project,
        }
        for index, project in enumerate(world.seen_projects)
    ]
    return Reply(body={**paged(call, "bigquery#projectList", "projects", entries), "totalItems": len(entries)})


async def get_service_account(_world: World, call: Call) -> Reply:
    email = f"bq-{call.project}@bigquery-encryption.iam.gserviceaccount.com"
    return Reply(body={"kind": "bigquery#getServiceAccountResponse", "email": email})
