"""List the keys of the section own_queries: what the gate's own queries may cost.

Listed by sections.py; read by app.
"""

from pydantic import Field

from bqgate.domain.money import NANOS_PER_USD
from bqgate.policies.values import Usd, UsdAmount, Whole
from bqgate.settings.section import Section


class OwnQueriesSection(Section):
    """The bounds of the queries that the gate runs for itself, to learn what else costs."""

    maximum_mib_billed: Whole = Field(
        10_240,
        ge=10,
        le=1_048_576,
        description="What one query of the gate's own may bill, in MiB; BigQuery refuses more.",
    )
    daily_usd: Usd = Field(
        UsdAmount(NANOS_PER_USD),
        description="What all of the gate's own queries may cost in a UTC day; past it none runs until the next.",
    )
