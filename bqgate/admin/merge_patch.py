"""Apply a JSON merge patch (RFC 7396): members replace, objects go deeper, null takes away. Pure."""

from collections.abc import Mapping
from typing import Any


def merged(target: Any, patch: Any) -> Any:
    """The patched document; neither argument is changed (RFC 7396 section 2)."""
    if not isinstance(patch, Mapping):
        return patch
    document: dict[str, Any] = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            document.pop(name, None)
        else:
            document[name] = merged(document.get(name), value)
    return document
