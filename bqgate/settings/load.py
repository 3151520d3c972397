"""Load the settings: document, sections, rules, and then the domain's values.

Called by cli (serve, check-config, migrate) and by tests of the whole gate. What leaves: Settings, or SettingsInvalid
with every fault. Pure but for reading the file and the price table; the environment is an argument.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bqgate.admission.estimate import EstimateCaching
from bqgate.admission.sizing import HoldRules
from bqgate.domain.pricing import PriceList, SlotPrior
from bqgate.domain.tier import Customer, Directory, Threshold, Tier
from bqgate.domain.units import GIB
from bqgate.settings.document import Document, read_document
from bqgate.settings.faults import Fault, SettingsInvalid, message_of, unknown_key
from bqgate.settings.prices import load_price_tables, price_list, prices_path
from bqgate.settings.rules import Parsed, faults_of, owners_of, warnings_of
from bqgate.settings.sections import (
    NAME_PATTERN,
    NAMED_SECTIONS,
    SECTIONS,
    AdmissionSection,
    BudgetsSection,
    IdentitySection,
    LedgerSection,
    ObserveSection,
    Section,
    ServerSection,
    SettlementSection,
    ThresholdSection,
    TierSection,
    UpstreamSection,
)
from bqgate.settlement.watched import Patience

SectionT = TypeVar("SectionT", bound=Section)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a gate is told at its start. `effective` is all of it as it can be shown: plain values, secrets masked."""

    server: ServerSection
    upstream: UpstreamSection
    budgets: BudgetsSection
    ledger: LedgerSection
    identity: IdentitySection
    admission: AdmissionSection
    settlement: SettlementSection
    observe: ObserveSection
    prices: PriceList
    directory: Directory
    hold_rules: HoldRules
    estimate_caching: EstimateCaching
    patience: Patience
    warnings: tuple[str, ...]
    effective: Mapping[str, Any] = field(repr=False)


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the settings.

    Args:
        path: the YAML file; None: built-in defaults and the environment only.
        environ: the environment's variables; those that begin with BQGATE_ and hold a double underscore count.

    Raises:
        SettingsInvalid: with every fault that was found.
    """
    document = read_document(path, environ)
    parsed = Parsed()
    faults = [*document.faults, *_parse(document, parsed)]
    faults.extend(_with_source(fault, document) for fault in faults_of(parsed))
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


def _validate(model: type[Section], value: object, path: str, document: Document) -> tuple[Section | None, list[Fault]]:
    try:
        return model.model_validate(value), []
    except ValidationError as invalid:
        return None, [_fault(error, model, path, document) for error in invalid.errors(include_url=False)]


def _fault(error: ErrorDetails, model: type[Section], path: str, document: Document) -> Fault:
    is_nested = len(error["loc"]) > 1
    known = ThresholdSection.model_fields if is_nested else model.model_fields  # thresholds are all that nests
    where = ".".join([path, *(str(part) for part in error["loc"])])
    return _with_source(Fault(where, message_of(error, tuple(known))), document)


def _with_source(fault: Fault, document: Document) -> Fault:
    return Fault(fault.path, fault.message, document.sources.get(fault.path))


def _settings(parsed: Parsed) -> Settings:
    """Values of the domain, from sections that have no fault."""
    admission, settlement = _whole(parsed.admission), _whole(parsed.settlement)
    return Settings(
        server=_whole(parsed.server),
        upstream=_whole(parsed.upstream),
        budgets=_whole(parsed.budgets),
        ledger=_whole(parsed.ledger),
        identity=_whole(parsed.identity),
        admission=admission,
        settlement=settlement,
        observe=_whole(parsed.observe),
        prices=price_list(_whole(parsed.pricing), load_price_tables(prices_path())),
        directory=_directory(parsed),
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
        ),
        patience=Patience(first_delay_ms=settlement.poll_first_ms, longest_delay_ms=settlement.poll_longest_ms),
        warnings=tuple(warnings_of(parsed)),
        effective=_effective(parsed),
    )


def _directory(parsed: Parsed) -> Directory:
    defaults = _whole(parsed.defaults)
    tiers = {name: _tier(name, section) for name, section in parsed.tiers.items()}
    customers = {
        name: Customer(
            id=name,
            tier=tiers[section.tier or defaults.tier],
            mode=section.mode or defaults.mode,
            zone=section.time_zone,
        )
        for name, section in parsed.customers.items()
    }
    return Directory(
        customers=customers,
        customer_by_project=owners_of(parsed.customers),
        default_tier=tiers[defaults.tier],
        default_mode=defaults.mode,
    )


def _tier(name: str, section: TierSection) -> Tier:
    return Tier(
        name=name,
        daily_nanos=section.daily_usd.nanos,
        monthly_nanos=section.monthly_usd.nanos,
        emergency_nanos=section.emergency_usd.nanos,
        query_nanos=section.query_usd.nanos if section.query_usd else None,
        throttle_wait_ms=section.throttle_wait_ms,
        thresholds=tuple(Threshold(each.used_ratio.ppm, each.action) for each in section.thresholds),
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
