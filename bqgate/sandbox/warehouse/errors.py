"""Name the ways in which the stand-in says no, each with BigQuery's reason, wording and HTTP status.

Every room of the warehouse raises these; the HTTP half of the sandbox turns them into BigQuery's error body or into a
job's `errorResult`. Nothing else leaves the warehouse on bad input.

Reasons and their status codes: https://cloud.google.com/bigquery/docs/error-messages. `bytesBilledLimitExceeded` is
not in that table; its wording is the one that clients see on failed jobs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from bqgate.sandbox.warehouse.plan import Result


class WarehouseError(Exception):
    """A refusal in BigQuery's words.

    Attributes:
        reason: BigQuery's reason, such as `invalidQuery`.
        http_status: The status that the REST API answers with.
        message: What people see.
        location: What `errors[].location` says: "query", a table, or empty.
        children: Statements of a script that had run before the one that failed. They stay billed.
    """

    reason: ClassVar[str] = "internalError"
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, location: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.location = location
        self.children: tuple[Result, ...] = ()


class QueryInvalid(WarehouseError):
    """The text is not GoogleSQL, or names what is not there, or its types do not fit."""

    reason = "invalidQuery"
    http_status = 400

    def __init__(self, message: str, *, location: str = "query") -> None:
        super().__init__(message, location=location)


class Invalid(WarehouseError):
    """A request that is not a query is wrong: a schema, a file, a row."""

    reason = "invalid"
    http_status = 400


class NotFound(WarehouseError):
    """A dataset or a table that nobody created."""

    reason = "notFound"
    http_status = 404


class Duplicate(WarehouseError):
    """A dataset or a table of that name is there already."""

    reason = "duplicate"
    http_status = 409


class ResourceInUse(WarehouseError):
    """A dataset that still has tables was to be deleted without them."""

    reason = "resourceInUse"
    http_status = 400


class AccessDenied(WarehouseError):
    """A write to the shared example data."""

    reason = "accessDenied"
    http_status = 403


class NotSupported(WarehouseError):
    """BigQuery can do it and the sandbox can not; it says so rather than answer wrongly."""

    reason = "notImplemented"
    http_status = 501

    def __init__(self, message: str, *, location: str = "query") -> None:
        super().__init__(f"The sandbox does not support this: {message}", location=location)


class Stopped(WarehouseError):
    """The job was cancelled while it ran."""

    reason = "stopped"
    http_status = 400


class BytesBilledLimitExceeded(WarehouseError):
    """The pre-run estimate is above `maximumBytesBilled`; nothing ran and nothing is charged."""

    reason = "bytesBilledLimitExceeded"
    http_status = 400

    def __init__(self, cap: int, needed: int) -> None:
        super().__init__(f"Query exceeded limit for bytes billed: {cap}. {needed} or higher required.")
        self.cap = cap
        self.needed = needed
