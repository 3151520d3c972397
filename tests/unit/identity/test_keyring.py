import asyncio
from datetime import timedelta

import pytest

from bqgate.domain.errors import LedgerUnavailable, LoginFault, Unauthenticated
from bqgate.domain.principal import Identity, Role
from bqgate.identity.keyring import Keyring, email_of, identity_of
from tests.support.identity_stand import FILE_KEY_ID, IdentityStand, KeyShelf
from tests.support.manual_clock import ManualClock

NEW_ID = "00000000000000c1"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def stand(clock: ManualClock) -> IdentityStand:
    return IdentityStand(clock)


async def fault_of(keyring: Keyring, key_id: str) -> LoginFault:
    with pytest.raises(Unauthenticated) as refused:
        await keyring.find(key_id)
    return refused.value.fault


def test_a_key_says_who_holds_it(stand: IdentityStand) -> None:
    """Name, role and customer of the identity are the key's; the subject is the key itself."""
    found = identity_of(stand.file_key)
    assert found == Identity("etl", f"key:{FILE_KEY_ID}", Role.USER, "acme", FILE_KEY_ID)
    assert email_of(FILE_KEY_ID) == f"{FILE_KEY_ID}@keys.bqgate"


async def test_a_known_key_is_found_without_a_look_at_the_source(stand: IdentityStand) -> None:
    """What is known costs nothing."""
    assert await stand.keyring.find(FILE_KEY_ID) == stand.file_key
    assert stand.shelf.refresh_count == 0


async def test_a_key_that_another_replica_made_works_at_once(stand: IdentityStand) -> None:
    """An unknown id has the source look again before it is refused."""
    new = stand.key(NEW_ID)
    stand.shelf.coming[NEW_ID] = new
    assert await stand.keyring.find(NEW_ID) == new


async def test_a_flood_of_unknown_ids_is_one_look_a_second(stand: IdentityStand, clock: ManualClock) -> None:
    """However many unknown ids come, the source is asked once a second, and a new key is found by the next look."""
    for number in range(100):
        assert await fault_of(stand.keyring, f"{number:016x}") is LoginFault.UNKNOWN_KEY
    assert stand.shelf.refresh_count == 1
    stand.shelf.coming[NEW_ID] = stand.key(NEW_ID)
    clock.advance(0.999)
    assert await fault_of(stand.keyring, NEW_ID) is LoginFault.UNKNOWN_KEY
    clock.advance(0.001)
    assert (await stand.keyring.find(NEW_ID)).id == NEW_ID
    assert stand.shelf.refresh_count == 2


@pytest.mark.parametrize(
    "key_id", ["", "x", FILE_KEY_ID.upper(), f"{FILE_KEY_ID}\n", "é" * 16, "0" * 15, "0" * 100_000]
)
async def test_what_can_be_no_id_is_refused_without_a_look(stand: IdentityStand, key_id: str) -> None:
    """Only what has the form of an id is worth a question."""
    assert await fault_of(stand.keyring, key_id) is LoginFault.UNKNOWN_KEY
    assert stand.shelf.refresh_count == 0


class SlowShelf(KeyShelf):
    """A source whose refresh takes until the test lets it go on."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def refresh(self) -> None:
        self.asked.set()
        await self.may_answer.wait()
        await super().refresh()


async def test_callers_share_one_look(clock: ManualClock) -> None:
    """Who asks while a look is under way waits for it; a caller that leaves does not end it for the others."""
    shelf = SlowShelf()
    shelf.coming[NEW_ID] = IdentityStand(clock).key(NEW_ID)
    keyring = Keyring(shelf, clock)
    leaving = asyncio.create_task(keyring.find(NEW_ID))
    await shelf.asked.wait()
    staying = [asyncio.create_task(keyring.find(NEW_ID)) for _ in range(50)]
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    shelf.may_answer.set()
    assert {found.id for found in await asyncio.gather(*staying)} == {NEW_ID}
    assert shelf.refresh_count == 1


async def test_what_cannot_be_known_is_not_called_unknown(stand: IdentityStand, clock: ManualClock) -> None:
    """While the source is away an id that is new here is no refusal, and known keys work; then it is found."""
    stand.shelf.failure = LedgerUnavailable("away")
    for _ in range(10):
        with pytest.raises(LedgerUnavailable):
            await stand.keyring.find(NEW_ID)
    assert stand.shelf.refresh_count == 1
    assert await stand.keyring.find(FILE_KEY_ID) == stand.file_key
    stand.shelf.failure = None
    stand.shelf.coming[NEW_ID] = stand.key(NEW_ID)
    clock.advance(1)
    assert (await stand.keyring.find(NEW_ID)).id == NEW_ID


async def test_a_source_that_hangs_is_given_up(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that takes too long counts as a source that is away."""
    monkeypatch.setattr("bqgate.identity.keyring._REFRESH_S_MAX", 0.01)
    with pytest.raises(LedgerUnavailable):
        await Keyring(SlowShelf(), clock).find(NEW_ID)


async def test_an_ended_key_is_refused(stand: IdentityStand, clock: ManualClock) -> None:
    """Revoked keys and those past their end are told apart, and need no look at the source."""
    stand.shelf.put(stand.file_key.ended(clock.now() + timedelta(seconds=1), is_revoked=False))
    assert (await stand.keyring.find(FILE_KEY_ID)).id == FILE_KEY_ID
    clock.advance(1)
    assert await fault_of(stand.keyring, FILE_KEY_ID) is LoginFault.EXPIRED
    stand.shelf.put(stand.file_key.ended(clock.now(), is_revoked=True))
    assert await fault_of(stand.keyring, FILE_KEY_ID) is LoginFault.REVOKED
    assert stand.shelf.refresh_count == 0
