"""Word what a caller may not have, as BigQuery words it: clients and people know these sentences.

Called by the other modules here. BigQuery says the same of what is not there and of what is somebody else's, so that
nobody learns which it is (https://cloud.google.com/bigquery/docs/error-messages, accessDenied).
"""

from bqgate.domain.data_scope import shown_name
from bqgate.domain.errors import AccessDenied

# Of what a caller wrote, in an answer and in the audit log.
_SHOWN_CHARS_MAX = 200
# A dataset's id and a table's, each as long as they can be.
_NAME_CHARS_MAX = 2200


def table_denied(name: str) -> AccessDenied:
    """A table, view or routine, by its dotted name."""
    shown = shown_name(name)[:_NAME_CHARS_MAX]
    return AccessDenied(
        f"Access Denied: Table {shown}: User does not have permission to query table {shown}, or perhaps it does "
        "not exist.",
        target=f"table {shown}",
    )


def dataset_denied(project_id: str, dataset_id: str, permission: str) -> AccessDenied:
    """A dataset; `permission` is BigQuery's name of what would have been needed."""
    shown = f"{project_id}:{dataset_id}"[:_NAME_CHARS_MAX]
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
    shown = uri[:_SHOWN_CHARS_MAX]
    return AccessDenied(
        f"Access Denied: File {shown}: User does not have permission to read or write it; bqgate's setting "
        "customers.<name>.data lists what may be used.",
        target=f"file {shown}",
    )


def key_denied(name: str) -> AccessDenied:
    """A key of Cloud KMS in somebody else's project."""
    shown = name[:_SHOWN_CHARS_MAX]
    return AccessDenied(
        f"Access Denied: Key {shown}: Permission cloudkms.cryptoKeyVersions.useToEncrypt denied on key {shown} "
        "(or it may not exist).",
        target=f"key {shown}",
    )


def reservation_denied(name: str) -> AccessDenied:
    """A reservation that is neither an own project's nor listed."""
    shown = name[:_SHOWN_CHARS_MAX]
    return AccessDenied(
        f"Access Denied: Reservation {shown}: Permission bigquery.reservations.use denied on reservation {shown} "
        "(or it may not exist); bqgate's setting customers.<name>.reservations lists what may be used.",
        target=f"reservation {shown}",
    )


def upload_denied() -> AccessDenied:
    """A resumable upload that is another's, or nobody's."""
    return AccessDenied(
        "Access Denied: Upload: it was not begun by you, or not at this gate; begin it anew.", target="upload"
    )


def message_denied() -> AccessDenied:
    """What BigQuery says of a query that reaches, by a view or a routine, for what is not the customer's."""
    return AccessDenied(
        "Access Denied: BigQuery refuses this query over something that is not yours to see, or that does not exist; "
        "look for it in the views and routines that the query uses.",
        target="BigQuery's message",
    )


def use_denied(what: str) -> AccessDenied:
    """A way of using BigQuery that would lead past the gate's isolation."""
    return AccessDenied(
        f"Access Denied: {what} cannot be used while bqgate keeps customers of one BigQuery account apart.",
        target=what,
    )
