"""Tell in which keys two readings of the settings differ, and which of these a running gate takes over.

Called by app when the settings are read again. Pure. What leaves are paths as in the file ("tiers.gold",
"admission.hold_ttl_s"), never values: a changed password is a changed URL.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields

from pydantic import BaseModel

from bqgate.settings.load import Settings
from bqgate.settings.sections import IdentityMode

# Sections of which every key is taken over.
LIVE_SECTIONS = frozenset({"rate_limits", "pricing", "tiers", "customers", "scoped_budgets", "defaults"})

# Single keys of other sections. Every key that is not here is of things that are opened once.
LIVE_KEYS = frozenset(
    {
        "admission.headroom_ratio",
        "admission.hold_ttl_s",
        "admission.slot_ms_per_gib",
        "admission.slot_prior_weight_gib",
        "admission.unknown_estimate",
        "admission.unknown_hold_gib",
        "isolation.shared_projects",
        "observe.log_level",
        "refusals.contact",
    }
)

# Only where identity.mode was required and stays it: a gate that is open has nothing to sign.
LIVE_LOGIN_KEYS = frozenset({"identity.token_secret", "identity.previous_token_secret", "identity.token_ttl_s"})


def differences(old: Settings, new: Settings) -> tuple[str, ...]:
    """The paths in which they differ: keys, and names of whole tiers, customers and issuers."""
    before, after = dict(_values_of(old)), dict(_values_of(new))
    return tuple(path for path in {**before, **after} if before.get(path) != after.get(path))


def rotates_secrets(running: Settings, new: Settings) -> bool:
    """Whether the new token secrets can be signed with at once."""
    return running.identity.mode is IdentityMode.REQUIRED and new.identity.mode is IdentityMode.REQUIRED


def is_taken_over(path: str, running: Settings, new: Settings) -> bool:
    """Whether a running gate goes on with the new value of a path.

    Args:
        path: one of the differences.
        running: what the gate was started with.
        new: what was read now.
    """
    if path in LIVE_LOGIN_KEYS:
        return rotates_secrets(running, new)
    return path in LIVE_KEYS or path.partition(".")[0] in LIVE_SECTIONS


def _values_of(settings: Settings) -> Iterator[tuple[str, object]]:
    for field in fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, BaseModel):
            yield from _keys_of(field.name, value)
    yield from _named("issuers", settings.issuers)
    yield from _named("cost_metrics", settings.cost_metrics)
    base = settings.policy_base
    yield from _named("tiers", base.tiers)
    yield from _named("customers", base.customers)
    yield from _named("scoped_budgets", base.budgets)
    yield from _keys_of("pricing", base.pricing)
    yield from _keys_of("defaults", base.defaults)


def _keys_of(section: str, model: BaseModel) -> Iterator[tuple[str, object]]:
    for key in type(model).model_fields:
        yield f"{section}.{key}", getattr(model, key)


def _named(section: str, entries: Mapping[str, BaseModel]) -> Iterator[tuple[str, object]]:
    for name, entry in entries.items():
        yield f"{section}.{name}", entry
