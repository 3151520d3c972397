"""Write and read the message by which a gate tells others what was written. Pure.

Used by redis_change_feed. Bounded in size: where names are too many or too long, whole projects are told, or that
anything may have been written. A message that cannot be read, of a newer gate perhaps, means just that.
"""

import json
from collections.abc import Mapping
from typing import Any

from bqgate.domain.touched import EVERYTHING, Touched

BYTES_MAX = 64 * 1024


def encode_writes(sender: str, touched: Touched) -> str:
    """The message of a gate of this name, at most BYTES_MAX long."""
    coarser = EVERYTHING if touched.is_everything else Touched(projects=touched.all_projects)
    for told in (touched, coarser):
        message = _message(sender, told)
        if len(message) <= BYTES_MAX:
            return message
    return _message(sender, EVERYTHING)


def decode_writes(message: str) -> tuple[str, Touched]:
    """Who sent a message, empty where that cannot be read, and what was written."""
    if len(message) > BYTES_MAX:
        return "", EVERYTHING
    try:
        document = json.loads(message)
    except ValueError:
        return "", EVERYTHING
    if not isinstance(document, dict):
        return "", EVERYTHING
    sender = document.get("from")
    tables, datasets, projects = (_names(document, name) for name in ("tables", "datasets", "projects"))
    if not isinstance(sender, str) or tables is None or datasets is None or projects is None:
        return "", EVERYTHING
    is_everything = document.get("everything") is not False
    return sender, EVERYTHING if is_everything else Touched(tables, datasets, projects)


def _message(sender: str, touched: Touched) -> str:
    """JSON in ASCII, so that characters are bytes."""
    return json.dumps(
        {
            "from": sender,
            "tables": sorted(touched.tables),
            "datasets": sorted(touched.datasets),
            "projects": sorted(touched.projects),
            "everything": touched.is_everything,
        }
    )


def _names(document: Mapping[str, Any], field: str) -> frozenset[str] | None:
    names = document.get(field)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return frozenset(names)
