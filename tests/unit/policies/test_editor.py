import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from bqgate.budgets.change_feed import LocalChangeFeed
from bqgate.domain.audit import AuditEvent, AuditFilter
from bqgate.domain.errors import LedgerUnavailable, VersionConflict
from bqgate.domain.money import parse_usd
from bqgate.domain.policy import PRICING_NAME, PolicyItem, PolicyKind
from bqgate.ledger import SqlRegistry
from bqgate.policies.book import PolicyBook
from bqgate.policies.budget_models import BudgetPolicy
from bqgate.policies.editor import PolicyEditor, PolicyView, SettingsOnly, Source
from bqgate.policies.faults import PolicyFaults
from bqgate.policies.models import CustomerPolicy, PricingPolicy, TierPolicy
from tests.support.manual_clock import START, ManualClock
from tests.support.policy_scene import GOLD, STANDARD, Told, event_of, make_base
from tests.support.registries import tamper

TIER, CUSTOMER, BUDGET, PRICING = PolicyKind.TIER, PolicyKind.CUSTOMER, PolicyKind.BUDGET, PolicyKind.PRICING


class Replica:
    """One gate's editor, its book and its feed, over a registry that others share."""

    def __init__(self, registry: SqlRegistry) -> None:
        clock = ManualClock()
        self.registry = registry
        self.feed = LocalChangeFeed(clock)
        self.book = PolicyBook(make_base(), registry, self.feed, clock, Told(clock).telemetry)
        self.editor = PolicyEditor(self.book, registry, self.feed)

    def one(self, kind: PolicyKind, name: str) -> PolicyView:
        """A view that must be there."""
        view = self.editor.view_one(kind, name)
        assert view is not None
        return view

    async def put(self, kind: PolicyKind, name: str, document: Any, etag: str | None = None) -> PolicyView:
        """Write, from what the view is now unless told otherwise."""
        seen = self.editor.view_one(kind, name)
        return await self.editor.put(kind, name, document, etag=etag or (seen.etag if seen else None), event=event_of)

    async def remove(self, kind: PolicyKind, name: str) -> None:
        """Remove what the view is now."""
        await self.editor.remove(kind, name, etag=self.one(kind, name).etag, event=event_of)

    async def audited(self) -> list[AuditEvent]:
        """What the audit log has, oldest first."""
        page = await self.registry.fetch_audit(AuditFilter())
        return [record.event for record in reversed(page.records)]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Where the registry is."""
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
async def replica(url: str) -> AsyncIterator[Replica]:
    """A gate over an empty registry."""
    registry = await SqlRegistry.open(url)
    opened = Replica(registry)
    await opened.book.load()
    yield opened
    await registry.close()


def tier(**changes: str) -> TierPolicy:
    """A tier like the settings' standard one."""
    return TierPolicy.model_validate(STANDARD | changes)


async def test_the_settings_are_shown_until_somebody_changes_them(replica: Replica) -> None:
    """Each entity says where it comes from; the settings' have an entity tag of their content, and no author."""
    standard, premium = replica.one(TIER, "standard"), replica.one(TIER, "premium")
    assert [view.name for view in replica.editor.view(TIER)] == ["premium", "standard"]
    assert (standard.source, standard.version, standard.changed_by) == (Source.SETTINGS, 0, None)
    assert standard.etag != premium.etag
    assert standard.etag == Replica(replica.registry).one(TIER, "standard").etag
    assert replica.editor.view(BUDGET) == ()
    assert [view.name for view in replica.editor.view(PRICING)] == [PRICING_NAME]
    assert replica.editor.view_one(CUSTOMER, "globex") is None


async def test_a_change_holds_when_the_call_returns(replica: Replica) -> None:
    """The view has its version and author, the book its limits, the audit log what it was before and after."""
    before = replica.one(TIER, "standard")
    view = await replica.put(TIER, "standard", tier(daily_usd="20"))
    assert view == replica.one(TIER, "standard")
    assert (view.source, view.version, view.etag) == (Source.ADMIN, 1, '"v1"')
    assert (view.changed_at, view.changed_by) == (START, "ann@acme.example")
    assert replica.book.customer_registry.default_tier.daily_nanos == parse_usd("20")
    [event] = await replica.audited()
    assert event.before == before.document.model_dump(mode="json")
    assert event.after is not None
    assert event.after["daily_usd"] == "20.00"
    assert await replica.feed.wait(0) is True


async def test_removing_brings_the_files_back(replica: Replica) -> None:
    """The settings' entity holds again under its old entity tag; one that was the admin's alone is gone."""
    before = replica.editor.view(TIER)
    await replica.put(TIER, "standard", tier(daily_usd="20"))
    await replica.put(TIER, "gold", TierPolicy.model_validate(GOLD))
    await replica.remove(TIER, "standard")
    await replica.remove(TIER, "gold")
    assert replica.editor.view(TIER) == before
    assert replica.book.customer_registry.default_tier.daily_nanos == parse_usd("10")
    *_, standard, gold = await replica.audited()
    assert standard.after is not None
    assert standard.after["daily_usd"] == "10.00"
    assert gold.after is None


async def test_an_etag_of_before_is_refused(replica: Replica) -> None:
    """Of two admins who saw the same, the second is told, and nothing of the first's is lost."""
    seen = replica.one(TIER, "standard").etag
    await replica.put(TIER, "standard", tier(daily_usd="20"), seen)
    with pytest.raises(VersionConflict):
        await replica.put(TIER, "standard", tier(daily_usd="30"), seen)
    with pytest.raises(VersionConflict):
        await replica.editor.remove(TIER, "standard", etag=seen, event=event_of)
    assert replica.one(TIER, "standard").document == tier(daily_usd="20")
    assert len(await replica.audited()) == 1


async def test_a_new_one_must_be_new(replica: Replica) -> None:
    """Creating over what the settings or an admin have is a conflict; so is changing what is not there."""
    with pytest.raises(VersionConflict):
        await replica.editor.put(TIER, "standard", tier(), etag=None, event=event_of)
    with pytest.raises(VersionConflict):
        await replica.editor.put(TIER, "gold", tier(), etag='"v1"', event=event_of)
    await replica.editor.put(TIER, "gold", tier(), etag=None, event=event_of)
    with pytest.raises(VersionConflict):
        await replica.editor.put(TIER, "gold", tier(), etag=None, event=event_of)
    with pytest.raises(VersionConflict):
        await replica.editor.remove(TIER, "silver", etag=None, event=event_of)


async def test_what_the_file_has_is_removed_there(replica: Replica) -> None:
    """An admin cannot take away what no admin wrote, and is told where it stands."""
    with pytest.raises(SettingsOnly, match="settings file"):
        await replica.remove(TIER, "premium")
    with pytest.raises(SettingsOnly):
        await replica.remove(PRICING, PRICING_NAME)
    assert await replica.audited() == []


async def test_a_tier_that_is_used_stays(replica: Replica) -> None:
    """The fault names who uses it; nothing is written, and no audit record says so."""
    await replica.put(TIER, "gold", TierPolicy.model_validate(GOLD))
    await replica.put(CUSTOMER, "globex", CustomerPolicy(tier="gold"))
    with pytest.raises(PolicyFaults) as caught:
        await replica.remove(TIER, "gold")
    assert [fault.path for fault in caught.value.faults] == ["customers.globex.tier"]
    assert len(await replica.audited()) == 2
    await replica.remove(CUSTOMER, "globex")
    await replica.remove(TIER, "gold")


async def test_a_contradiction_is_refused_before_it_is_written(replica: Replica) -> None:
    """A project of somebody else, a budget above its tier's month: the whole is looked at, and stays as it was."""
    with pytest.raises(PolicyFaults, match=r"customers\.globex\.projects"):
        await replica.put(CUSTOMER, "globex", CustomerPolicy(projects=("acme-prod",)))
    with pytest.raises(PolicyFaults, match=r"budgets\.acme\.daily_usd"):
        await replica.put(BUDGET, "acme", BudgetPolicy.model_validate({"daily_usd": "1000"}))
    assert await replica.registry.fetch_revision() == 0


@pytest.mark.parametrize("name", ["", "a/b", "-a", "a" * 129, "gold\n"])
async def test_a_name_is_a_name(replica: Replica, name: str) -> None:
    """Names stand in URLs, Redis keys and labels."""
    with pytest.raises(PolicyFaults, match="is no name"):
        await replica.editor.put(TIER, name, tier(), etag=None, event=event_of)
    with pytest.raises(PolicyFaults, match="is no name"):
        await replica.editor.put(PRICING, "other", PricingPolicy(), etag=None, event=event_of)


async def test_prices_and_budgets_are_changed_like_the_rest(replica: Replica) -> None:
    """The one pricing document and a customer's own limits hold at once, and go again."""
    await replica.put(PRICING, PRICING_NAME, PricingPolicy.model_validate({"usd_per_tib": "4"}))
    await replica.put(BUDGET, "acme", BudgetPolicy.model_validate({"daily_usd": "20"}))
    assert replica.book.prices.tib_price(None) == parse_usd("4")
    assert replica.book.customer_registry.customer("acme").tier.daily_nanos == parse_usd("20")
    await replica.remove(PRICING, PRICING_NAME)
    await replica.remove(BUDGET, "acme")
    assert replica.book.prices.tib_price(None) == parse_usd("5")
    assert replica.book.customer_registry.customer("acme").tier.daily_nanos == parse_usd("10")


async def test_without_a_database_nothing_changes(replica: Replica, url: str) -> None:
    """The change is refused as an outage, and what held before holds."""
    tamper(url, "ALTER TABLE registry_revision RENAME TO elsewhere")
    with pytest.raises(LedgerUnavailable):
        await replica.put(TIER, "standard", tier(daily_usd="20"))
    assert replica.book.customer_registry.default_tier.daily_nanos == parse_usd("10")


class MeetingRegistry(SqlRegistry):
    """A registry whose first writers wait for one another, each having checked before any has written."""

    meeting: asyncio.Barrier | None = None

    async def write_policy(
        self, kind: PolicyKind, name: str, document: Mapping[str, Any], *, expected_version: int, event: AuditEvent
    ) -> PolicyItem:
        await self._meet()
        return await super().write_policy(kind, name, document, expected_version=expected_version, event=event)

    async def delete_policy(self, kind: PolicyKind, name: str, *, expected_version: int, event: AuditEvent) -> None:
        await self._meet()
        await super().delete_policy(kind, name, expected_version=expected_version, event=event)

    async def _meet(self) -> None:
        meeting = self.meeting
        if meeting is not None:
            await meeting.wait()
            self.meeting = None


async def two_replicas(url: str, stack: AsyncExitStack) -> tuple[Replica, Replica]:
    """Two gates on one registry, whose next two writes come at the same moment."""
    replicas = []
    for _ in range(2):
        registry = await MeetingRegistry.open(url)
        stack.push_async_callback(registry.close)
        replicas.append(Replica(registry))
        await replicas[-1].book.load()
    return replicas[0], replicas[1]


def meet(*replicas: Replica) -> None:
    """Let the next write of each wait for the other's."""
    barrier = asyncio.Barrier(len(replicas))
    for replica in replicas:
        assert isinstance(replica.registry, MeetingRegistry)
        replica.registry.meeting = barrier


async def test_two_changes_in_one_moment_cannot_contradict_each_other(url: str) -> None:
    """Each was right alone; at least one is refused and taken back, and a gate can start on what is left."""
    async with AsyncExitStack() as stack:
        one, other = await two_replicas(url, stack)
        meet(one, other)
        outcomes = await asyncio.gather(
            one.put(CUSTOMER, "globex", CustomerPolicy(projects=("pool",))),
            other.put(CUSTOMER, "initech", CustomerPolicy(projects=("pool",))),
            return_exceptions=True,
        )
        assert any(isinstance(outcome, PolicyFaults) for outcome in outcomes)
        assert all(isinstance(outcome, PolicyFaults | PolicyView) for outcome in outcomes)
        await one.book.load()
        done = [outcome for outcome in outcomes if isinstance(outcome, PolicyView)]
        assert {item.name for item in one.book.items()} == {view.name for view in done}
        assert len(await one.audited()) == 4 - len(done)


async def test_a_tier_removed_while_a_customer_takes_it_comes_back(url: str) -> None:
    """Removing is taken back like writing: no customer is left without its tier."""
    async with AsyncExitStack() as stack:
        one, other = await two_replicas(url, stack)
        await one.put(TIER, "gold", TierPolicy.model_validate(GOLD))
        await other.book.refresh()
        meet(one, other)
        outcomes = await asyncio.gather(
            one.remove(TIER, "gold"),
            other.put(CUSTOMER, "globex", CustomerPolicy(tier="gold")),
            return_exceptions=True,
        )
        assert any(isinstance(outcome, PolicyFaults) for outcome in outcomes)
        await one.book.load()
        names = {item.name for item in one.book.items()}
        assert names in ({"gold"}, {"gold", "globex"}, set())


async def test_of_two_changes_of_the_same_one_wins(url: str) -> None:
    """Two admins of two replicas who saw the same version: one is written, one is a conflict."""
    async with AsyncExitStack() as stack:
        one, other = await two_replicas(url, stack)
        meet(one, other)
        outcomes = await asyncio.gather(
            one.put(TIER, "standard", tier(daily_usd="20")),
            other.put(TIER, "standard", tier(daily_usd="30")),
            return_exceptions=True,
        )
        assert {type(outcome) for outcome in outcomes} == {PolicyView, VersionConflict}
        assert len(await one.audited()) == 1


async def test_a_change_is_checked_against_what_other_gates_wrote(url: str) -> None:
    """What another gate wrote a moment ago, unseen here, can be built upon; and cannot be overwritten unseen."""
    async with AsyncExitStack() as stack:
        one, other = await two_replicas(url, stack)
        seen = other.one(TIER, "standard").etag
        await one.put(TIER, "gold", TierPolicy.model_validate(GOLD))
        await one.put(TIER, "standard", tier(daily_usd="20"))
        assert other.editor.view_one(TIER, "gold") is None
        await other.put(CUSTOMER, "globex", CustomerPolicy(tier="gold"))
        with pytest.raises(VersionConflict):
            await other.put(TIER, "standard", tier(daily_usd="30"), seen)
        assert other.one(TIER, "standard").document == tier(daily_usd="20")
