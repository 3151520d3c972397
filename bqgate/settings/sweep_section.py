"""List the keys of the section sweep: how the gate looks for jobs that nobody has booked.

Listed by sections.py; read by app.
"""

from enum import StrEnum

from pydantic import Field

from bqgate.policies.values import Name, ProjectId, Whole
from bqgate.settings.section import Section


class SweepMethod(StrEnum):
    """Where the sweep reads jobs."""

    OFF = "off"
    JOBS_LIST = "jobs_list"
    INFORMATION_SCHEMA = "information_schema"


class SweepSection(Section):
    """How every job of a project is found, whoever ran it, and booked once. It needs credentials of the gate's own."""

    method: SweepMethod = Field(
        SweepMethod.JOBS_LIST,
        description="off; jobs_list: by jobs.list, which is free; information_schema: by a query of "
        "JOBS_BY_PROJECT, which sees queries without a job too, and is booked and bounded by own_queries.",
    )
    interval_s: Whole = Field(60, ge=1, le=3600, description="How often jobs are looked for.")
    overlap_s: Whole = Field(
        600,
        ge=1,
        le=86_400,
        description="How far behind where it has come the sweep begins anew: BigQuery may show a job late.",
    )
    look_back_days: Whole | None = Field(
        None,
        ge=0,
        le=180,
        description="How far the first look at a project goes back, even to before the ledger's beginning; without "
        "it, to that beginning, a day at most. An outage is caught up with in any case.",
    )
    projects: tuple[ProjectId, ...] = Field(
        (),
        max_length=1000,
        description="Projects to look at beside the customers', the shared ones and those booked in of late.",
    )
    regions: tuple[Name, ...] = Field(
        (),
        max_length=100,
        description="For information_schema: regions to look at beside those where jobs were seen, like us or eu.",
    )
    bypass_counts: bool = Field(
        True,
        description="true: jobs that came past the gate count in their customer's budgets, and in the deployment's.",
    )
