"""Describe what the views of keys, of the audit log, of logins and of voided holds take and answer.

Used by keys, audit, logins and holds_void to read bodies and to write answers, and by the OpenAPI document, which is
made of the same models. Pure. No answer but KeyCreated and TokenAnswer has room for a secret. Moments are RFC 3339 in
UTC, amounts decimal dollars, both as text.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from bqgate.admin.documents import write_moment
from bqgate.admin.schemas import Document, MomentText, UsdText
from bqgate.domain.audit import AuditRecord
from bqgate.domain.key import Key, KeyKind
from bqgate.domain.principal import Role
from bqgate.identity.static_tokens import prefix_of

LIFE_DAYS_MAX = 3_650
OVERLAP_MINUTES = 1_440
OVERLAP_MINUTES_MAX = 90 * 1_440
NAME_CHARS_MAX = 128
REASON_CHARS_MAX = 500


def _printable(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        message = "use printable characters, and none that are blank at the ends"
        raise ValueError(message)
    return text


Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX), AfterValidator(_printable)]
Reason = Annotated[str, Field(min_length=1, max_length=REASON_CHARS_MAX), AfterValidator(_printable)]
ProjectId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:_-]{0,127}$")]
KeyId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


class NewKeyBody(_Body):
    """The body of POST /admin/v1/keys. Without an end the key lives until it is revoked."""

    role: Literal["user", "analyst", "admin", "super_admin"]
    kind: Literal["key_file", "token"]
    customer: Name | None = Field(default=None, description="Who pays; users and analysts have one.")
    principal: Name | None = Field(default=None, description="The name under which the holder spends.")
    expires_in_days: int | None = Field(default=None, ge=1, le=LIFE_DAYS_MAX)
    ends_at: AwareDatetime | None = None
    project_id: ProjectId | None = Field(default=None, description="The project that the file names.")

    @model_validator(mode="after")
    def _has_one_end(self) -> "NewKeyBody":
        if self.expires_in_days is not None and self.ends_at is not None:
            message = "give expires_in_days or ends_at, not both"
            raise ValueError(message)
        return self


class RotationBody(_Body):
    """The body of POST /admin/v1/keys/{key_id}:rotate. It may be left out."""

    overlap_minutes: int = Field(default=OVERLAP_MINUTES, ge=0, le=OVERLAP_MINUTES_MAX)
    project_id: ProjectId | None = Field(default=None, description="The project that the new file names.")


class VoidBody(_Body):
    """The body of POST /v1/holds/{hold_id}:void."""

    reason: Reason


class KeyDescription(Document):
    """A key as everybody who may look at keys sees it. `prefix` is how a token begins; the rest nobody knows."""

    id: KeyId
    kind: KeyKind
    principal: str
    role: Role
    customer: str | None
    prefix: str | None
    created_at: MomentText
    created_by: str
    ends_at: MomentText | None
    is_revoked: bool
    is_valid: bool


class KeyCreated(KeyDescription):
    """A new key, and what is never shown again: its file, or its token with a file for clients that need one."""

    key_file: dict[str, Any] | None = None
    token: str | None = None
    external_account: dict[str, Any] | None = None


class KeyRotated(KeyCreated):
    """The new key; the old one ends at `replaced_ends_at`."""

    replaces: KeyId
    replaced_ends_at: MomentText


class KeyPage(Document):
    """Some keys, oldest first."""

    keys: tuple[KeyDescription, ...]
    next_page_token: str | None
    as_of: MomentText


class AuditRecordDocument(Document):
    """One record of the audit log. `hash` covers the record and `previous_hash`."""

    seq: int
    at: MomentText
    action: str
    actor: str
    role: str
    subject: str
    customer: str | None
    target: str
    source: str
    request_id: str
    detail: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    previous_hash: str
    hash: str


class AuditRecordPage(Document):
    """Some records, newest first."""

    records: tuple[AuditRecordDocument, ...]
    next_page_token: str | None
    as_of: MomentText


class AuditBreak(Document):
    """The first place where the log is not as it was written."""

    seq: int
    why: str


class AuditVerdict(Document):
    """How many records stand unbroken from the first on. `head_hash`: the last of them, to be noted elsewhere."""

    is_intact: bool
    records: int
    head_hash: str
    broken: AuditBreak | None
    as_of: MomentText


class TokenForm(BaseModel):
    """What a login sends, as a form: an assertion (RFC 7523), or a token to exchange (RFC 8693). Others are ignored."""

    grant_type: str
    assertion: str | None = None
    subject_token: str | None = None
    subject_token_type: str | None = None
    requested_token_type: str | None = None


class TokenAnswer(Document):
    """What a login gets (RFC 6749 section 5.1; `issued_token_type`: RFC 8693 section 2.2.1)."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a word of the protocol
    expires_in: int
    issued_token_type: str | None = None


class TokenRefusal(Document):
    """Why a login failed (RFC 6749 section 5.2)."""

    error: str
    error_description: str


class HoldVoided(Document):
    """The hold that was ended without a cost."""

    id: str
    customer: str
    principal: str
    amount_usd: UsdText
    voided_at: MomentText
    reason: str


def describe_record(record: AuditRecord) -> AuditRecordDocument:
    """A record as it is shown."""
    event = record.event
    return AuditRecordDocument(
        seq=record.seq,
        at=write_moment(event.at),
        action=event.action,
        actor=event.actor,
        role=event.role,
        subject=event.subject,
        customer=event.customer,
        target=event.target,
        source=event.source,
        request_id=event.request_id,
        detail=event.detail,
        before=event.before,
        after=event.after,
        previous_hash=record.previous_hash,
        hash=record.hash,
    )


def describe_key(key: Key, *, now: datetime) -> KeyDescription:
    """A key as it is shown: neither its public half nor its hash is in it."""
    return KeyDescription(
        id=key.id,
        kind=key.kind,
        principal=key.principal,
        role=key.role,
        customer=key.customer,
        prefix=prefix_of(key.id) if key.kind is KeyKind.TOKEN else None,
        created_at=write_moment(key.created_at),
        created_by=key.created_by,
        ends_at=None if key.ends_at is None else write_moment(key.ends_at),
        is_revoked=key.is_revoked,
        is_valid=key.is_valid_at(now),
    )
