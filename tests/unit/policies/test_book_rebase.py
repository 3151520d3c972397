from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bqgate.budgets.change_feed import LocalChangeFeed
from bqgate.domain.money import parse_usd
from bqgate.domain.policy import PolicyKind
from bqgate.ledger import SqlRegistry
from bqgate.policies.book import PolicyBook
from bqgate.policies.faults import PolicyFaults
from bqgate.policies.models import CustomerPolicy, TierPolicy
from tests.support.manual_clock import ManualClock
from tests.support.policy_scene import GOLD, STANDARD, Told, event_of, make_base

NOTHING = event_of(None, None)


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[SqlRegistry]:
    """An empty registry."""
    opened = await SqlRegistry.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield opened
    await opened.close()


def make_book(registry: SqlRegistry) -> PolicyBook:
    clock = ManualClock()
    return PolicyBook(make_base(), registry, LocalChangeFeed(clock), clock, Told(clock).telemetry)


async def write_tier(registry: SqlRegistry, name: str, **changes: str) -> None:
    """Write a tier that no admin wrote before."""
    await registry.write_policy(PolicyKind.TIER, name, STANDARD | changes, expected_version=0, event=NOTHING)


def daily(book: PolicyBook) -> int:
    """What the default tier may spend in a day."""
    return book.customer_registry.default_tier.daily_nanos


async def test_other_settings_go_below_what_admins_changed(registry: SqlRegistry) -> None:
    """Settings that are read anew hold at once; a tier that an admin wrote stays as it was written."""
    await write_tier(registry, "premium", daily_usd="45")
    book = make_book(registry)
    await book.load()
    tiers = {
        name: TierPolicy.model_validate(STANDARD | {"daily_usd": limit})
        for name, limit in (("standard", "15"), ("premium", "25"))
    }
    book.rebase(make_base(tiers=tiers, customers={"globex": CustomerPolicy(tier="premium")}))
    assert daily(book) == parse_usd("15")
    assert set(book.customer_registry.customers) == {"globex"}
    assert book.customer_registry.customer("globex").tier.daily_nanos == parse_usd("45")
    assert book.revision == 1


async def test_a_later_look_stays_on_the_new_settings(registry: SqlRegistry) -> None:
    """What admins change afterwards is laid over the settings that were read last."""
    book = make_book(registry)
    await book.load()
    book.rebase(make_base(customers={"globex": CustomerPolicy(tier="premium")}))
    await write_tier(registry, "premium", daily_usd="45")
    await book.refresh()
    assert set(book.customer_registry.customers) == {"globex"}
    assert book.customer_registry.customer("globex").tier.daily_nanos == parse_usd("45")


async def test_settings_that_admins_contradict_change_nothing(registry: SqlRegistry) -> None:
    """All of the old settings go on, and the fault says who wrote what stands against the new ones."""
    await registry.write_policy(PolicyKind.CUSTOMER, "globex", {"tier": "premium"}, expected_version=0, event=NOTHING)
    book = make_book(registry)
    await book.load()
    before = book.customer_registry
    tiers = {"standard": TierPolicy.model_validate(STANDARD | {"daily_usd": "15"})}
    with pytest.raises(PolicyFaults) as caught:
        book.rebase(make_base(tiers=tiers))
    (fault,) = caught.value.faults
    assert fault.path == "customers.globex.tier"
    assert fault.message == "there is no tier 'premium'; there are standard (written by ann@acme.example)"
    assert book.customer_registry is before
    await write_tier(registry, "standard", daily_usd="12")
    await book.refresh()  # composes anew: on the old settings
    assert set(book.customer_registry.customers) == {"acme", "globex"}
    assert daily(book) == parse_usd("12")


async def test_other_settings_can_heal_a_contradiction(registry: SqlRegistry) -> None:
    """A change that this gate could not take holds as soon as its settings allow it."""
    book = make_book(registry)
    await book.load()
    await registry.write_policy(PolicyKind.CUSTOMER, "globex", {"tier": "gold"}, expected_version=0, event=NOTHING)
    await book.refresh()
    assert "globex" not in book.customer_registry.customers
    gold = TierPolicy.model_validate(GOLD)
    book.rebase(make_base(tiers={**make_base().tiers, "gold": gold}))
    assert book.customer_registry.customer("globex").tier.daily_nanos == parse_usd("100")
