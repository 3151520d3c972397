"""Random changes of policies and keys, on SQLite and PostgreSQL, against a model that is too simple to be wrong."""

import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bqgate.domain.audit import AuditFilter
from bqgate.domain.errors import VersionConflict
from bqgate.domain.key import Key
from bqgate.domain.policy import PolicyItem, PolicyKind
from bqgate.ledger import SqlRegistry
from tests.support.manual_clock import START
from tests.support.registries import make_event, make_key

ResultT = TypeVar("ResultT")

NAMES = st.sampled_from(["gold", "silver"])
KINDS = st.sampled_from([PolicyKind.TIER, PolicyKind.CUSTOMER])
# What a writer believes: that there is nothing, the version that is there, or one that was there or never will be.
BELIEFS = st.sampled_from(["none", "present", "present", "present", "stale"])
STEPS = st.one_of(
    st.tuples(st.just("write"), KINDS, NAMES, BELIEFS),
    st.tuples(st.just("delete"), KINDS, NAMES, BELIEFS),
    st.tuples(st.just("add"), st.integers(0, 2)),
    st.tuples(st.just("end"), st.integers(0, 2), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("append"), st.integers(0, 3)),
)


@dataclass
class Model:
    """The registry as dictionaries and lists. `revision` begins at what the examples before left."""

    revision: int
    policies: dict[tuple[PolicyKind, str], PolicyItem] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def version(self, kind: PolicyKind, name: str, belief: str) -> int:
        there = self.policies.get((kind, name))
        present = 0 if there is None else there.version
        return {"none": 0, "present": present, "stale": present - 1 if present else 7}[belief]

    def write(self, item: PolicyItem, expected: int) -> None:
        if self.version(item.kind, item.name, "present") != expected:
            raise VersionConflict
        self.revision += 1
        self.policies[item.kind, item.name] = item

    def delete(self, kind: PolicyKind, name: str, expected: int) -> None:
        if not expected or self.version(kind, name, "present") != expected:
            raise VersionConflict
        self.revision += 1
        del self.policies[kind, name]

    def add(self, key: Key) -> None:
        if key.id in self.keys:
            raise VersionConflict
        self.revision += 1
        self.keys[key.id] = key

    def end(self, key_id: str, hours: int, *, is_revoked: bool) -> None:
        if key_id not in self.keys:
            raise VersionConflict
        before = self.keys[key_id]
        self.keys[key_id] = before.ended(START + timedelta(hours=hours), is_revoked=is_revoked)
        self.revision += self.keys[key_id] != before


def conflicts(change: Callable[[], None]) -> bool:
    """Make the model's change; True where it does not take it."""
    try:
        change()
    except VersionConflict:
        return True
    return False


async def step_both(registry: SqlRegistry, model: Model, example: str, number: int, step: tuple[Any, ...]) -> None:
    """One step of the registry and the model, with the same outcome."""
    detail = f"{example}-{number}"
    event, is_refused, was_refused = make_event(detail=detail), False, True
    match step:
        case ("write", kind, name, belief):
            name = f"{example}-{name}"
            expected = model.version(kind, name, belief)
            document = {"number": number}
            item = PolicyItem(kind, name, model.revision + 1, document, START, event.actor)
            is_refused = conflicts(lambda: model.write(item, expected))
            with suppress(VersionConflict):
                written = await registry.write_policy(kind, name, document, expected_version=expected, event=event)
                was_refused = False
                assert written == item
        case ("delete", kind, name, belief):
            name = f"{example}-{name}"
            expected = model.version(kind, name, belief)
            is_refused = conflicts(lambda: model.delete(kind, name, expected))
            with suppress(VersionConflict):
                await registry.delete_policy(kind, name, expected_version=expected, event=event)
                was_refused = False
        case ("add", key_number):
            key = make_key(f"{example}-{key_number}")
            is_refused = conflicts(lambda: model.add(key))
            with suppress(VersionConflict):
                await registry.add_key(key, event)
                was_refused = False
        case ("end", key_number, hours, is_revoked):
            key_id, at = f"{example}-{key_number}", START + timedelta(hours=hours)
            is_refused = conflicts(lambda: model.end(key_id, hours, is_revoked=is_revoked))
            with suppress(VersionConflict):
                ended = await registry.end_key(key_id, ends_at=at, is_revoked=is_revoked, event=event)
                was_refused = False
                assert ended == model.keys[key_id]
        case ("append", count):
            assert len(await registry.append_audit([event] * count)) == count
            model.log.extend([detail] * count)
            return
    assert was_refused is is_refused
    model.log.extend([] if is_refused else [detail])


# Each example lives under names of its own, so that one database serves all of them.
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=20))
async def test_the_registry_does_what_the_model_does(registry: SqlRegistry, steps: Sequence[tuple[Any, ...]]) -> None:
    """After any steps both know the same policies, keys, revision and log, and every change had the same outcome."""
    example, model = uuid.uuid4().hex, Model(await registry.fetch_revision())
    for number, step in enumerate(steps):
        await step_both(registry, model, example, number, step)
    assert await registry.fetch_revision() == model.revision
    found = {(item.kind, item.name): item for item in await registry.fetch_policies() if example in item.name}
    assert found == model.policies
    assert {key.id: key for key in await registry.fetch_keys() if example in key.id} == model.keys
    newest = (await registry.fetch_audit(AuditFilter(page_size=100))).records
    details = [record.event.detail for record in reversed(newest) if example in record.event.detail]
    assert details == model.log
    assert (await registry.verify_audit()).broken is None
