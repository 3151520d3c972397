"""Describe the keys that a gate hands out: who holds one, and what the gate keeps to recognise it.

Made by identity, kept by the Registry, read at every login. A key file's private half and a static token leave the gate
once, when they are made; what stays is a public key or a hash.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from bqgate.domain.principal import Role


class KeyKind(StrEnum):
    """What the holder has."""

    KEY_FILE = "key_file"  # a service-account JSON with an RSA key
    TOKEN = "token"  # noqa: S105 - a static token


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `principal` is the name under which its holder spends; keys that replace one another share it.

    `public_key` is PEM (key files), `token_hash` the SHA-256 of the whole token in hexadecimal (tokens). `ends_at` is
    when it stops working: its planned end, the end of a rotation's overlap, or the moment of its revocation.
    """

    id: str
    kind: KeyKind
    principal: str
    role: Role
    customer: str | None
    created_at: datetime
    created_by: str
    ends_at: datetime | None = None
    is_revoked: bool = False
    public_key: str | None = None
    token_hash: str | None = None

    def is_valid_at(self, now: datetime) -> bool:
        return not self.is_revoked and (self.ends_at is None or now < self.ends_at)

    def ended(self, at: datetime, *, is_revoked: bool) -> "Key":
        """The same key with an end that is never later than the one it had."""
        ends_at = at if self.ends_at is None else min(at, self.ends_at)
        return replace(self, ends_at=ends_at, is_revoked=self.is_revoked or is_revoked)
