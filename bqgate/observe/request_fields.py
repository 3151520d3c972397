"""Remember what comes out while a request is answered, so that its one line in the log can say so.

Noted by whoever finds out (the gate's dispatch and middleware, the control plane's guard), read when the line is
written. The notes belong to one task's context: calls of a batch, which run in tasks of their own, do not see each
other's, and what they note does not reach the batch's line. Nothing is decided by them.
"""

from collections.abc import Mapping
from contextvars import ContextVar

_FIELDS: ContextVar[Mapping[str, str]] = ContextVar("bqgate_request_fields", default={})  # noqa: B039 - never changed


def begin_request() -> None:
    """Forget what came before: the task may have answered others of its connection."""
    _FIELDS.set({})


def note_caller(customer: str | None, principal: str) -> None:
    """Who asks and who pays, by the names that the ledger books; said again, it is known better."""
    _note(customer=customer or "", principal=principal)


def note_cause(error: Exception) -> None:
    """Why another system gave no answer."""
    _note(cause=str(error))


def noted_fields() -> dict[str, str]:
    """What is known by now: customer, principal, cause."""
    return {name: value for name, value in _FIELDS.get().items() if value}


def _note(**fields: str) -> None:
    _FIELDS.set({**_FIELDS.get(), **fields})
