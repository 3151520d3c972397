"""Describe the operations of the four kinds of policy: what each takes, what it answers, under which conditions.

Called by policies (the views). A kind of which there is only one (pricing) has no collection.
"""

from dataclasses import dataclass

from aiohttp import hdrs

from bqgate.admin.body import JSON, MERGE_PATCH
from bqgate.admin.etags import IF_MATCH, IF_NONE_MATCH
from bqgate.admin.operation import Answered, Operation, Parameter, Place, View
from bqgate.admin.policy_schemas import Resource
from bqgate.admin.problem import MEDIA_TYPE

_NOT_FOUND = {404: Answered("There is none of this name.", media_type=MEDIA_TYPE)}
_CONFLICT = {409: Answered("It contradicts what else holds; `errors` says where.", media_type=MEDIA_TYPE)}
_CONDITIONS = {
    412: Answered("It was changed meanwhile.", media_type=MEDIA_TYPE),
    428: Answered("If-Match is missing.", media_type=MEDIA_TYPE),
}
_ETAG = {"ETag": "Its version, for If-Match."}


@dataclass(frozen=True, slots=True)
class ResourceViews:
    """What answers the operations of one kind."""

    list: View
    show: View
    create: View
    replace: View
    patch: View
    delete: View


def operations_of_resource(resource: Resource, views: ResourceViews) -> tuple[Operation, ...]:
    """Its operations: the collection's, where there is one, and one item's."""
    if resource.key is None:
        return _item_operations(resource, views)
    return (*_collection_operations(resource, views), *_item_operations(resource, views))


def _collection_operations(resource: Resource, views: ResourceViews) -> tuple[Operation, ...]:
    path, plural = f"/admin/v1/{resource.plural}", resource.plural
    created = Answered("It is created.", resource.shown, headers={**_ETAG, "Location": "Where it is."})
    exists = {409: Answered("There is one already, or it contradicts what else holds.", media_type=MEDIA_TYPE)}
    return (
        Operation(
            f"{plural}.list",
            hdrs.METH_GET,
            path,
            f"All {plural}, the settings file's and the admins'",
            plural,
            views.list,
            answers={200: Answered(f"The {plural}.", resource.listed)},
        ),
        Operation(
            f"{plural}.create",
            hdrs.METH_POST,
            path,
            f"Create a {resource.noun}",
            plural,
            views.create,
            body=resource.new,
            answers={201: created, **exists},
        ),
    )


def _item_operations(resource: Resource, views: ResourceViews) -> tuple[Operation, ...]:
    plural, noun, key = resource.plural, resource.noun, resource.key
    path = f"/admin/v1/{plural}" if key is None else f"/admin/v1/{plural}/{{{key}}}"
    named = () if key is None else (Parameter(key, f"Which {noun}.", Place.PATH, {"type": "string", "minLength": 1}),)
    shown = {200: Answered(f"The {noun}.", resource.shown, headers=_ETAG)}
    changed = {200: Answered("It is changed.", resource.shown, headers=_ETAG), **_CONDITIONS, **_CONFLICT, **_NOT_FOUND}
    deleted = {204: Answered("It is gone.", media_type=""), **_CONDITIONS, **_CONFLICT, **_NOT_FOUND}
    unchanged = {304: Answered("It is what the caller has.", media_type="", headers=_ETAG)}
    tag, changing = plural, (*named, IF_MATCH)
    return (
        Operation(
            f"{plural}.show",
            hdrs.METH_GET,
            path,
            f"The {noun} as it holds",
            tag,
            views.show,
            parameters=(*named, IF_NONE_MATCH),
            answers=shown | unchanged | _NOT_FOUND,
        ),
        Operation(
            f"{plural}.replace",
            hdrs.METH_PUT,
            path,
            f"Replace the {noun} whole",
            tag,
            views.replace,
            parameters=changing,
            body=resource.model,
            answers=changed,
        ),
        Operation(
            f"{plural}.patch",
            hdrs.METH_PATCH,
            path,
            f"Change some keys of the {noun} (RFC 7396)",
            tag,
            views.patch,
            parameters=changing,
            body=resource.patch,
            body_types=(MERGE_PATCH, JSON),
            answers=changed,
        ),
        Operation(
            f"{plural}.delete",
            hdrs.METH_DELETE,
            path,
            f"Take away what an admin wrote of the {noun}",
            tag,
            views.delete,
            parameters=changing,
            answers=deleted,
        ),
    )
