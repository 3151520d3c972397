"""Load the settings: document, sections, rules, and then the domain's values.

Called by cli (serve, check-config, migrate) and by tests of the whole gate. What leaves: Settings, or SettingsInvalid
with every fault. Pure but for reading the file and the price table; the environment is an argument.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bqgate.admission.estimates.estimator import EstimateCaching
from bqgate.admission.sizing import HoldRules
from bqgate.domain.pricing import PriceList, SlotPrior
from bqgate.domain.tier import CustomerRegistry
from bqgate.domain.units import GIB
from bqgate.policies.compose import SettingsPolicies, compose
from bqgate.policies.messages import message_of, unknown_key, unquoted
from bqgate.policies.models import keys_around
from bqgate.policies.values import NAME_PATTERN
from bqgate.settings.breakers_section import BreakersSection
from bqgate.settings.cost_metric_section import CostMetricSection
from bqgate.settings.degraded_section import DegradedSection
from bqgate.settings.document import Document, read_document
from bqgate.settings.faults import Fault, SettingsInvalid
from bqgate.settings.issuer_section import IssuerSection
from bqgate.settings.ledger_section import LedgerSection
from bqgate.settings.own_queries_section import OwnQueriesSection
from bqgate.settings.prices import load_price_tables, prices_path
from bqgate.settings.refusals_section import RefusalsSection
from bqgate.settings.rules import Parsed, faults_of, serving_faults_of, warnings_of
from bqgate.settings.sections import (
    NAMED_SECTIONS,
    SECTIONS,
    AdmissionSection,
    BudgetsSection,
    Credentials,
    IdentitySection,
    IsolationSection,
    ObserveSection,
    RateLimitsSection,
    SettlementSection,
    UpstreamSection,
)
from bqgate.settings.server_section import ServerSection
from bqgate.settings.sweep_section import SweepSection
from bqgate.settlement.watched import Patience

SectionT = TypeVar("SectionT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a gate is told at its start. `effective` is all of it as it can be shown: plain values, secrets masked.

    `policy_base` is what it is told of tiers, customers and prices; `prices` and `customer_registry` are what comes of
    that as long as no admin changes it. `parsed` is what the file and the environment say, section by section.
    """

    server: ServerSection
    upstream: UpstreamSection
    budgets: BudgetsSection
    ledger: LedgerSection
    breakers: BreakersSection
    identity: IdentitySection
    issuers: Mapping[str, IssuerSection]
    isolation: IsolationSection
    rate_limits: RateLimitsSection
    admission: AdmissionSection
    settlement: SettlementSection
    own_queries: OwnQueriesSection
    sweep: SweepSection
    cost_metrics: Mapping[str, CostMetricSection]
    refusals: RefusalsSection
    degraded: DegradedSection
    observe: ObserveSection
    policy_base: SettingsPolicies
    prices: PriceList
    customer_registry: CustomerRegistry
    hold_rules: HoldRules
    estimate_caching: EstimateCaching
    patience: Patience
    warnings: tuple[str, ...]
    parsed: Parsed = field(repr=False)

    @property
    def effective(self) -> Mapping[str, Any]:
        """Made where it is shown: of thousands of customers it is megabytes, and a gate shows it to nobody."""
        return _effective(self.parsed)


def load_settings(path: Path | None, environ: Mapping[str, str], *, to_serve: bool = True) -> Settings:
    """Read the settings.

    Args:
        path: the YAML file; None: built-in defaults and the environment only.
        environ: the environment's variables; those that begin with BQGATE_ and hold a double underscore count.
        to_serve: False for a command that serves nobody: what only a gate needs, like its secrets, may be missing.

    Raises:
        SettingsInvalid: with every fault that was found.
    """
    document = read_document(path, environ)
    parsed = Parsed()
    faults = [*document.faults, *_parse(document, parsed)]
    together = [*(serving_faults_of(parsed) if to_serve else ()), *faults_of(parsed)]
    faults.extend(_with_source(fault, document) for fault in together)
    if faults:
        raise SettingsInvalid(faults)
    return _settings(parsed)


def _parse(document: Document, parsed: Parsed) -> Iterator[Fault]:
    """Validate each section on its own, so that a fault in one does not hide those of another."""
    for name in document.tree:
        if name not in SECTIONS and name not in NAMED_SECTIONS:
            yield Fault(name, unknown_key([*SECTIONS, *NAMED_SECTIONS], name))
    for name, model in SECTIONS.items():
        section, faults = _validate(model, document.tree.get(name, {}), name, document)
        setattr(parsed, name, section)
        yield from faults
    for name, model in NAMED_SECTIONS.items():
        entries = document.tree.get(name, {})
        if not isinstance(entries, dict):
            yield Fault(name, "must be a mapping of names to their keys")
            continue
        for entry, value in entries.items():
            if not re.fullmatch(NAME_PATTERN, entry):
                yield Fault(f"{name}.{entry}", "is no name; names are of letters, digits, and . _ : - inside")
            section, faults = _validate(model, {} if value is None else value, f"{name}.{entry}", document)
            yield from faults
            if section is not None:
                getattr(parsed, name)[entry] = section
    tiers = document.tree["tiers"]
    parsed.tier_names = frozenset(tiers) if isinstance(tiers, dict) else frozenset()


def _validate(
    model: type[BaseModel], value: object, path: str, document: Document
) -> tuple[BaseModel | None, list[Fault]]:
    try:
        return model.model_validate(value), []
    except ValidationError as invalid:
        return None, [_fault(error, model, path, document) for error in invalid.errors(include_url=False)]


def _fault(error: ErrorDetails, model: type[BaseModel], path: str, document: Document) -> Fault:
    known = keys_around(model, error["loc"])
    where = ".".join([path, *(str(part) for part in error["loc"])])
    # What stands in a file may be another key's secret, mounted where it does not belong.
    is_from_file = document.sources.get(where, "").endswith("_FILE")
    message, given = message_of(error, known, may_quote=not is_from_file), error["input"]
    if is_from_file and isinstance(given, str):
        message = unquoted(message, given)
    return _with_source(Fault(where, message), document)


def _with_source(fault: Fault, document: Document) -> Fault:
    return Fault(fault.path, fault.message, document.sources.get(fault.path))


def _settings(parsed: Parsed) -> Settings:
    """Values of the domain, from sections that have no fault."""
    admission, settlement = _whole(parsed.admission), _whole(parsed.settlement)
    policy_base = _policy_base(parsed)
    policies = compose(policy_base, ())
    return Settings(
        server=_whole(parsed.server),
        upstream=_whole(parsed.upstream),
        budgets=_whole(parsed.budgets),
        ledger=_whole(parsed.ledger),
        breakers=_whole(parsed.breakers),
        identity=_whole(parsed.identity),
        issuers=parsed.issuers,
        isolation=_whole(parsed.isolation),
        rate_limits=_whole(parsed.rate_limits),
        admission=admission,
        settlement=settlement,
        own_queries=_whole(parsed.own_queries),
        sweep=_whole(parsed.sweep),
        cost_metrics=parsed.cost_metrics,
        refusals=_whole(parsed.refusals),
        degraded=_whole(parsed.degraded),
        observe=_whole(parsed.observe),
        policy_base=policy_base,
        prices=policies.prices,
        customer_registry=policies.customer_registry,
        hold_rules=HoldRules(
            headroom_ppm=admission.headroom_ratio.ppm,
            unknown=admission.unknown_estimate,
            unknown_hold_bytes=admission.unknown_hold_gib * GIB,
            slot_prior=SlotPrior(admission.slot_ms_per_gib, admission.slot_prior_weight_gib),
        ),
        estimate_caching=EstimateCaching(
            ttl_s=admission.estimate_ttl_s,
            max_entries=admission.estimate_cache_entries,
            max_dry_runs=admission.dry_runs_max,
            max_waiting=admission.dry_runs_waiting_max,
            waiting_deadline_s=admission.waiting_deadline_s,
        ),
        patience=Patience(
            first_delay_ms=settlement.poll_first_ms,
            longest_delay_ms=settlement.poll_longest_ms,
            absent_for_s=settlement.absent_for_s,
        ),
        warnings=tuple(warnings_of(parsed)),
        parsed=parsed,
    )


def _policy_base(parsed: Parsed) -> SettingsPolicies:
    return SettingsPolicies(
        tiers=parsed.tiers,
        customers=parsed.customers,
        budgets=parsed.scoped_budgets,
        pricing=_whole(parsed.pricing),
        defaults=_whole(parsed.defaults),
        price_tables=load_price_tables(prices_path()),
        shared_projects=frozenset(_whole(parsed.isolation).shared_projects),
        can_impersonate=_whole(parsed.upstream).credentials is Credentials.SERVICE_ACCOUNT,
    )


def _effective(parsed: Parsed) -> dict[str, Any]:
    single = {name: getattr(parsed, name).model_dump(mode="json") for name in SECTIONS}
    named = {
        name: {entry: section.model_dump(mode="json") for entry, section in getattr(parsed, name).items()}
        for name in NAMED_SECTIONS
    }
    return {**single, **named}


def _whole(section: SectionT | None) -> SectionT:
    assert section is not None, "without a fault every section is there"
    return section
