"""Say which rules hold right now: the directory of customers and the prices, and what admins put over the settings.

A PolicyItem is one document as an admin wrote it (tier, customer, budget or pricing), kept by the Registry. Where there
is one, it is what holds, whole; where there is none, the settings file's is. PolicySnapshot is the outcome as the
request path reads it (ports.PolicySource): one frozen value, replaced when something changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from bqgate.domain.pricing import PriceList
from bqgate.domain.tier import CustomerRegistry


class PolicyKind(StrEnum):
    """What an admin can change. A budget is a customer's own limits, over those of its tier; pricing has one item."""

    TIER = "tier"
    CUSTOMER = "customer"
    BUDGET = "budget"
    PRICING = "pricing"


# The name of the one item of kind PRICING.
PRICING_NAME = "pricing"


@dataclass(frozen=True, slots=True)
class PolicyItem:
    """One document. `version` counts from 1 with every change of the registry, and is never used again."""

    kind: PolicyKind
    name: str
    version: int
    document: Mapping[str, Any]
    changed_at: datetime
    changed_by: str


@dataclass(frozen=True, slots=True)
class PolicySnapshot:
    """What holds at one moment."""

    customer_registry: CustomerRegistry
    prices: PriceList
