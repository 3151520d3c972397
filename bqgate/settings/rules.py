"""Check what only shows when several keys are looked at together.

Called by load with the sections that are whole by themselves; a rule about a section that is not whole stays silent,
because its fault is reported already. Faults are errors; warnings are said at the start and in check-config, and the
gate runs. The rules about tiers, customers and prices are policies.rules, because they hold for admins too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from urllib.parse import urlsplit

from bqgate.domain.pricing import PricingModel
from bqgate.policies import rules as policy_rules
from bqgate.policies import shared_accounts
from bqgate.policies.budget_models import BudgetPolicy
from bqgate.policies.models import CustomerPolicy, DefaultsPolicy, PricingPolicy, TierPolicy
from bqgate.settings import cost_metric_rules, ledger_rules
from bqgate.settings.breakers_section import BreakersSection
from bqgate.settings.cost_metric_section import CostMetricSection
from bqgate.settings.degraded_section import DegradedSection
from bqgate.settings.faults import Fault
from bqgate.settings.fields import SecretUrl, is_loopback
from bqgate.settings.issuer_section import IssuerSection
from bqgate.settings.ledger_section import LedgerSection
from bqgate.settings.mirror_rules import mirror_faults
from bqgate.settings.own_queries_section import OwnQueriesSection
from bqgate.settings.refusals_section import Advice, RefusalsSection
from bqgate.settings.secret_text import why_password_is_guessable
from bqgate.settings.sections import (
    AdmissionSection,
    BudgetsSection,
    Credentials,
    IdentityMode,
    IdentitySection,
    IsolationSection,
    ObserveSection,
    RateLimitsSection,
    SettlementSection,
    UpstreamSection,
)
from bqgate.settings.server_section import ServerSection
from bqgate.settings.sweep_section import SweepSection
from bqgate.wire.authority import EVERY_HOST


@dataclass(slots=True)
class Parsed:
    """The sections, each None where it has faults of its own. `tier_names` has the faulty tiers' too."""

    server: ServerSection | None = None
    upstream: UpstreamSection | None = None
    budgets: BudgetsSection | None = None
    ledger: LedgerSection | None = None
    breakers: BreakersSection | None = None
    identity: IdentitySection | None = None
    isolation: IsolationSection | None = None
    rate_limits: RateLimitsSection | None = None
    pricing: PricingPolicy | None = None
    admission: AdmissionSection | None = None
    settlement: SettlementSection | None = None
    refusals: RefusalsSection | None = None
    own_queries: OwnQueriesSection | None = None
    sweep: SweepSection | None = None
    degraded: DegradedSection | None = None
    observe: ObserveSection | None = None
    defaults: DefaultsPolicy | None = None
    issuers: dict[str, IssuerSection] = field(default_factory=dict)
    cost_metrics: dict[str, CostMetricSection] = field(default_factory=dict)
    tiers: dict[str, TierPolicy] = field(default_factory=dict)
    customers: dict[str, CustomerPolicy] = field(default_factory=dict)
    scoped_budgets: dict[str, BudgetPolicy] = field(default_factory=dict)
    tier_names: frozenset[str] = frozenset()


def faults_of(parsed: Parsed) -> Iterator[Fault]:
    """What no command can use: tiers, customers, budgets and prices that contradict themselves, a ledger's URL."""
    if parsed.ledger:
        yield from ledger_rules.url_faults(parsed.ledger)
    for fault in policy_rules.faults_of(_policies(parsed)):
        yield Fault(fault.path, fault.message)


def serving_faults_of(parsed: Parsed) -> Iterator[Fault]:
    """What keeps a gate from serving with these settings: contradictions, and secrets, files or extras not at hand.

    Apart from the rest, because a command that only reads the ledger needs none of it: an operator's shell rarely has
    the secrets of the gate's container.
    """
    yield from _server_faults(parsed)
    yield from _upstream_faults(parsed)
    if parsed.ledger:
        yield from ledger_rules.keeping_faults(parsed.ledger, parsed.sweep)
    if parsed.ledger and parsed.upstream:
        yield from mirror_faults(parsed.ledger, parsed.upstream)
    yield from _tls_faults(parsed)
    yield from _identity_faults(parsed)
    yield from _password_faults(parsed)
    yield from _budget_store_faults(parsed)
    if parsed.settlement and parsed.settlement.poll_first_ms > parsed.settlement.poll_longest_ms:
        yield Fault("settlement.poll_first_ms", "is longer than poll_longest_ms")
    if parsed.refusals and parsed.refusals.advice is not Advice.OFF and find_spec("sqlglot") is None:
        yield Fault("refusals.advice", "needs the extra advice: pip install 'bqgate[advice]', or write off")


def warnings_of(parsed: Parsed) -> Iterator[str]:
    """What works, and is probably not meant."""
    server, upstream, pricing = parsed.server, parsed.upstream, parsed.pricing
    yield from _identity_warnings(parsed)
    yield from _payer_warnings(parsed)
    yield from cost_metric_rules.warnings_of(parsed.cost_metrics)
    if upstream and parsed.identity and keeps_apart_itself(upstream, parsed.identity):
        accounts = {name: customer.service_account for name, customer in parsed.customers.items()}
        yield from shared_accounts.warnings_of(accounts)
    if upstream and upstream.credentials is Credentials.ANONYMOUS and _host_of(upstream.url).endswith("googleapis.com"):
        yield "upstream.credentials: BigQuery answers 401 to anonymous calls; this is for the sandbox"
    if upstream and _is_in_the_clear(upstream.url):
        yield "upstream.url: http:// sends credentials and data in the clear; write https://"
    if parsed.budgets and parsed.ledger and _is_redis(parsed.budgets) and parsed.ledger.url.scheme == "sqlite":
        yield "ledger.url: a SQLite file serves the gates of one machine; replicas on several need postgresql://"
    if server and any(network.prefixlen == 0 for network in server.trusted_proxies):
        yield "server.trusted_proxies: a network of /0 is everybody; any caller can say that it calls from elsewhere"
    if pricing and pricing.model is PricingModel.ON_DEMAND and pricing.usd_per_slot_hour:
        yield "pricing.usd_per_slot_hour: the model on_demand charges no slots; this price has no effect"
    if pricing and pricing.model is PricingModel.CAPACITY and pricing.usd_per_tib:
        yield "pricing.usd_per_tib: the model capacity charges no bytes; this price has no effect"


def keeps_apart_itself(upstream: UpstreamSection, identity: IdentitySection) -> bool:
    """Whether callers who are told apart go up in the gate's own name, but for those with a service account."""
    return upstream.credentials is Credentials.SERVICE_ACCOUNT and identity.mode is IdentityMode.REQUIRED


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


def _upstream_faults(parsed: Parsed) -> Iterator[Fault]:
    upstream = parsed.upstream
    if upstream is None or upstream.service_account_file is None:
        return
    if upstream.credentials is Credentials.ANONYMOUS:
        yield Fault("upstream.service_account_file", "is not used by credentials: anonymous; leave one of them out")
    elif not upstream.service_account_file.is_file():
        yield Fault("upstream.service_account_file", f"{upstream.service_account_file} is not a file")


def _budget_store_faults(parsed: Parsed) -> Iterator[Fault]:
    """A Redis whose driver is not installed, or whose URL the driver makes nothing of."""
    if parsed.budgets is None or not _is_redis(parsed.budgets):
        return
    if find_spec("redis") is None:
        yield Fault("budgets.url", "needs the extra redis: pip install 'bqgate[redis]'")
        return
    from bqgate.budgets.redis_client import fault_of_url  # noqa: PLC0415 - redis is an extra

    fault = fault_of_url(parsed.budgets.url.reveal())
    if fault is not None:
        yield Fault("budgets.url", fault)


def _tls_faults(parsed: Parsed) -> Iterator[Fault]:
    server = parsed.server
    if server is None:
        return
    files = {"tls_cert_file": server.tls_cert_file, "tls_key_file": server.tls_key_file}
    for key, path in files.items():
        if path is None and any(files.values()):
            yield Fault(f"server.{key}", "is missing; https needs a certificate and its key")
        elif path is not None and not path.is_file():
            yield Fault(f"server.{key}", f"{path} is not a file")


def _identity_faults(parsed: Parsed) -> Iterator[Fault]:
    identity = parsed.identity
    if identity is not None:
        secret, previous = identity.token_secret, identity.previous_token_secret
        if identity.mode is IdentityMode.REQUIRED and secret is None:
            yield Fault(
                "identity.token_secret",
                "is missing, and mode: required signs its access tokens with it; make one: openssl rand -base64 48",
            )
        if previous is not None and previous == secret:
            yield Fault("identity.previous_token_secret", "is token_secret itself; leave it out, or write the old one")
    names: dict[tuple[str, str], str] = {}
    for name, issuer in parsed.issuers.items():
        first = names.setdefault((issuer.issuer, issuer.audience), name)
        if first != name:
            yield Fault(
                f"issuers.{name}", f"has issuer and audience of {first}; only one can say what a token is worth"
            )


def _password_faults(parsed: Parsed) -> Iterator[Fault]:
    """Who can write the ledger's database owns the gate, and who can write its Redis owns the budgets."""
    if parsed.identity is None or parsed.identity.mode is not IdentityMode.REQUIRED:
        return
    urls: dict[str, SecretUrl | None] = {"budgets.url": parsed.budgets.url} if parsed.budgets else {}
    if parsed.ledger:
        urls |= {"ledger.url": parsed.ledger.url, "ledger.replica_url": parsed.ledger.replica_url}
    for path, url in urls.items():
        login = None if url is None else url.login
        reason = None if login is None else why_password_is_guessable(*login)
        if reason is not None:
            yield Fault(path, f"has a password that can be guessed: {reason}; make one: openssl rand -hex 24")


def _identity_warnings(parsed: Parsed) -> Iterator[str]:
    server, identity = parsed.server, parsed.identity
    if server is None or identity is None:
        return
    if identity.public_url and _is_in_the_clear(identity.public_url):
        yield "identity.public_url: http:// sends credentials in the clear; write https://"
    if identity.mode is IdentityMode.OPEN and EVERY_HOST in server.allowed_hosts:
        yield (
            f"server.allowed_hosts: with {EVERY_HOST} a web page can read an open gate by a name of its own (DNS "
            "rebinding); list the names by which clients call it"
        )
    if server.is_loopback:
        return
    if identity.mode is IdentityMode.OPEN:
        nameless = "" if server.allowed_hosts else "; names by which clients call it belong in server.allowed_hosts"
        yield (
            f"server.host: {server.host} can be reached over the network, and identity.mode open trusts every caller; "
            f"write mode: required, or let a firewall or a proxy say who may call{nameless}"
        )
    elif server.tls_cert_file is None:
        yield (
            f"server.host: {server.host} can be reached over the network, and credentials come to it in the clear; "
            "give tls_cert_file and tls_key_file, or let only a proxy that speaks https reach it"
        )


def _payer_warnings(parsed: Parsed) -> Iterator[str]:
    """Customers that no query is charged to: where Google's tokens say who calls, no path and no name chooses one."""
    upstream, identity = parsed.upstream, parsed.identity
    if upstream is None or identity is None or identity.mode is IdentityMode.OPEN:
        return
    if upstream.credentials is not Credentials.CALLER:
        return
    for name, customer in parsed.customers.items():
        if not customer.projects and not customer.principals:
            yield (
                f"customers.{name}: no query is charged to it; write its projects or its principals, and a project "
                "that is called like it among its projects"
            )


def _policies(parsed: Parsed) -> policy_rules.Policies:
    upstream = parsed.upstream
    return policy_rules.Policies(
        tiers=parsed.tiers,
        customers=parsed.customers,
        pricing=parsed.pricing,
        defaults=parsed.defaults,
        tier_names=parsed.tier_names,
        shared_projects=parsed.isolation.shared_projects if parsed.isolation else (),
        can_impersonate=upstream is None or upstream.credentials is Credentials.SERVICE_ACCOUNT,
        budgets=parsed.scoped_budgets,
    )


def _is_redis(budgets: BudgetsSection) -> bool:
    return budgets.url.scheme != "memory"


def _host_of(url: str) -> str:
    return urlsplit(url).hostname or ""


def _is_in_the_clear(url: str) -> bool:
    return url.startswith("http:") and not is_loopback(_host_of(url))
