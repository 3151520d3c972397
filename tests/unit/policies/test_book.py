import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from bqgate.budgets.change_feed import LocalChangeFeed
from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.money import parse_usd
from bqgate.domain.policy import PolicyKind
from bqgate.ledger import SqlRegistry
from bqgate.policies.book import PolicyBook
from bqgate.policies.faults import PolicyFaults
from bqgate.ports import ChangeFeed, PolicySource
from tests.support.manual_clock import START, ManualClock
from tests.support.policy_scene import GOLD, STANDARD, Told, event_of, make_base
from tests.support.registries import make_key, tamper

LIMIT_S = 20
KEY = "0123456789abcdef"
NOTHING = event_of(None, None)


class Scene:
    """A registry in a database of its own, and books on it."""

    def __init__(self, url: str, registry: SqlRegistry) -> None:
        self.url = url
        self.registry = registry
        self.clock = ManualClock()
        self.told = Told(self.clock)

    def book(self, feed: ChangeFeed | None = None) -> PolicyBook:
        """Another replica's book."""
        return PolicyBook(
            make_base(), self.registry, feed or LocalChangeFeed(self.clock), self.clock, self.told.telemetry
        )

    async def write_tier(self, name: str = "standard", version: int = 0, **changes: str) -> int:
        """Write a tier behind every book's back, and give its version."""
        written = await self.registry.write_policy(
            PolicyKind.TIER, name, STANDARD | changes, expected_version=version, event=NOTHING
        )
        return written.version

    async def second(self) -> None:
        """Let a second pass, as soon as every background task waits for it."""
        await self.clock.wait_for_sleepers()
        self.clock.advance(1)

    def fail(self) -> None:
        """Let the database answer every question with an error."""
        tamper(self.url, "ALTER TABLE registry_revision RENAME TO elsewhere")

    def heal(self) -> None:
        """Undo fail."""
        tamper(self.url, "ALTER TABLE elsewhere RENAME TO registry_revision")


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """An empty registry."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    registry = await SqlRegistry.open(url)
    yield Scene(url, registry)
    await registry.close()


@asynccontextmanager
async def running(*books: PolicyBook) -> AsyncIterator[None]:
    """Let books follow the registry in the background."""
    tasks = [asyncio.create_task(book.run()) for book in books]
    yield
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(scene: Scene, condition: Callable[[], bool]) -> None:
    """Let seconds pass until something is so."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await scene.second()


def daily(book: PolicySource) -> int:
    """What the default tier may spend in a day."""
    return book.customer_registry.default_tier.daily_nanos


async def test_a_book_begins_with_the_settings(scene: Scene) -> None:
    """Before it is loaded the settings hold, and nobody has a key."""
    await scene.write_tier(daily_usd="20")
    book = scene.book()
    assert (daily(book), book.revision, book.items(), dict(book.keys)) == (parse_usd("10"), -1, (), {})


async def test_loading_takes_what_admins_wrote(scene: Scene) -> None:
    """Policies and keys of the registry are there with its revision."""
    await scene.write_tier(daily_usd="20")
    await scene.registry.add_key(make_key(KEY), NOTHING)
    book = scene.book()
    await book.load()
    assert (daily(book), book.revision) == (parse_usd("20"), 2)
    assert book.key(KEY) == book.keys[KEY] == make_key(KEY)
    assert book.key("f" * 16) is None
    assert [item.name for item in book.items(PolicyKind.TIER)] == ["standard"]
    assert book.items(PolicyKind.BUDGET) == ()


async def test_a_start_against_the_settings_says_what_and_who(scene: Scene) -> None:
    """A gate whose file contradicts what admins wrote does not start, and its operator can tell why."""
    await scene.registry.write_policy(
        PolicyKind.CUSTOMER, "globex", {"tier": "gold"}, expected_version=0, event=NOTHING
    )
    book = scene.book()
    with pytest.raises(PolicyFaults) as caught:
        await book.load()
    first, remedy = caught.value.faults
    assert first.path == "customers.globex.tier"
    assert first.message == ("there is no tier 'gold'; there are premium, standard (written by ann@acme.example)")
    assert "put back what they took out" in remedy.message
    assert book.revision == -1


async def test_a_start_without_a_database_fails(scene: Scene) -> None:
    """Nobody is let in by a gate that does not know who was locked out."""
    scene.fail()
    with pytest.raises(LedgerUnavailable):
        await scene.book().load()


async def test_a_refresh_is_a_look_at_the_revision(scene: Scene) -> None:
    """Where nothing changed nothing is read anew: the snapshot is the same object, though documents were touched."""
    await scene.write_tier(daily_usd="20")
    book = scene.book()
    await book.load()
    before = book.customer_registry
    tamper(scene.url, "DELETE FROM policies")  # not by a gate, so that the revision stays
    await book.refresh()
    assert book.customer_registry is before
    assert scene.told.metrics.value("bqgate_policy_loads_total", result="loaded") == 0


async def test_a_change_is_seen_by_a_refresh(scene: Scene) -> None:
    """What was written, changed and taken away is so after the next look."""
    book = scene.book()
    await book.load()
    version = await scene.write_tier(daily_usd="20")
    await book.refresh()
    assert daily(book) == parse_usd("20")
    version = await scene.write_tier(version=version, daily_usd="30")
    await book.refresh()
    assert daily(book) == parse_usd("30")
    await scene.registry.delete_policy(PolicyKind.TIER, "standard", expected_version=version, event=NOTHING)
    await book.refresh()
    assert daily(book) == parse_usd("10")
    assert scene.told.metrics.value("bqgate_policy_loads_total", result="loaded") == 3


async def test_many_looks_at_once_see_what_was_there_before_them(scene: Scene) -> None:
    """A hundred callers share a load, and each finds what was written before it asked."""
    book = scene.book()
    await book.load()
    await scene.write_tier(daily_usd="20")
    first = asyncio.create_task(book.refresh())
    await scene.registry.add_key(make_key(KEY), NOTHING)
    await asyncio.gather(first, *(book.refresh() for _ in range(100)))
    assert daily(book) == parse_usd("20")
    assert book.key(KEY) is not None
    assert scene.told.metrics.value("bqgate_policy_loads_total", result="loaded") <= 2


async def test_the_feeds_word_is_followed_at_once(scene: Scene) -> None:
    """No time passes between the word and the change."""
    feed = LocalChangeFeed(scene.clock)
    book = scene.book(feed)
    await book.load()
    async with running(book):
        await scene.clock.wait_for_sleepers()
        await scene.write_tier(daily_usd="20")
        await feed.announce()
        async with asyncio.timeout(LIMIT_S):
            while daily(book) != parse_usd("20"):
                await asyncio.wait([asyncio.ensure_future(scene.registry.fetch_revision())])
    assert scene.clock.now() == START


async def test_without_a_word_a_change_is_seen_within_a_second(scene: Scene) -> None:
    """A dead feed delays, and loses nothing."""
    book = scene.book()
    await book.load()
    async with running(book):
        await scene.clock.wait_for_sleepers()
        await scene.write_tier(daily_usd="20")
        await scene.second()
        await scene.clock.wait_for_sleepers()  # it has looked, and waits again
        assert daily(book) == parse_usd("20")


async def test_all_is_read_anew_after_ten_minutes(scene: Scene) -> None:
    """Even what changed without a new revision, as after a restored backup, is seen in the end."""
    await scene.write_tier(daily_usd="20")
    book = scene.book()
    await book.load()
    tamper(scene.url, "DELETE FROM policies")
    scene.clock.advance(599)
    await book.refresh()
    assert daily(book) == parse_usd("20")
    scene.clock.advance(1)
    await book.refresh()
    assert daily(book) == parse_usd("10")


async def test_an_outage_keeps_the_rules_and_is_noted_once(scene: Scene) -> None:
    """While the database is away the last rules hold; each failed look is counted; when it is back, changes come."""
    version = await scene.write_tier(daily_usd="20")
    book = scene.book()
    await book.load()
    async with running(book):
        scene.fail()
        away = ("bqgate_failures_total", {"system": "ledger", "step": "policies"})
        await until(scene, lambda: scene.told.metrics.value(away[0], **away[1]) >= 3)
        assert daily(book) == parse_usd("20")
        with pytest.raises(LedgerUnavailable):
            await book.refresh()
        scene.heal()
        await scene.write_tier(version=version, daily_usd="30")
        await until(scene, lambda: daily(book) == parse_usd("30"))
        await scene.clock.wait_for_sleepers()
    assert (scene.told.count_of("policies_unavailable"), scene.told.count_of("policies_back")) == (1, 1)


async def test_a_contradiction_keeps_the_rules_but_not_the_keys(scene: Scene) -> None:
    """Documents that make no sense here change no limit; a revocation that came with them holds all the same."""
    await scene.registry.add_key(make_key(KEY), NOTHING)
    book = scene.book()
    await book.load()
    version = await scene.write_tier(daily_usd="20")
    await book.refresh()
    version = await scene.write_tier(version=version, daily_usd="9999")
    await scene.registry.end_key(KEY, ends_at=START, is_revoked=True, event=NOTHING)
    for _ in range(3):
        await book.refresh()
    key = book.key(KEY)
    assert daily(book) == parse_usd("20")
    assert key is not None
    assert key.is_revoked
    assert scene.told.metrics.value("bqgate_policy_loads_total", result="inconsistent") == 1
    assert scene.told.count_of("tiers.standard.daily_usd: 9999.00 is more than monthly_usd") == 1
    await scene.write_tier(version=version, daily_usd="30")
    await book.refresh()
    assert daily(book) == parse_usd("30")


async def test_a_document_of_a_later_version_keeps_the_rules(scene: Scene) -> None:
    """A newer gate beside this one may write keys that this one does not know; it goes on with what it had."""
    book = scene.book()
    await book.load()
    await scene.registry.write_policy(
        PolicyKind.TIER, "gold", GOLD | {"colour": "gold"}, expected_version=0, event=NOTHING
    )
    await book.refresh()
    assert set(book.customer_registry.customers) == {"acme"}
    assert scene.told.count_of("tiers.gold.colour: unknown key") == 1
