"""Who is there in a chaos run: customers, projects, budgets, limits and prices, and the settings file that says so.

Every number of the audit begins here and in plan.py; nothing is read back from a gate. Limits are cents of a day. At
10.24 dollars per TiB a GiB costs a cent.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NANOS_PER_CENT = 10_000_000
FIRST_USD_PER_TIB = "10.24"
# What a script, which no dry run bounds, is held at.
UNKNOWN_GIB = 5
# In seconds. The longest that a query may wait in a gate before it is sent; how old an orphan is at least, which is
# longer than the gates' clocks differ.
WAIT_S_MAX = 12.0
ORPHAN_AGE_S = 40
ABSENT_FOR_S = 5
TOKEN_SECRET = "chaos-" + 8 * "K7vQ2mXw"

CUSTOMER_OF = {
    "acme-prod": "acme",
    "acme-dev": "acme",
    "globex-data": "globex",
    "initech-reports": "initech",
    "umbrella-a": "umbrella",
    "umbrella-b": "umbrella",
    "stark-lab": "stark",
}
WORKLOADS = ("nightly", "dashboards")
_MONTH_CENTS = 500_000


def drawn_limits(chance: random.Random) -> "Limits":
    """Limits that are reached early in one run and late in another."""
    usual = Limits()

    def drawn(cents: int) -> int:
        return max(10, int(cents * chance.choice((0.4, 0.7, 1, 1, 1.5, 2.5))))

    graced = drawn(usual.tiers["graced"])
    return Limits(
        tiers={name: drawn(cents) for name, cents in usual.tiers.items()} | {"graced": graced},
        emergency_cents=graced + drawn(40),
        budgets={name: drawn(cents) for name, cents in usual.budgets.items()},
    )


def principal_of(project: str) -> str:
    """Who asks in a project."""
    return f"{project}@example.com"


@dataclass
class Limits:
    """What the settings say now, by the name of a tier or a budget; cents of a day."""

    tiers: dict[str, int] = field(
        default_factory=lambda: {"tight": 60, "graced": 40, "small": 25, "wide": 600, "middling": 250, "standard": 50}
    )
    emergency_cents: int = 90
    budgets: dict[str, int] = field(default_factory=lambda: {"nightly": 70, "each": 130, "everybody": 400})
    tier_of: dict[str, str] = field(
        default_factory=lambda: {
            "acme": "tight",
            "globex": "graced",
            "initech": "small",
            "umbrella": "wide",
            "stark": "standard",
        }
    )
    usd_per_tib: str = FIRST_USD_PER_TIB

    def of_windows(self) -> dict[str, int]:
        """The limit of a day in nano-dollars, by what it is about; what only observes has none."""
        cents = {
            "customer acme": self.tiers[self.tier_of["acme"]],
            "customer globex": self.emergency_cents,  # its own limit may be passed while grace lasts, this one never
            "customer umbrella": self.tiers[self.tier_of["umbrella"]],
            "customer stark": self.tiers[self.tier_of["stark"]],
            "workload umbrella/nightly": self.budgets["nightly"],
            "deployment": self.budgets["everybody"],
        }
        cents |= {
            f"principal umbrella/{principal_of(project)}": self.budgets["each"]
            for project, customer in CUSTOMER_OF.items()
            if customer == "umbrella"
        }
        return {name: amount * NANOS_PER_CENT for name, amount in cents.items()}


def settings_document(
    limits: Limits,
    *,
    upstream_url: str,
    budgets_url: str,
    ledger_url: str,
    port: int,
    zones: Mapping[str, str],
) -> dict[str, Any]:
    """A settings file as a user writes it. Times are short, so that what the gate puts off comes within the run."""
    return {
        "server": {"port": port},
        "upstream": {"url": upstream_url, "credentials": "anonymous", "call_timeout_s": 5, "control_timeout_s": 10},
        "budgets": {"url": budgets_url} | ({} if budgets_url == "memory://" else {"timeout_ms": 1_000}),
        "ledger": {"url": ledger_url, "timeout_ms": 2_000},
        "pricing": {"model": "on_demand", "usd_per_tib": limits.usd_per_tib},
        "admission": {
            "headroom_ratio": "0",
            "estimate_ttl_s": 0,
            "unknown_hold_gib": UNKNOWN_GIB,
            "waiting_deadline_s": 5,
        },
        "settlement": {
            "poll_first_ms": 50,
            "poll_longest_ms": 500,
            "absent_for_s": ABSENT_FOR_S,
            "orphan_age_s": ORPHAN_AGE_S,
            "reconcile_interval_s": 3,
        },
        # What callers let run past the gate is found and booked while the run lasts.
        "sweep": {"interval_s": 2},
        # Callers log in, because only who is known may change what holds. They share one account.
        "identity": {"mode": "required", "token_secret": TOKEN_SECRET},
        "isolation": {"unknown_tables": "allow"},
        # Where it is open, a gate that ends loses the record of what it let through, until a sweep finds it.
        "degraded": {"ledger": "closed"},
        "breakers": {"upstream_cooldown_s": 1, "stores_cooldown_s": 1},
        "rate_limits": {"budget_checks_per_minute": 100_000, "other_per_minute": 100_000},
        "observe": {"log_format": "json"},
        "tiers": {name: _tier(name, cents, limits.emergency_cents) for name, cents in limits.tiers.items()},
        "customers": {
            customer: {
                "tier": limits.tier_of[customer],
                "projects": [project for project, owner in CUSTOMER_OF.items() if owner == customer],
                "time_zone": zones.get(customer, "UTC"),
                "mode": "observe" if customer == "initech" else "enforce",
            }
            for customer in limits.tier_of
        },
        "scoped_budgets": {
            "nightly": {"customer": "umbrella", "workload": "nightly", "daily_usd": _usd(limits.budgets["nightly"])},
            "each": {"customer": "umbrella", "principal": "*", "daily_usd": _usd(limits.budgets["each"])},
            "everybody": {"deployment": True, "daily_usd": _usd(limits.budgets["everybody"])},
        },
    }


def _tier(name: str, cents: int, emergency_cents: int) -> dict[str, Any]:
    has_grace = name == "graced"
    return {
        "daily_usd": _usd(cents),
        "monthly_usd": _usd(_MONTH_CENTS),
        "emergency_usd": _usd(emergency_cents if has_grace else _MONTH_CENTS),
        "grace_minutes": 15 if has_grace else 0,
        "throttle_wait_ms": 200,
        "thresholds": [{"used_ratio": "0.8", "action": "throttle"}],
    }


def _usd(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"
