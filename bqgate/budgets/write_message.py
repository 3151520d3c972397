"""Write and read the message by which a gate tells others what was written. Pure.

Used by redis_change_feed. Bounded in size: where names are too many or too long, no jobs are told and whole projects,
or that anything may have been written. A message that cannot be read, of a newer gate perhaps, means just that; one of
an older gate names no jobs.
"""

import json
from collections.abc import Mapping
from typing import Any

from bqgate.domain.touched import EVERYTHING, Touched, Writes

BYTES_MAX = 64 * 1024


_ANYTHING = Writes(EVERYTHING)


def encode_writes(sender: str, writes: Writes) -> str:
    """The message of a gate of this name, at most BYTES_MAX long."""
    touched = writes.touched
    coarser = EVERYTHING if touched.is_everything else Touched(projects=touched.all_projects)
    for told in (writes, Writes(coarser)):
        message = _message(sender, told)
        if len(message) <= BYTES_MAX:
            return message
    return _message(sender, _ANYTHING)


def decode_writes(message: str) -> tuple[str, Writes]:
    """Who sent a message, empty where that cannot be read, and what was written."""
    if len(message) > BYTES_MAX:
        return "", _ANYTHING
    try:
        document = json.loads(message)
    except ValueError:
        return "", _ANYTHING
    if not isinstance(document, dict):
        return "", _ANYTHING
    sender = document.get("from")
    tables, datasets, projects = (_names(document, name) for name in ("tables", "datasets", "projects"))
    if not isinstance(sender, str) or tables is None or datasets is None or projects is None:
        return "", _ANYTHING
    is_everything = document.get("everything") is not False
    touched = EVERYTHING if is_everything else Touched(tables, datasets, projects)
    return sender, Writes(touched, _names(document, "jobs") or frozenset())


def _message(sender: str, writes: Writes) -> str:
    """JSON in ASCII, so that characters are bytes."""
    touched = writes.touched
    return json.dumps(
        {
            "from": sender,
            "tables": sorted(touched.tables),
            "datasets": sorted(touched.datasets),
            "projects": sorted(touched.projects),
            "everything": touched.is_everything,
            "jobs": sorted(writes.jobs),
        }
    )


def _names(document: Mapping[str, Any], field: str) -> frozenset[str] | None:
    names = document.get(field)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return frozenset(names)
