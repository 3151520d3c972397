"""Word what a caller may not have, as BigQuery words it: clients and people know these sentences.

Called by the other modules here. BigQuery says the same of what is not there and of what is somebody else's, so that
nobody learns which it is (https://cloud.google.com/bigquery/docs/error-messages, accessDenied).
"""

from bqgate.domain.data_scope import shown_name
from bqgate.domain.errors import AccessDenied


def table_denied(name: str) -> AccessDenied:
    """A table, view or routine, by its dotted name."""
    shown = shown_name(name)
    return AccessDenied(
        f"Access Denied: Table {shown}: User does not have permission to query table {shown}, or perhaps it does "
        "not exist.",
        target=f"table {shown}",
    )


def dataset_denied(project_id: str, dataset_id: str, permission: str) -> AccessDenied:
    """A dataset; `permission` is BigQuery's name of what would have been needed."""
    shown = f"{project_id}:{dataset_id}"
    return AccessDenied(
        f"Access Denied: Dataset {shown}: Permission {permission} denied on dataset {shown} (or it may not exist).",
        target=f"dataset {shown}",
    )


def project_denied(project_id: str, permission: str) -> AccessDenied:
    """A project."""
    return AccessDenied(
        f"Access Denied: Project {project_id}: User does not have {permission} permission in project {project_id}.",
        target=f"project {project_id}",
    )


def uri_denied(uri: str) -> AccessDenied:
    """A file outside the customer's buckets."""
    return AccessDenied(
        f"Access Denied: File {uri[:200]}: User does not have permission to read or write it; bqgate's setting "
        "customers.<name>.data lists what may be used.",
        target=f"file {uri[:200]}",
    )


def use_denied(what: str) -> AccessDenied:
    """A way of using BigQuery that would lead past the gate's isolation."""
    return AccessDenied(
        f"Access Denied: {what} cannot be used while bqgate keeps customers of one BigQuery account apart.",
        target=what,
    )
