"""Make the events that the control plane tells the audit log: who, from where, under which request id.

Used by guard for refusals and by the views for changes. `source` is the peer's address; what a proxy says of the one
behind it is told in `detail`, as it came and marked unverified, because anybody can write it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import hdrs, web

from bqgate.domain.audit import AuditEvent
from bqgate.domain.principal import Identity
from bqgate.ports import Clock

_FORWARDED_CHARS_MAX = 200

RequestIdOf = Callable[[web.Request], str]


class EventMaker:
    """Makes audit events of requests."""

    def __init__(self, clock: Clock, request_id_of: RequestIdOf) -> None:
        self._clock = clock
        self._request_id_of = request_id_of

    def event(
        self,
        request: web.Request,
        identity: Identity | None,
        action: str,
        target: str,
        *,
        claimed: str = "",
        customer: str | None = None,
        detail: str = "",
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> AuditEvent:
        """What somebody did, or tried to, by a request.

        Args:
            request: by which it was done.
            identity: who did; None: nobody who proved it.
            action: "tier.updated".
            target: "tiers/gold".
            claimed: whom the unproven caller says to be.
            customer: whose it is.
            detail: why, or what else there is to say.
            before: the document that was, without secrets.
            after: the document that is.
        """
        return AuditEvent(
            at=self._clock.now(),
            action=action,
            actor=identity.name if identity is not None else claimed,
            target=target,
            role=identity.role.value if identity is not None else "",
            subject=identity.subject if identity is not None else "",
            customer=customer,
            source=request.remote or "",
            request_id=self._request_id_of(request),
            detail="; ".join(part for part in (detail, _forwarded(request)) if part),
            before=before,
            after=after,
        )


def _forwarded(request: web.Request) -> str:
    said = ", ".join(request.headers.getall(hdrs.X_FORWARDED_FOR, ()))
    if not said:
        return ""
    printable = "".join(each if each.isprintable() else "?" for each in said)
    return f"forwarded for (unverified): {printable[:_FORWARDED_CHARS_MAX]}"
