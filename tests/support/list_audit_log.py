"""Keep what is told to the audit log in a list, for tests that look at it without a database."""

from bqgate.domain.audit import AuditEvent


class ListAuditLog:
    """An AuditLog without a bound or an end."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def record(self, event: AuditEvent) -> None:
        self.events.append(event)
