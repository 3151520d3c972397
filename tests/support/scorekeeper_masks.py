"""Apply a `fields` mask to an answer, as Google's front end does: `jobReference,statistics(query/totalBytesBilled)`."""

from typing import Any

# What an answer about a job may begin with. A mask that names anything else is refused, after the work was done.
KNOWN = frozenset(
    {
        *("kind", "etag", "id", "selfLink", "user_email", "configuration", "jobReference", "statistics", "status"),
        *("schema", "rows", "totalRows", "pageToken", "jobComplete", "cacheHit", "totalBytesProcessed", "queryId"),
        *("totalBytesBilled", "totalSlotMs", "statementType", "location", "errors", "jobs", "nextPageToken", "job"),
        "unreachable",
        *("jobCreationReason", "creationTime", "startTime", "endTime", "numDmlAffectedRows", "error", "*"),
    }
)
Tree = dict[str, "Tree"]


class MaskRefused(Exception):
    """The mask is none, or names what is not there."""


def masked(document: dict[str, Any], mask: str) -> dict[str, Any]:
    """The parts that the mask names.

    Raises:
        MaskRefused: its brackets do not match, or it names an unknown field.
    """
    tree, rest = _read(mask, 0)
    if rest != len(mask) or not tree or not set(tree) <= KNOWN:
        raise MaskRefused(f"Invalid field selection {mask}")
    picked: dict[str, Any] = _pick(document, tree)
    return picked


def _read(mask: str, at: int) -> tuple[Tree, int]:
    tree: Tree = {}
    while at < len(mask) and mask[at] != ")":
        branch, at = _branch(mask, at, tree)
        if at < len(mask) and mask[at] == "(":
            inner, at = _read(mask, at + 1)
            if at >= len(mask) or not inner:
                raise MaskRefused(f"Invalid field selection {mask}")
            branch.update(inner)
            at += 1
        if at < len(mask) and mask[at] == ",":
            at += 1
    return tree, at


def _branch(mask: str, at: int, tree: Tree) -> tuple[Tree, int]:
    """The node that a path like a/b leads to, made where it is not there yet."""
    node = tree
    while True:
        end = at
        while end < len(mask) and mask[end] not in "/,()":
            end += 1
        if end == at:
            raise MaskRefused(f"Invalid field selection {mask}")
        node = node.setdefault(mask[at:end], {})
        at = end
        if at >= len(mask) or mask[at] != "/":
            return node, at
        at += 1


def _pick(value: Any, tree: Tree) -> Any:
    if not tree or "*" in tree:
        return value
    if isinstance(value, list):
        return [_pick(each, tree) for each in value]
    if isinstance(value, dict):
        return {name: _pick(value[name], inner) for name, inner in tree.items() if name in value}
    return value
