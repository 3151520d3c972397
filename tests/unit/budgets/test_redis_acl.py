"""The user that the docs make in Redis may do all that a gate does, and nothing more."""

import re
from collections.abc import Iterator

import pytest

from bqgate.budgets import redis_change_feed
from bqgate.budgets.redis_store import RedisBudgetStore
from bqgate.domain.errors import BudgetStoreUnavailable
from tests.support.doc_blocks import ROOT
from tests.support.manual_clock import ManualClock
from tests.support.redis_server import RedisServer, redis_servers
from tests.support.redis_topologies import start_cluster, start_sentinel_set
from tests.support.redis_usage import use_everything
from tests.support.spend_book import SpendBook

PASSWORD = "w0rd-of-a-gate"
# What redis-py hides the refusal of, or asks only while slots move.
UNSEEN = {"+asking"}


def rules_of(heading: str) -> list[str]:
    """The words of the documented line below a heading, with a password for its placeholder."""
    text = (ROOT / "docs/redis.md").read_text("utf-8")
    line = re.search(rf"#+ {heading}\n.*?^ACL SETUSER gate (.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert line is not None, heading
    return line[1].replace("\\\n", " ").replace("PASSWORD", PASSWORD).split()


def commands_of(rules: list[str]) -> list[str]:
    return [rule for rule in rules if rule.startswith("+")]


def make_user(server: RedisServer, rules: list[str]) -> None:
    """Make the user anew, and have the server forget scripts and data."""
    with server.client() as client:
        client.execute_command("ACL", "DELUSER", "gate")
        client.execute_command("ACL", "SETUSER", "gate", *rules)
        client.script_flush()
        client.flushall()


@pytest.fixture(autouse=True)
def _soon_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the feed's listener say something itself at once."""
    monkeypatch.setattr(redis_change_feed, "_QUIET_S", 0.01)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server of its own."""
    with redis_servers() as make:
        yield make()


async def may_do_all(url: str) -> bool:
    try:
        await use_everything(url)
    except (BudgetStoreUnavailable, AssertionError):
        return False
    return True


async def test_the_documented_user_does_all_and_needs_each_command(server: RedisServer) -> None:
    """As it stands everything works; without any one of its commands, its keys or its channels something does not."""
    rules, url = rules_of("One server"), f"redis://gate:{PASSWORD}@127.0.0.1:{server.port}/0"
    make_user(server, rules)
    await use_everything(url)
    for rule in rules:
        if rule.startswith(("+", "~", "&")):
            make_user(server, [each for each in rules if each != rule])
            assert not await may_do_all(url), f"{rule} is not needed"


async def test_the_documented_user_of_a_cluster() -> None:
    """A cluster's user needs what the client asks to find its way, and the rest as before."""
    with redis_servers() as make:
        cluster = start_cluster(make)
        rules = [*rules_of("One server"), *rules_of("Cluster")]
        url = cluster.url.replace("://", f"://gate:{PASSWORD}@")
        for server in cluster.masters:
            make_user(server, rules)
        await use_everything(url)
        for rule in set(commands_of(rules_of("Cluster"))) - UNSEEN:
            for server in cluster.masters:
                make_user(server, [each for each in rules if each != rule])
            assert not await may_do_all(url), f"{rule} is not needed"


async def test_the_documented_user_of_sentinels() -> None:
    """The master's user is that of one server; the Sentinels have one of their own, with another password."""
    with redis_servers() as make:
        started = start_sentinel_set(make)
        make_user(started.master(), rules_of("One server"))
        rules = [rule.replace(PASSWORD, "s3ntinel") for rule in rules_of("Sentinel")]
        started.login, started.options = f"gate:{PASSWORD}@", "?sentinel_username=gate&sentinel_password=s3ntinel"
        for asked in ([], *([each] for each in commands_of(rules))):
            for sentinel in started.sentinels:
                with sentinel.client() as client:
                    client.execute_command("ACL", "DELUSER", "gate")
                    client.execute_command("ACL", "SETUSER", "gate", *(rule for rule in rules if rule not in asked))
            if asked:
                assert not await may_do_all(started.url), f"{asked} is not needed"
            else:
                await use_everything(started.url)


@pytest.mark.parametrize("command", ["+info", "+eval", "+evalsha", "+set"])
async def test_a_user_who_may_too_little_is_not_ready(server: RedisServer, command: str) -> None:
    """Readiness says so, and not the first caller: a gate that may not look at Redis' history decides nothing."""
    make_user(server, [rule for rule in rules_of("One server") if rule != command])
    store = RedisBudgetStore.open(
        f"redis://gate:{PASSWORD}@127.0.0.1:{server.port}/0", SpendBook(), ManualClock(), timeout_s=5
    )
    with pytest.raises(BudgetStoreUnavailable):
        await store.check()
    await store.close()
