"""Check what only shows when several keys are looked at together.

Called by load with the sections that are whole by themselves; a rule about a section that is not whole stays silent,
because its fault is reported already. Faults are errors; warnings are said at the start and in check-config, and the
gate runs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from urllib.parse import urlsplit

from bqgate.domain.money import NANOS_PER_USD
from bqgate.domain.pricing import PricingModel
from bqgate.domain.tier import ThresholdAction
from bqgate.settings.faults import Fault
from bqgate.settings.sections import (
    AdmissionSection,
    BudgetsSection,
    Credentials,
    CustomerSection,
    DefaultsSection,
    IdentityMode,
    IdentitySection,
    LedgerSection,
    ObserveSection,
    PricingSection,
    ServerSection,
    SettlementSection,
    TierSection,
    UpstreamSection,
)

# A price beyond it is a slip of units: list prices are below 12 dollars per TiB and 1 dollar per slot-hour.
_PRICE_NANOS_MAX = 1_000 * NANOS_PER_USD


@dataclass(slots=True)
class Parsed:
    """The sections, each None where it has faults of its own. `tier_names` has the faulty tiers' too."""

    server: ServerSection | None = None
    upstream: UpstreamSection | None = None
    budgets: BudgetsSection | None = None
    ledger: LedgerSection | None = None
    identity: IdentitySection | None = None
    pricing: PricingSection | None = None
    admission: AdmissionSection | None = None
    settlement: SettlementSection | None = None
    observe: ObserveSection | None = None
    defaults: DefaultsSection | None = None
    tiers: dict[str, TierSection] = field(default_factory=dict)
    customers: dict[str, CustomerSection] = field(default_factory=dict)
    tier_names: frozenset[str] = frozenset()


def faults_of(parsed: Parsed) -> Iterator[Fault]:
    """Everything that contradicts itself."""
    yield from _server_faults(parsed)
    yield from _upstream_faults(parsed)
    if parsed.identity and parsed.identity.mode is IdentityMode.REQUIRED:
        yield Fault("identity.mode", "required is not yet available; write open, and let only trusted callers reach it")
    yield from _price_faults(parsed)
    if parsed.settlement and parsed.settlement.poll_first_ms > parsed.settlement.poll_longest_ms:
        yield Fault("settlement.poll_first_ms", "is longer than poll_longest_ms")
    for name, tier in parsed.tiers.items():
        yield from _tier_faults(f"tiers.{name}", tier)
    yield from _customer_faults(parsed)


def warnings_of(parsed: Parsed) -> Iterator[str]:
    """What works, and is probably not meant."""
    server, upstream, pricing = parsed.server, parsed.upstream, parsed.pricing
    if server and not server.is_loopback:
        yield (
            f"server.host: {server.host} can be reached over the network, and identity.mode open trusts every caller; "
            "let a firewall or a proxy say who may call"
        )
    if upstream and upstream.credentials is Credentials.ANONYMOUS and _host_of(upstream.url).endswith("googleapis.com"):
        yield "upstream.credentials: BigQuery answers 401 to anonymous calls; this is for the sandbox"
    if (
        upstream
        and upstream.url.startswith("http:")
        and _host_of(upstream.url) not in {"127.0.0.1", "localhost", "::1"}
    ):
        yield "upstream.url: http:// sends credentials and data in the clear; write https://"
    if parsed.budgets and parsed.ledger and _is_redis(parsed.budgets) and parsed.ledger.url.scheme == "sqlite":
        yield "ledger.url: a SQLite file serves the gates of one machine; replicas on several need postgresql://"
    if server and server.workers > 1:
        yield "server.workers: /metrics shows the numbers of the worker that answers; to see all, run replicas of one"
    if pricing and pricing.model is PricingModel.ON_DEMAND and pricing.usd_per_slot_hour:
        yield "pricing.usd_per_slot_hour: the model on_demand charges no slots; this price has no effect"
    if pricing and pricing.model is PricingModel.CAPACITY and pricing.usd_per_tib:
        yield "pricing.usd_per_tib: the model capacity charges no bytes; this price has no effect"


def _server_faults(parsed: Parsed) -> Iterator[Fault]:
    server, budgets = parsed.server, parsed.budgets
    if server is None:
        return
    if server.control_port == server.port:
        yield Fault("server.control_port", "is the data plane's port too; leave it out, and both share that port")
    if server.workers > 1 and budgets and not _is_redis(budgets):
        yield Fault(
            "server.workers",
            f"{server.workers} processes need budgets they share; set budgets.url to a redis:// URL, or workers: 1",
        )
    if parsed.upstream and parsed.upstream.url == f"http://{server.host}:{server.port}":
        yield Fault("upstream.url", "is this gate itself; write where BigQuery or the sandbox is")
    if server.workers > 1 and server.port == 0:
        yield Fault("server.port", "several workers cannot share a port that is chosen at random; write a port")


def _upstream_faults(parsed: Parsed) -> Iterator[Fault]:
    upstream = parsed.upstream
    if upstream is None or upstream.service_account_file is None:
        return
    if upstream.credentials is Credentials.ANONYMOUS:
        yield Fault("upstream.service_account_file", "is not used by credentials: anonymous; leave one of them out")
    elif not upstream.service_account_file.is_file():
        yield Fault("upstream.service_account_file", f"{upstream.service_account_file} is not a file")


def _price_faults(parsed: Parsed) -> Iterator[Fault]:
    if parsed.pricing is None:
        return
    prices = {"usd_per_tib": parsed.pricing.usd_per_tib, "usd_per_slot_hour": parsed.pricing.usd_per_slot_hour}
    for key, price in prices.items():
        if price is not None and price.nanos == 0:
            yield Fault(f"pricing.{key}", "a price of 0 makes every query free; choose another model, or mode: off")
        if price is not None and price.nanos > _PRICE_NANOS_MAX:
            yield Fault(f"pricing.{key}", f"{price} is no price of one unit; the most is 1000.00")


def _tier_faults(path: str, tier: TierSection) -> Iterator[Fault]:
    daily = tier.daily_usd
    if daily.nanos > tier.monthly_usd.nanos:
        yield Fault(f"{path}.daily_usd", f"{daily} is more than monthly_usd, {tier.monthly_usd}")
    if daily.nanos > tier.emergency_usd.nanos:
        yield Fault(f"{path}.emergency_usd", f"{tier.emergency_usd} is less than daily_usd, {daily}")
    if tier.query_usd and tier.query_usd.nanos > daily.nanos:
        yield Fault(f"{path}.query_usd", f"{tier.query_usd} is more than daily_usd, {daily}")
    if tier.grace_minutes:
        yield Fault(f"{path}.grace_minutes", "grace is not yet available; write 0 or leave it out")
    if any(earlier.used_ratio.ppm >= later.used_ratio.ppm for earlier, later in pairwise(tier.thresholds)):
        yield Fault(f"{path}.thresholds", "must ascend: each used_ratio is larger than the one before")
    if any(threshold.used_ratio.ppm == 0 for threshold in tier.thresholds):
        yield Fault(f"{path}.thresholds", "a used_ratio of 0 is passed before anything is spent; leave it out")
    throttles = [threshold for threshold in tier.thresholds if threshold.action is ThresholdAction.THROTTLE]
    if len(throttles) > 1:
        yield Fault(f"{path}.thresholds", "has more than one throttle; the first is the only one that shows")


def _customer_faults(parsed: Parsed) -> Iterator[Fault]:
    known = ", ".join(sorted(parsed.tier_names))
    if parsed.defaults and parsed.defaults.tier not in parsed.tier_names:
        yield Fault("defaults.tier", f"there is no tier {parsed.defaults.tier!r}; there are {known}")
    owners: dict[str, str] = {}
    for name, customer in parsed.customers.items():
        if customer.tier is not None and customer.tier not in parsed.tier_names:
            yield Fault(f"customers.{name}.tier", f"there is no tier {customer.tier!r}; there are {known}")
        for project in customer.projects:
            owner = owners.setdefault(project, name)
            if owner != name:
                yield Fault(f"customers.{name}.projects", f"{project} is {owner}'s already; only one can pay for it")


def owners_of(customers: Mapping[str, CustomerSection]) -> dict[str, str]:
    """Who pays for which project."""
    return {project: name for name, customer in customers.items() for project in customer.projects}


def _is_redis(budgets: BudgetsSection) -> bool:
    return budgets.url.scheme != "memory"


def _host_of(url: str) -> str:
    return urlsplit(url).hostname or ""
