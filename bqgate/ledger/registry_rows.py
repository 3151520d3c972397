"""Turn policies, keys and audit records into rows and back, losing nothing that a database can keep.

Used by registry and audit_chain; pure. Callers, refused ones too, choose some of an event's text. Neither database
keeps every text that Python can hold, so `storable` replaces what cannot be kept by U+FFFD before the event is hashed;
a refused login with a zero byte in its name would else never be written.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from bqgate.domain.audit import AuditEvent, AuditRecord
from bqgate.domain.key import Key, KeyKind
from bqgate.domain.policy import PolicyItem, PolicyKind
from bqgate.domain.principal import Role
from bqgate.ledger.rows import from_micros, to_micros

# PostgreSQL's text takes no NUL, and halves of surrogate pairs have no UTF-8.
_UNKEPT = re.compile("[\x00\ud800-\udfff]")


def storable_text(text: str) -> str:
    return _UNKEPT.sub("\ufffd", text)


def storable(event: AuditEvent) -> AuditEvent:
    """The event as it will be read again, which is what its hash must cover."""
    return replace(
        event,
        action=storable_text(event.action),
        actor=storable_text(event.actor),
        target=storable_text(event.target),
        role=storable_text(event.role),
        subject=storable_text(event.subject),
        customer=None if event.customer is None else storable_text(event.customer),
        source=storable_text(event.source),
        request_id=storable_text(event.request_id),
        detail=storable_text(event.detail),
        before=_document_of(_document_text(event.before)),
        after=_document_of(_document_text(event.after)),
    )


def record_row(record: AuditRecord) -> dict[str, Any]:
    event = record.event
    return {
        "seq": record.seq,
        "at": to_micros(event.at),
        "action": event.action,
        "actor": event.actor,
        "target": event.target,
        "role": event.role,
        "subject": event.subject,
        "customer": event.customer,
        "source": event.source,
        "request_id": event.request_id,
        "detail": event.detail,
        "before": _document_text(event.before),
        "after": _document_text(event.after),
        "previous_hash": record.previous_hash,
        "hash": record.hash,
    }


def record_of(row: sa.Row[Any]) -> AuditRecord:
    """The record of a row.

    Raises:
        ValueError, TypeError: somebody wrote into the row what this room never writes.
    """
    event = AuditEvent(
        at=from_micros(row.at),
        action=row.action,
        actor=row.actor,
        target=row.target,
        role=row.role,
        subject=row.subject,
        customer=row.customer,
        source=row.source,
        request_id=row.request_id,
        detail=row.detail,
        before=_document_of(row.before),
        after=_document_of(row.after),
    )
    return AuditRecord(row.seq, event, row.previous_hash, row.hash)


def policy_row(item: PolicyItem) -> dict[str, Any]:
    return {
        "kind": item.kind.value,
        "name": item.name,
        "version": item.version,
        "document": dict(item.document),
        "changed_at": to_micros(item.changed_at),
        "changed_by": item.changed_by,
    }


def policy_of(row: sa.Row[Any]) -> PolicyItem:
    return PolicyItem(
        kind=PolicyKind(row.kind),
        name=row.name,
        version=row.version,
        document=row.document,
        changed_at=from_micros(row.changed_at),
        changed_by=row.changed_by,
    )


def key_row(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "kind": key.kind.value,
        "principal": key.principal,
        "role": key.role.value,
        "customer": key.customer,
        "created_at": to_micros(key.created_at),
        "created_by": key.created_by,
        "ends_at": None if key.ends_at is None else to_micros(key.ends_at),
        "is_revoked": key.is_revoked,
        "public_key": key.public_key,
        "token_hash": key.token_hash,
    }


def key_of(row: sa.Row[Any]) -> Key:
    return Key(
        id=row.id,
        kind=KeyKind(row.kind),
        principal=row.principal,
        role=Role(row.role),
        customer=row.customer,
        created_at=from_micros(row.created_at),
        created_by=row.created_by,
        ends_at=None if row.ends_at is None else from_micros(row.ends_at),
        is_revoked=row.is_revoked,
        public_key=row.public_key,
        token_hash=row.token_hash,
    )


def _document_text(document: Mapping[str, Any] | None) -> str | None:
    return None if document is None else json.dumps(dict(document))


def _document_of(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    document: dict[str, Any] = json.loads(text)
    return document
