"""Find the keys that are known now, and say who stands behind one.

Called with every credential that names a key, so that a revocation holds from the next request on. Where the keys come
from is a KeySource's business (policies' book, which follows the Registry). A key that is not known yet may have been
made on another replica a moment ago: the source is then asked to look again, at most once a second for all callers
together, so that a flood of invented ids does not become a flood of queries. What leaves: a valid Key, or
Unauthenticated.
"""

import asyncio
import re
from typing import Protocol

from bqgate.domain.errors import LedgerUnavailable, LoginFault, Unauthenticated
from bqgate.domain.key import Key
from bqgate.domain.principal import Identity
from bqgate.identity.jwt_reading import shown
from bqgate.ports import Clock

KEY_ID = re.compile(r"[0-9a-f]{16}")
EMAIL_DOMAIN = "keys.bqgate"
_LOOK_AGAIN_S = 1.0
_REFRESH_S_MAX = 2.0


class KeySource(Protocol):
    """Where keys come from."""

    def key(self, key_id: str) -> Key | None:
        """A key as it is known now, ended ones too."""

    async def refresh(self) -> None:
        """Look for changes now. The caller bounds it.

        Raises:
            LedgerUnavailable: they are not known.
        """


class Keyring:
    """The valid keys."""

    def __init__(self, source: KeySource, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._looked_at_s: float | None = None
        self._looking: asyncio.Task[bool] | None = None

    def knows(self, key_id: str) -> bool:
        """Whether a key of that id is or was there, as far as is known now without looking."""
        return KEY_ID.fullmatch(key_id) is not None and self._source.key(key_id) is not None

    async def find(self, key_id: str) -> Key:
        """The key of an id, as it is now.

        Raises:
            Unauthenticated: UNKNOWN_KEY, REVOKED, or EXPIRED at its planned end or a rotation's.
            LedgerUnavailable: the id is new here, and the source cannot say.
        """
        if KEY_ID.fullmatch(key_id) is None:
            raise _unknown(key_id)
        key = self._source.key(key_id)
        if key is None:
            await self._look_again()
            key = self._source.key(key_id)
        if key is None:
            raise _unknown(key_id)
        if key.is_revoked:
            raise Unauthenticated(LoginFault.REVOKED, "This key was revoked.", claimed=key_id)
        if not key.is_valid_at(self._clock.now()):
            raise Unauthenticated(LoginFault.EXPIRED, "This key has ended; ask for a new one.", claimed=key_id)
        return key

    async def _look_again(self) -> None:
        """Have the source refreshed, unless it was within the last second; everybody waits for the same look."""
        now_s = self._clock.monotonic_s()
        is_due = self._looked_at_s is None or now_s - self._looked_at_s >= _LOOK_AGAIN_S
        if self._looking is None or (self._looking.done() and is_due):
            self._looked_at_s = now_s
            self._looking = asyncio.create_task(self._refresh())
        # Shielded: a caller that leaves must not end the look of the others.
        if not await asyncio.shield(self._looking):
            raise LedgerUnavailable("Whether there is such a key is not known now.")

    async def _refresh(self) -> bool:
        try:
            async with asyncio.timeout(_REFRESH_S_MAX):
                await self._source.refresh()
        except (LedgerUnavailable, TimeoutError):
            return False
        return True


def identity_of(key: Key) -> Identity:
    """Who holds a key."""
    return Identity(key.principal, f"key:{key.id}", key.role, key.customer, key.id)


def email_of(key_id: str) -> str:
    """The client_email of a key file. The domain does not exist: nobody else can have such an address."""
    return f"{key_id}@{EMAIL_DOMAIN}"


def _unknown(key_id: str) -> Unauthenticated:
    return Unauthenticated(LoginFault.UNKNOWN_KEY, "This gate knows no such key.", claimed=shown(key_id))
