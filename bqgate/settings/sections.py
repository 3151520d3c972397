"""List every key of the settings: its type, default, bounds and meaning.

Read by load (to validate), rules (to compare), and by the house test that holds docs/settings.md and
config/bqgate.example.yaml to it. Frozen: the settings of a running gate do not change. Units stand in the keys.
"""

import ipaddress
import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

from bqgate.admission.sizing import UnknownEstimate
from bqgate.domain.pricing import PricingModel
from bqgate.domain.tier import DEFAULT_THRESHOLDS, Mode, ThresholdAction
from bqgate.observe.logs import LogFormat
from bqgate.settings.fields import BudgetsUrl, LedgerUrl, Ratio, SecretUrl, Share, Usd, WebUrl, Whole, Zone

# Ids stand in URLs, Redis keys and labels; a project id may have a domain before a colon.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]


class Section(BaseModel):
    """A mapping of the settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Credentials(StrEnum):
    """Whose credentials go to BigQuery."""

    CALLER = "caller"
    SERVICE_ACCOUNT = "service_account"
    ANONYMOUS = "anonymous"


class IdentityMode(StrEnum):
    """Whether callers prove to the gate who they are."""

    OPEN = "open"
    REQUIRED = "required"


class LogLevel(StrEnum):
    """The least important line that is still written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class ServerSection(Section):
    """Where the gate listens."""

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 is every one.")
    port: Whole = Field(8080, ge=0, le=65535, description="Port of the data plane; 0 takes a free one.")
    control_port: Whole | None = Field(
        None, ge=1, le=65535, description="Port of the control plane; without it, it shares the data plane's."
    )
    workers: Whole = Field(1, ge=1, le=64, description="Processes; more than one needs budgets in Redis.")

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this machine can call."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


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
    call_timeout_s: Whole = Field(
        30, ge=1, le=240, description="How long the gate's own calls (dry runs, jobs.get) may take."
    )


class BudgetsSection(Section):
    """Where budgets and holds are kept."""

    url: BudgetsUrl = Field(
        SecretUrl("memory://"),
        description="memory:// (one process, rebuilt from the ledger), redis://, rediss://, unix://, redis+cluster://, "
        "rediss+cluster://.",
    )
    timeout_ms: Whole = Field(1_000, ge=10, le=60_000, description="How long Redis may take to answer.")
    connections_max: Whole = Field(50, ge=1, le=1_000, description="Connections to Redis.")


class LedgerSection(Section):
    """Where costs are booked."""

    url: LedgerUrl = Field(SecretUrl("sqlite:///bqgate.db"), description="sqlite:///file or postgresql://….")
    timeout_ms: Whole = Field(5_000, ge=100, le=60_000, description="How long the database may take to answer.")


class IdentitySection(Section):
    """Who callers are."""

    mode: IdentityMode = Field(
        IdentityMode.OPEN, description="open: every caller is trusted; required: not yet available."
    )


class PricingSection(Section):
    """What a job is charged for."""

    model: PricingModel = Field(
        PricingModel.BLENDED,
        description="blended: bytes and slots; on_demand: bytes; capacity: slots; auto: slots where the job ran in a "
        "reservation, bytes elsewhere.",
    )
    usd_per_tib: Usd | None = Field(
        None, description="Price of a TiB everywhere; without it 5.00 (blended) or the list price of the region."
    )
    usd_per_slot_hour: Usd | None = Field(
        None, description="Price of a slot-hour everywhere; without it 0.04 (blended) or the list price of the edition."
    )


class AdmissionSection(Section):
    """How queries are estimated and held."""

    headroom_ratio: Ratio = Field(Share(50_000), description="Share added to an estimate when its cost is held.")
    estimate_ttl_s: Whole = Field(60, ge=0, le=3600, description="How long an estimate is used again.")
    estimate_cache_entries: Whole = Field(10_000, ge=1, le=1_000_000, description="How many estimates are kept.")
    dry_runs_max: Whole = Field(100, ge=1, le=1_000, description="Dry runs that are under way at once.")
    unknown_estimate: UnknownEstimate = Field(
        UnknownEstimate.CAP,
        description="A query that no dry run bounds: cap holds and caps it at unknown_hold_gib, reject refuses it, "
        "allow holds the same and does not cap it.",
    )
    unknown_hold_gib: Whole = Field(
        100, ge=1, le=1_000_000, description="What is held for such a query, in GiB billed."
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
        1_000, ge=0, le=100_000, description="Throttled queries that wait at once; more are sent away with 429."
    )


class SettlementSection(Section):
    """How the cost of running jobs is learnt."""

    poll_first_ms: Whole = Field(250, ge=10, le=60_000, description="When a job is first asked after.")
    poll_longest_ms: Whole = Field(30_000, ge=10, le=300_000, description="The longest wait between two questions.")
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


class ThresholdSection(Section):
    """A share of a limit and what follows when it is passed."""

    used_ratio: Ratio = Field(description="Share of the limit.")
    action: ThresholdAction = Field(description="monitor, review, or throttle.")


class TierSection(Section):
    """The limits of a class of customers."""

    daily_usd: Usd = Field(description="Limit of a day in the customer's time zone.")
    monthly_usd: Usd = Field(description="Limit of a month.")
    emergency_usd: Usd = Field(description="The most that a day may ever cost; kept for grace, which is to come.")
    query_usd: Usd | None = Field(None, description="Limit of one query; without it, the day's.")
    grace_minutes: Whole = Field(0, ge=0, le=1440, description="Not yet available; only 0.")
    throttle_wait_ms: Whole = Field(2_000, ge=0, le=30_000, description="How long a throttled query waits.")
    thresholds: tuple[ThresholdSection, ...] = Field(
        tuple(ThresholdSection(used_ratio=Share(each.used_ppm), action=each.action) for each in DEFAULT_THRESHOLDS),
        max_length=20,
        description="Shares of a limit, ascending, each with what follows.",
    )


class CustomerSection(Section):
    """Who pays."""

    tier: Name | None = Field(None, description="Its tier; without it, defaults.tier.")
    projects: tuple[Name, ...] = Field((), description="Projects whose jobs it pays for.")
    time_zone: Zone = Field(default_factory=lambda: ZoneInfo("UTC"), description="Where its days and months begin.")
    mode: Mode | None = Field(None, description="off, observe, or enforce; without it, defaults.mode.")


class DefaultsSection(Section):
    """What holds for customers that are not listed, and for what a listed one does not say."""

    tier: Name = Field("standard", description="Tier of a customer that names none.")
    mode: Mode = Field(
        Mode.ENFORCE, description="off: nothing is computed; observe: nothing is refused; enforce: budgets refuse."
    )


SECTIONS: dict[str, type[Section]] = {
    "server": ServerSection,
    "upstream": UpstreamSection,
    "budgets": BudgetsSection,
    "ledger": LedgerSection,
    "identity": IdentitySection,
    "pricing": PricingSection,
    "admission": AdmissionSection,
    "settlement": SettlementSection,
    "observe": ObserveSection,
    "defaults": DefaultsSection,
}
NAMED_SECTIONS: dict[str, type[Section]] = {"tiers": TierSection, "customers": CustomerSection}


def _tier(daily: int, monthly: int, emergency: int) -> dict[str, str]:
    return {"daily_usd": str(daily), "monthly_usd": str(monthly), "emergency_usd": str(emergency)}


# The tiers that there are without a file; a file may change single keys of them and add others.
BUILT_IN_TIERS = {
    "standard": _tier(10, 300, 50),
    "premium": _tier(50, 1_500, 200),
    "enterprise": _tier(200, 6_000, 1_000),
}
