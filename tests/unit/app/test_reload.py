import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from bqgate.app.reload import WATCH_S, Reloader, SettingsSource
from bqgate.budgets.change_feed import LocalChangeFeed
from bqgate.domain.money import parse_usd
from bqgate.domain.policy import PolicyKind
from bqgate.ledger import SqlRegistry
from bqgate.policies.book import PolicyBook
from bqgate.settings import Settings
from tests.support.manual_clock import ManualClock
from tests.support.policy_scene import STANDARD, Told, event_of

ACME = {"customers": {"acme": {"tier": "premium"}}}


class Scene:
    """A settings file, a policy book over a real registry, and a reloader between them."""

    def __init__(self, folder: Path, registry: SqlRegistry) -> None:
        self.file = folder / "bqgate.yaml"
        self.registry = registry
        self.clock = ManualClock()
        self.told = Told(self.clock)
        self.followed: list[Settings] = []

    def write(self, document: Mapping[str, Any] | str) -> None:
        text = document if isinstance(document, str) else yaml.safe_dump(dict(document))
        self.file.write_text(text, encoding="utf-8")

    @asynccontextmanager
    async def started(self, environ: Mapping[str, str] | None = None) -> AsyncIterator[Reloader]:
        """A reloader that runs, at its first sleep."""
        source = SettingsSource(self.file, environ or {})
        settings = source.load()
        feed = LocalChangeFeed(self.clock)
        self.book = PolicyBook(settings.policy_base, self.registry, feed, self.clock, self.told.telemetry)
        await self.book.load()
        reloader = Reloader(
            source,
            settings,
            book=self.book,
            reload_hooks=[self.followed.append],
            clock=self.clock,
            telemetry=self.told.telemetry,
        )
        running = asyncio.ensure_future(reloader.run())
        await self.clock.wait_for_sleepers()
        try:
            yield reloader
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def look(self, times: int = 2) -> None:
        """Let the reloader look; a change is taken at the second look that finds it."""
        for _ in range(times):
            self.clock.advance(WATCH_S)
            await self.clock.wait_for_sleepers()

    async def until_told(self, event: str, count: int = 1) -> None:
        async with asyncio.timeout(10):
            while self.told.count_of(event) < count:
                await asyncio.to_thread(lambda: None)

    def reloads(self, result: str) -> float:
        return self.told.metrics.value("bqgate_settings_reloads_total", result=result)

    def line(self, event: str) -> dict[str, Any]:
        """The last line of an event."""
        lines = [json.loads(line) for line in self.told.lines.getvalue().splitlines()]
        found: dict[str, Any] = [line for line in lines if line["event"] == event][-1]
        return found

    @property
    def daily(self) -> int:
        return self.book.customer_registry.default_tier.daily_nanos


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """An empty registry, and a file with one customer."""
    registry = await SqlRegistry.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    scene = Scene(tmp_path, registry)
    scene.write(ACME)
    yield scene
    await registry.close()


async def test_a_changed_file_is_taken_over(scene: Scene) -> None:
    """Tiers and customers hold as written, whoever follows gets the rest, and the log names what changed."""
    async with scene.started():
        scene.write(ACME | {"tiers": {"standard": {"daily_usd": 20}}, "rate_limits": {"costs_per_minute": 7}})
        await scene.look()
    assert scene.daily == parse_usd("20")
    assert scene.followed[-1].rate_limits.costs_per_minute == 7
    assert scene.line("settings_reloaded")["changed"] == ["rate_limits.costs_per_minute", "tiers.standard"]
    assert (scene.reloads("taken"), scene.reloads("refused")) == (1, 0)


async def test_a_file_that_is_still_being_written_is_left_alone(scene: Scene) -> None:
    """Only what lies still from one look to the next is read: half a file could be whole YAML with fewer limits."""
    async with scene.started():
        scene.write(ACME | {"tiers": {"standard": {"daily_usd": 20}}})
        await scene.look(1)
        assert scene.daily == parse_usd("10")
        scene.write(ACME | {"tiers": {"standard": {"daily_usd": 30}}})
        await scene.look(1)
        assert scene.daily == parse_usd("10")
        await scene.look(1)
        assert scene.daily == parse_usd("30")


async def test_a_file_that_does_not_change_is_not_spoken_of(scene: Scene) -> None:
    """The first look reads it once more, for what changed during the start; nothing is counted or noted."""
    async with scene.started():
        await scene.look(4)
    assert (scene.reloads("taken"), scene.reloads("refused")) == (0, 0)
    assert scene.told.count_of("settings_") == 0


async def test_a_change_during_the_start_is_noticed(scene: Scene) -> None:
    """A file that changed after it was read and before the first look is not taken for the one that holds."""
    async with scene.started():
        scene.write(ACME | {"defaults": {"mode": "observe"}})
        await scene.look()
        assert scene.book.customer_registry.default_mode.value == "observe"


async def test_a_moved_link_is_noticed(tmp_path: Path, scene: Scene) -> None:
    """A mounted ConfigMap: the file is a link through a folder link, and the folder link moves."""
    for name, limit in (("first", 10), ("second", 25)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bqgate.yaml").write_text(f"tiers: {{standard: {{daily_usd: {limit}}}}}", encoding="utf-8")
    (tmp_path / "data").symlink_to("first")
    scene.file = tmp_path / "linked.yaml"
    scene.file.symlink_to("data/bqgate.yaml")
    async with scene.started():
        assert scene.daily == parse_usd("10")
        (tmp_path / "new").symlink_to("second")
        (tmp_path / "new").rename(tmp_path / "data")
        await scene.look()
        assert scene.daily == parse_usd("25")


async def test_a_replaced_value_file_is_noticed(tmp_path: Path, scene: Scene) -> None:
    """A mounted secret, or any value that the environment takes from a file, is followed like the settings file."""
    daily = tmp_path / "daily_usd"
    daily.write_text("11\n")
    async with scene.started({"BQGATE_TIERS__STANDARD__DAILY_USD_FILE": str(daily)}):
        assert scene.daily == parse_usd("11")
        daily.write_text("12\n")
        await scene.look()
        assert scene.daily == parse_usd("12")
        daily.unlink()
        await scene.look()
        assert scene.daily == parse_usd("12")
    assert (scene.reloads("taken"), scene.reloads("refused")) == (1, 1)


async def test_a_bad_file_changes_nothing_and_every_fault_is_told_once(scene: Scene) -> None:
    """The old settings go on, all of them; the log has each fault, however often the file is looked at."""
    async with scene.started():
        scene.write({"tiers": {"standard": {"daily_usd": 20}}, "server": {"prot": 1}, "defaults": {"mode": "strict"}})
        await scene.look(5)
        assert scene.daily == parse_usd("10")
        assert set(scene.book.customer_registry.customers) == {"acme"}
    assert scene.followed == scene.followed[:1]  # of the first look
    assert (scene.reloads("taken"), scene.reloads("refused")) == (0, 1)
    line = scene.line("settings_not_reloaded")
    assert [fault.partition(":")[0] for fault in line["faults"]] == ["server.prot", "defaults.mode"]
    assert line["level"] == "warning"


async def test_a_mended_file_is_taken_again(scene: Scene) -> None:
    """After a bad one the next good one holds, also when it is the very one from before."""
    async with scene.started():
        scene.write("tiers: [")
        await scene.look()
        scene.write(ACME)
        await scene.look()
        assert (scene.reloads("taken"), scene.reloads("refused")) == (1, 1)
        scene.file.unlink()
        await scene.look()
        assert "cannot be read" in scene.line("settings_not_reloaded")["faults"][0]
    assert set(scene.book.customer_registry.customers) == {"acme"}


async def test_a_contradiction_to_what_admins_changed_is_a_bad_file(scene: Scene) -> None:
    """It changes nothing, not even what nobody contradicts, and holds once the admin's part is gone."""
    event = event_of(None, None)
    document = {"projects": ["acme-prod"]}
    await scene.registry.write_policy(PolicyKind.CUSTOMER, "globex", document, expected_version=0, event=event)
    async with scene.started():
        scene.write({"customers": {"acme": {"projects": ["acme-prod"]}}, "rate_limits": {"costs_per_minute": 7}})
        await scene.look(3)
        assert scene.reloads("refused") == 1
        assert any("(written by ann@acme.example)" in each for each in scene.line("settings_not_reloaded")["faults"])
        assert scene.followed == []
        await scene.registry.delete_policy(PolicyKind.CUSTOMER, "globex", expected_version=1, event=event)
        await scene.book.refresh()
        await scene.look(1)
        assert scene.reloads("taken") == 1
        assert scene.book.customer_registry.customer_by_project == {"acme-prod": "acme"}


async def test_admins_changes_stay_over_a_reload(scene: Scene) -> None:
    """A tier that an admin wrote is what the database says, whatever the file says now."""
    event = event_of(None, None)
    await scene.registry.write_policy(PolicyKind.TIER, "standard", STANDARD, expected_version=0, event=event)
    async with scene.started():
        scene.write({"tiers": {"standard": {"daily_usd": 20}, "premium": {"daily_usd": 60}}, **ACME})
        await scene.look()
        assert scene.daily == parse_usd(STANDARD["daily_usd"])
        assert scene.book.customer_registry.customer("acme").tier.daily_nanos == parse_usd("60")


async def test_what_needs_a_restart_is_named_until_it_is_put_back(scene: Scene) -> None:
    """The rest is taken; the warning names the keys and no value, and stands as long as they differ from the start."""
    async with scene.started():
        scene.write(ACME | {"server": {"port": 9}, "ledger": {"url": "postgresql://gate:hunter2@db/ledger"}})
        await scene.look()
        line = scene.line("settings_need_restart")
        assert (line["keys"], line["level"]) == (["server.port", "ledger.url"], "warning")
        scene.write(ACME | {"server": {"port": 9}, "defaults": {"mode": "observe"}})
        await scene.look()
        assert scene.line("settings_reloaded")["changed"] == ["defaults.mode"]
        assert scene.line("settings_need_restart")["keys"] == ["server.port"]
        scene.write(ACME)
        await scene.look()
    assert scene.told.count_of("settings_need_restart") == 2
    assert "hunter2" not in scene.told.lines.getvalue()


async def test_an_account_waits_for_the_credentials_that_can_be_it(scene: Scene) -> None:
    """A customer's service_account before a gate without credentials of its own is refused, not ignored."""
    account = {"acme": {"service_account": "acme@gate.iam.gserviceaccount.com"}}
    async with scene.started():
        scene.write({"upstream": {"credentials": "service_account"}, "customers": account})
        await scene.look()
    assert scene.reloads("refused") == 1
    assert scene.line("settings_not_reloaded")["faults"][0].startswith("customers.acme.service_account: ")
    assert scene.book.customer_registry.customer("acme").account is None


async def test_asking_reads_at_once(scene: Scene) -> None:
    """SIGHUP waits for no look, and is answered in the log also when nothing changed."""
    async with scene.started() as reloader:
        scene.write(ACME | {"tiers": {"standard": {"daily_usd": 20}}})
        reloader.ask()
        await scene.until_told("settings_reloaded")
        assert scene.daily == parse_usd("20")
        reloader.ask()
        await scene.until_told("settings_reloaded", 2)
        assert scene.line("settings_reloaded")["changed"] == []
        scene.write("tiers: [")
        reloader.ask()
        await scene.until_told("settings_not_reloaded")


async def test_the_age_counts_from_the_last_settings_that_were_taken(scene: Scene) -> None:
    """A bad file lets it grow; a good one sets it back."""
    async with scene.started() as reloader:
        await scene.look()
        scene.write("tiers: [")
        await scene.look(10)
        assert reloader.age_s == 10 * WATCH_S
        scene.write(ACME)
        await scene.look()
        assert reloader.age_s == 0


async def test_the_environment_stands_over_a_file_that_changed(scene: Scene) -> None:
    """As at the start."""
    async with scene.started({"BQGATE_DEFAULTS__MODE": "observe"}):
        scene.write(ACME | {"defaults": {"mode": "enforce"}, "tiers": {"standard": {"daily_usd": 20}}})
        await scene.look()
        assert scene.daily == parse_usd("20")
        assert scene.book.customer_registry.default_mode.value == "observe"
