"""List the settings of the ledger: which database it is in, and when something counts as recorded. Part of sections."""

from enum import StrEnum
from pathlib import Path

from pydantic import Field

from bqgate.policies.values import Whole
from bqgate.settings.fields import IamMember, LedgerUrl, MirrorDataset, SecretUrl
from bqgate.settings.section import Section


class Sync(StrEnum):
    """When a hold counts as recorded, and its query is forwarded."""

    JOURNAL = "journal"
    BEFORE_FORWARD = "before_forward"


class LedgerSection(Section):
    """Where costs are booked."""

    url: LedgerUrl = Field(SecretUrl("sqlite:///bqgate.db"), description="sqlite:///file or postgresql://….")
    sync: Sync = Field(
        Sync.JOURNAL,
        description="When a hold counts as recorded: journal, in a local file from which it goes into the database; "
        "before_forward, in the database, which every query then waits for.",
    )
    journal_folder: Path | None = Field(
        None, description="Where the journals are kept; without it, beside a SQLite ledger or in bqgate.journal."
    )
    journal_mib: Whole = Field(
        1_024, ge=64, le=1_048_576, description="How much of a process's journal may wait for the database."
    )
    timeout_ms: Whole = Field(5_000, ge=100, le=60_000, description="How long the database may take to answer.")
    replica_url: LedgerUrl | None = Field(
        None,
        description="A read replica of a PostgreSQL ledger, for what people look at: costs, spend, lists of jobs, "
        "exports. Without it, or when it does not answer, the ledger itself is read.",
    )
    retention_months: Whole | None = Field(
        None,
        ge=3,
        le=1_200,
        description="How many whole months of entries PostgreSQL keeps beside the one that runs; without it, all.",
    )
    mirror: MirrorDataset | None = Field(
        None, description="project.dataset at BigQuery, to which all entries are copied; without it, to none."
    )
    mirror_interval_s: Whole = Field(120, ge=60, le=86_400, description="How often new entries are copied there.")
    mirror_admins: tuple[IamMember, ...] = Field(
        (),
        max_length=100,
        description="Who reads all rows there, like group:finops@example.com; where it is set, customers.principals "
        "read their own customer's rows, and nobody else any.",
    )
