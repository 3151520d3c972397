"""List every key of the settings: its type, default, bounds and meaning.

Read by load (to validate), rules (to compare), and by the house test that holds docs/settings.md and
config/bqgate.example.yaml to it. Frozen: the settings of a running gate do not change. Units stand in the keys. Tiers,
customers, prices and defaults are policies.models, because admins write them too.
"""

import logging
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, Field

from bqgate.admission.sizing import UnknownEstimate
from bqgate.observe.logs import LogFormat
from bqgate.policies.budget_models import BudgetPolicy
from bqgate.policies.models import CustomerPolicy, DefaultsPolicy, PricingPolicy, TierPolicy
from bqgate.policies.values import ProjectId, Ratio, Share, Whole
from bqgate.settings.breakers_section import BreakersSection
from bqgate.settings.cost_metric_section import CostMetricSection
from bqgate.settings.degraded_section import DegradedSection
from bqgate.settings.fields import BudgetsUrl, SecretUrl, TokenSecret, WebUrl
from bqgate.settings.issuer_section import IssuerSection
from bqgate.settings.ledger_section import LedgerSection
from bqgate.settings.own_queries_section import OwnQueriesSection
from bqgate.settings.refusals_section import RefusalsSection
from bqgate.settings.section import Section
from bqgate.settings.server_section import ServerSection
from bqgate.settings.sweep_section import SweepSection


class Credentials(StrEnum):
    """Whose credentials go to BigQuery."""

    CALLER = "caller"
    SERVICE_ACCOUNT = "service_account"
    ANONYMOUS = "anonymous"


class IdentityMode(StrEnum):
    """Whether callers prove to the gate who they are."""

    OPEN = "open"
    REQUIRED = "required"


class UnknownTables(StrEnum):
    """What becomes of a query of which BigQuery does not say what it reads."""

    REFUSE = "refuse"
    ALLOW = "allow"


class LogLevel(StrEnum):
    """The least important line that is still written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class UpstreamSection(Section):
    """Where BigQuery is, and as whom the gate calls it."""

    url: WebUrl = Field("https://bigquery.googleapis.com", description="BigQuery, a private endpoint, or the sandbox.")
    credentials: Credentials = Field(
        Credentials.CALLER,
        description="caller: each call goes up with the caller's token; service_account: with the gate's own; "
        "anonymous: with none.",
    )
    service_account_file: Path | None = Field(
        None,
        description="Key file of the gate's own credentials; without it, Google's application default credentials.",
    )
    connect_timeout_s: Whole = Field(10, ge=1, le=60, description="How long a connection to BigQuery may take.")
    read_timeout_s: Whole = Field(
        240, ge=10, le=3600, description="How long an answer may let wait; BigQuery's own long polls take 200 s."
    )
    poll_slack_s: Whole = Field(
        60, ge=1, le=3600, description="How much later than its request's timeoutMs the answer of a query may come."
    )
    upload_timeout_s: Whole = Field(240, ge=10, le=3600, description="How long the answer of an upload may let wait.")
    control_timeout_s: Whole = Field(
        60, ge=1, le=3600, description="How long the answer of everything else may let wait, jobs.insert too."
    )
    call_timeout_s: Whole = Field(
        30, ge=1, le=240, description="How long the gate's own calls (dry runs, jobs.get) may take."
    )


class BudgetsSection(Section):
    """Where budgets and holds are kept."""

    url: BudgetsUrl = Field(
        SecretUrl("memory://"),
        description="memory:// (one process, rebuilt from the ledger), redis://, rediss://, unix://, and with "
        "+sentinel or +cluster behind either of the first two.",
    )
    timeout_ms: Whole = Field(1_000, ge=10, le=60_000, description="How long Redis may take to answer.")
    connections_max: Whole = Field(50, ge=1, le=1_000, description="Connections to Redis.")


class IdentitySection(Section):
    """Who callers are."""

    mode: IdentityMode = Field(
        IdentityMode.OPEN, description="open: every caller is trusted; required: every caller proves who it is."
    )
    token_secret: TokenSecret | None = Field(
        None, description="Signs the access tokens of the gate; needed for required. openssl rand -base64 48 makes one."
    )
    previous_token_secret: TokenSecret | None = Field(
        None, description="The secret before this one: tokens that it signed are still taken."
    )
    token_ttl_s: Whole = Field(900, ge=300, le=3600, description="How long an access token of the gate works.")
    public_url: WebUrl | None = Field(
        None,
        description="Where callers reach the gate, for key files, uploads and the discovery document. Without it, the "
        "address that it listens on, or that a request names.",
    )
    clock_skew_s: Whole = Field(60, ge=0, le=300, description="How far the clocks of callers and issuers may differ.")
    failed_logins_per_minute: Whole = Field(
        30,
        ge=1,
        le=10_000,
        description="Refused logins of one key from one address, after which more get 429; unknown keys count as one.",
    )
    open_metrics: bool = Field(False, description="true: /metrics needs no login, for a Prometheus without one.")


class IsolationSection(Section):
    """What customers may touch of one another's, where all go up to BigQuery with the gate's own credentials."""

    shared_projects: tuple[ProjectId, ...] = Field(
        (), max_length=1000, description="Projects in which every customer may run jobs; each sees only its own."
    )
    unknown_tables: UnknownTables = Field(
        UnknownTables.REFUSE,
        description="A query of which BigQuery does not say all that it reads: refuse, or allow.",
    )


class RateLimitsSection(Section):
    """How often one principal may ask the control plane."""

    costs_per_minute: Whole = Field(10, ge=1, le=100_000, description="Questions for costs.")
    budget_checks_per_minute: Whole = Field(20, ge=1, le=100_000, description="Questions for budgets, and checks.")
    analytics_per_minute: Whole = Field(5, ge=1, le=100_000, description="Questions for analytics.")
    reports_per_minute: Whole = Field(5, ge=1, le=100_000, description="Reports.")
    other_per_minute: Whole = Field(120, ge=1, le=100_000, description="Everything else.")


class AdmissionSection(Section):
    """How queries are estimated and held."""

    headroom_ratio: Ratio = Field(Share(50_000), description="Share added to an estimate when its cost is held.")
    estimate_ttl_s: Whole = Field(60, ge=0, le=3600, description="How long an estimate is used again.")
    estimate_cache_entries: Whole = Field(10_000, ge=1, le=1_000_000, description="How many estimates are kept.")
    dry_runs_max: Whole = Field(100, ge=1, le=1_000, description="Dry runs that are under way at once.")
    dry_runs_waiting_max: Whole = Field(
        10_000, ge=0, le=100_000, description="Dry runs that wait for that; more are sent away with 429."
    )
    unknown_estimate: UnknownEstimate = Field(
        UnknownEstimate.CAP,
        description="A query that no dry run bounds: cap holds and caps it at unknown_hold_gib, reject refuses it, "
        "allow holds the same and does not cap it.",
    )
    unknown_hold_gib: Whole = Field(
        100,
        ge=1,
        le=1_000_000,
        description="What is held for such a query, in GiB billed, or what its dry run counts where that is more.",
    )
    slot_ms_per_gib: Whole = Field(
        10_000, ge=0, le=10**9, description="Slot time per GiB that is believed of a customer without history."
    )
    slot_prior_weight_gib: Whole = Field(
        100, ge=0, le=10**6, description="How many GiB of history weigh as much as that belief."
    )
    hold_ttl_s: Whole = Field(
        90_000,
        ge=3_600,
        le=2_592_000,
        description="When a job nobody hears of is booked at its hold; BigQuery's scripts may run 24 h.",
    )
    waiting_max: Whole = Field(
        1_000, ge=0, le=100_000, description="Queries that wait their turn at once; more are sent away with 429."
    )
    waiting_deadline_s: Whole = Field(
        30, ge=1, le=30, description="How long one may wait before it is sent away; clients give up at 60 s."
    )
    refusal_ttl_s: Whole = Field(
        5,
        ge=0,
        le=60,
        description="How long repeats of a refusal are booked as one; 0: each by itself.",
    )
    running_max: Whole | None = Field(
        None, ge=1, le=100_000, description="Queries that run at once, for each gate; without it, any number."
    )


class SettlementSection(Section):
    """How the cost of running jobs is learnt."""

    poll_first_ms: Whole = Field(250, ge=10, le=60_000, description="When a job is first asked after.")
    poll_longest_ms: Whole = Field(30_000, ge=10, le=300_000, description="The longest wait between two questions.")
    absent_for_s: Whole = Field(
        30, ge=1, le=3600, description="How long BigQuery must know no job of a query whose sending nobody saw end."
    )
    lease_s: Whole = Field(
        15, ge=3, le=600, description="How long a query counts as under way after its gate was last heard of."
    )
    orphan_age_s: Whole = Field(
        600, ge=1, le=86_400, description="The least age at which a hold that no ledger knows is given back."
    )
    polls_max: Whole = Field(8, ge=1, le=200, description="Questions that are under way at once.")
    reconcile_interval_s: Whole = Field(
        60, ge=1, le=3600, description="How often budgets, holds and ledger are compared and mended."
    )


class ObserveSection(Section):
    """What the gate writes down."""

    log_level: LogLevel = Field(LogLevel.INFO, description="The least important line that is written.")
    log_format: LogFormat = Field(LogFormat.AUTO, description="json, console, or auto: console on a terminal.")

    @property
    def level(self) -> int:
        """The level as the logging module numbers it."""
        return logging.getLevelNamesMapping()[self.log_level.upper()]


SECTIONS: dict[str, type[BaseModel]] = {
    "server": ServerSection,
    "upstream": UpstreamSection,
    "budgets": BudgetsSection,
    "ledger": LedgerSection,
    "breakers": BreakersSection,
    "identity": IdentitySection,
    "isolation": IsolationSection,
    "rate_limits": RateLimitsSection,
    "pricing": PricingPolicy,
    "admission": AdmissionSection,
    "settlement": SettlementSection,
    "own_queries": OwnQueriesSection,
    "sweep": SweepSection,
    "refusals": RefusalsSection,
    "degraded": DegradedSection,
    "observe": ObserveSection,
    "defaults": DefaultsPolicy,
}
NAMED_SECTIONS: dict[str, type[BaseModel]] = {
    "issuers": IssuerSection,
    "tiers": TierPolicy,
    "customers": CustomerPolicy,
    "scoped_budgets": BudgetPolicy,
    "cost_metrics": CostMetricSection,
}


def _tier(daily: int, monthly: int, emergency: int) -> dict[str, str | int]:
    limits = {"daily_usd": str(daily), "monthly_usd": str(monthly), "emergency_usd": str(emergency)}
    return {**limits, "grace_minutes": 15}


# The tiers that there are without a file; a file may change single keys of them and add others.
BUILT_IN_TIERS = {
    "standard": _tier(10, 300, 50),
    "premium": _tier(50, 1_500, 200),
    "enterprise": _tier(200, 6_000, 1_000),
}
