"""Give tests of policies what the settings say, items and events of admins, and a journal to look into."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bqgate.domain.audit import AuditEvent
from bqgate.domain.policy import PolicyItem, PolicyKind
from bqgate.observe.logs import make_logger
from bqgate.observe.metrics import Metrics
from bqgate.observe.telemetry import PrometheusTelemetry
from bqgate.policies.compose import SettingsPolicies
from bqgate.policies.models import CustomerPolicy, DefaultsPolicy, PricingPolicy, TierPolicy
from bqgate.policies.prices import PriceTables
from tests.support.manual_clock import START, ManualClock

STANDARD = {"daily_usd": "10", "monthly_usd": "300", "emergency_usd": "50"}
GOLD = {"daily_usd": "100", "monthly_usd": "1000", "emergency_usd": "100", "query_usd": "5"}


def make_base(**changes: Any) -> SettingsPolicies:
    """Settings with the tiers standard and premium and the customer acme, unless told otherwise."""
    given: dict[str, Any] = {
        "tiers": {
            "standard": TierPolicy.model_validate(STANDARD),
            "premium": TierPolicy.model_validate(STANDARD | {"daily_usd": "50"}),
        },
        "customers": {"acme": CustomerPolicy(projects=("acme-prod",), principals=("acme.example",))},
        "pricing": PricingPolicy(),
        "defaults": DefaultsPolicy(),
        "price_tables": PriceTables({"elsewhere": 6_250_000_000}, {"elsewhere": 60_000_000}),
    }
    return SettingsPolicies(**(given | changes))


def make_item(kind: PolicyKind, name: str, document: Mapping[str, Any], version: int = 1) -> PolicyItem:
    """What Ann wrote."""
    return PolicyItem(kind, name, version, document, START, "ann@acme.example")


def event_of(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> AuditEvent:
    """The record of a change that Ann made."""
    return AuditEvent(START, "policy.changed", "ann@acme.example", "policies", before=before, after=after)


@dataclass(slots=True)
class Told:
    """A journal, and what it was told."""

    clock: ManualClock
    lines: io.StringIO = field(default_factory=io.StringIO)
    metrics: Metrics = field(default_factory=Metrics)

    @property
    def telemetry(self) -> PrometheusTelemetry:
        return PrometheusTelemetry(self.metrics, make_logger(self.lines, self.clock))

    def count_of(self, event: str) -> int:
        """How many lines there are of an event."""
        return self.lines.getvalue().count(event)
