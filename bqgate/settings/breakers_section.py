"""List the keys of the section breakers: when an outside system that fails is left alone, and for how long.

Listed by sections.py; read by app. Seconds.
"""

from pydantic import Field

from bqgate.policies.values import Whole
from bqgate.settings.section import Section


class BreakersSection(Section):
    """When a system that does not answer is left alone."""

    failures_to_open: Whole = Field(
        10, ge=1, le=1_000, description="Failures in a row after which a system is left alone."
    )
    upstream_cooldown_s: Whole = Field(
        10, ge=1, le=600, description="How long BigQuery is left alone before one call tries it again."
    )
    stores_cooldown_s: Whole = Field(2, ge=1, le=60, description="The same for Redis and for the ledger's database.")
