"""Refuse ids that are no ids, before anything is forwarded: what is one name to the gate could be a path to BigQuery.

Called by boundary.py for the names in a URL, by job_bodies.py and resources.py for those in a body. Worded as BigQuery
words it; raises MalformedRequest.
"""

import re
from collections.abc import Callable, Mapping

from bqgate.domain.errors import MalformedRequest
from bqgate.domain.resource_ids import is_dataset_id, is_job_id, is_model_id, is_routine_id, is_table_id
from bqgate.wire.query_string import split_query

_SHOWN_CHARS_MAX = 64
_BETWEEN = re.compile(r"[^A-Za-z0-9]")
_AT_MOST_1024 = "and must be at most 1024 characters long."
_FORMS: Mapping[str, tuple[str, Callable[[str], bool], str]] = {
    "datasetId": ("dataset", is_dataset_id, f" Dataset IDs must be alphanumeric (plus underscores) {_AT_MOST_1024}"),
    "tableId": ("table", is_table_id, ""),
    "modelId": ("model", is_model_id, f" Model IDs must be alphanumeric (plus underscores) {_AT_MOST_1024}"),
    "routineId": (
        "routine",
        is_routine_id,
        " Routine IDs must be alphanumeric (plus underscores) and must be at most 256 characters long.",
    ),
    "policyId": ("row access policy", is_routine_id, ""),
    "jobId": ("job", is_job_id, f" Job IDs must be alphanumeric (plus underscores and dashes) {_AT_MOST_1024}"),
}


def check_ids(names: Mapping[str, str | None], *, path: str = "") -> None:
    """Return when every id has the form that Google documents for it; others than these are not looked at.

    Raises:
        MalformedRequest: one has not.
    """
    for name, (kind, is_id, rule) in _FORMS.items():
        value = names.get(name)
        if value and not is_id(value):
            raise MalformedRequest(f'Invalid {kind} ID "{value[:_SHOWN_CHARS_MAX]}".{rule}', field=f"{path}{name}")


def check_path(params: Mapping[str, str], query: str) -> None:
    """Return when the ids in a URL's path are such, and its query does not say otherwise.

    Raises:
        MalformedRequest: one is not, or a parameter names what the path names, and differently.
    """
    check_ids(params)
    folded = {_folded(name): value for name, value in params.items()}
    for name, value in split_query(query):
        if folded.get(_folded(name), value) != value:
            shown = name[:_SHOWN_CHARS_MAX]
            raise MalformedRequest(f"{shown} is another one in the path.", field=shown)


def _folded(name: str) -> str:
    """A parameter's name as the most lenient reader might take it."""
    return _BETWEEN.sub("", name).lower()
