"""Describe the audit log: who did what, when, from where, from what to what; and how its records are chained.

Events are made by the control plane and by identity, chained and kept by the Registry. Each record's hash covers the
record before it, so a record that is changed, removed or put in later breaks the chain from there on; a cut-off end
shows against the last hash that the log lines witnessed. Canonical form: JSON with sorted keys, no spaces, moments in
RFC 3339 with microseconds.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

# What the first record has for the hash of the one before it.
GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One thing that somebody did, or tried to.

    `action` is "<noun>.<verb>" (tier.updated, key.created, login.refused, access.refused); `target` names what it was
    done to ("tiers/gold"); `before` and `after` are documents without secrets. `source` is the peer's address.
    """

    at: datetime
    action: str
    actor: str
    target: str
    role: str = ""
    subject: str = ""
    customer: str | None = None
    source: str = ""
    request_id: str = ""
    detail: str = ""
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """An event in its place of the chain. `seq` counts from 1 without gaps."""

    seq: int
    event: AuditEvent
    previous_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which records are wanted, newest first. None: any. `since` is included, `until` is not."""

    actor: str | None = None
    action: str | None = None
    customer: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before_seq: int | None = None
    page_size: int = 100


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some records; `next_before_seq` None: there are no more."""

    records: tuple[AuditRecord, ...]
    next_before_seq: int | None = None


def chained(seq: int, event: AuditEvent, previous_hash: str) -> AuditRecord:
    """The record of an event behind the record whose hash is `previous_hash`."""
    return AuditRecord(seq, event, previous_hash, chain_hash(seq, event, previous_hash))


def chain_hash(seq: int, event: AuditEvent, previous_hash: str) -> str:
    """SHA-256 over the canonical form of a record, in hexadecimal."""
    document = {
        "seq": seq,
        "previous_hash": previous_hash,
        "at": event.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "action": event.action,
        "actor": event.actor,
        "target": event.target,
        "role": event.role,
        "subject": event.subject,
        "customer": event.customer,
        "source": event.source,
        "request_id": event.request_id,
        "detail": event.detail,
        "before": None if event.before is None else dict(event.before),
        "after": None if event.after is None else dict(event.after),
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
