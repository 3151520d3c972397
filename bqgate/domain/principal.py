"""Name who asks: who was authenticated (Identity), who pays for this request (Principal), what proved it (Credential).

Made by identity and the identify step, read by every later one. A credential never shows itself in a repr, a log or an
error (invariant 10); what is stored of it is a hash.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

# How long a token of another issuer may live, unless its settings say otherwise: ID tokens live for an hour or so,
# those of some providers for a day.
ISSUED_TOKEN_LIFE_S = 86_400


class Role(StrEnum):
    """What somebody may do on the control plane; admin.permissions holds the table.

    OPEN is everybody before a gate whose identity.mode is open: it reads everything and changes nothing.
    """

    USER = "user"
    ANALYST = "analyst"
    ADMIN = "admin"
    SUPER_ADMIN = "super_admin"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Credential:
    """What goes upstream for a caller.

    `authorization` is the whole header value ("Bearer ya29…") under `credentials: caller`, None where the gate's own
    are used; `user_project` is x-goog-user-project. `subject` is whom the gate has authenticated (Identity.subject),
    `account` the service account that the gate impersonates for the caller's customer. `customer` is who pays; it goes
    nowhere, and makes no credential another one.
    """

    authorization: str | None = field(default=None, repr=False)
    user_project: str | None = field(default=None, repr=False)
    subject: str | None = None
    account: str | None = None
    customer: str = field(default="", compare=False)
    _fingerprint: str = field(default="", init=False, repr=False, compare=False)

    @property
    def fingerprint(self) -> str:
        """A hash that tells callers apart without being a credential; "anonymous" where nothing tells them.

        The account is a part of it: what BigQuery answered one account is not for another, whoever asks.
        """
        if not self._fingerprint:
            object.__setattr__(self, "_fingerprint", self._hashed())
        return self._fingerprint

    def _hashed(self) -> str:
        proof = self.authorization or self.subject
        if self.account is not None:
            proof = f"{proof or ''}\n{self.account}"
        if proof is None:
            return "anonymous"
        return sha256(proof.encode()).hexdigest()[:16]

    @property
    def caller(self) -> str:
        """Whose turn a call takes: who was authenticated, however many tokens they have; else whose token it is."""
        return self.subject or self.fingerprint


@dataclass(frozen=True, slots=True)
class Identity:
    """Who was authenticated.

    `name` is what the ledger and the audit log call them; `subject` is unique and never changes ("key:3f…",
    "oidc:https://issuer#sub", "google:ann@example.com"). `customer` None: of no customer (admins), or not told by the
    credential, so that the request's project tells it.
    """

    name: str
    subject: str
    role: Role
    customer: str | None = None
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `customer` pays; `name` is who spends it; `workload` is the label from the /w/{workload} path."""

    customer: str
    name: str
    workload: str | None = None
    credential: Credential = field(default_factory=Credential, repr=False)
    role: Role = Role.OPEN
