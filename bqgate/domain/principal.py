"""Name who asks: the customer that pays, the person or program behind it, and the credential that proves it.

Made by the identify step, read by every later one. A credential never shows itself in a repr, a log or an error
(invariant 10); what is stored of it is a hash.
"""

from dataclasses import dataclass, field
from hashlib import sha256


@dataclass(frozen=True, slots=True)
class Credential:
    """What the caller sent to prove who it is, as it goes upstream under `credentials: caller`.

    `authorization` is the whole header value ("Bearer ya29…"); `user_project` is x-goog-user-project.
    """

    authorization: str | None = field(default=None, repr=False)
    user_project: str | None = field(default=None, repr=False)

    @property
    def fingerprint(self) -> str:
        """A hash that tells credentials apart without being one; "anonymous" where there is none."""
        if self.authorization is None:
            return "anonymous"
        return sha256(self.authorization.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `customer` pays; `name` is who spends it; `workload` is the label from the /w/{workload} path."""

    customer: str
    name: str
    workload: str | None = None
    credential: Credential = field(default_factory=Credential, repr=False)
