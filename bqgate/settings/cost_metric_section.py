"""List the keys of the section cost_metrics: what else costs, measured by plug-ins.

Listed by sections.py; read by app. The options of a plug-in are its own, and looked at when it is made.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, PlainSerializer

from bqgate.observe.redact import redact_field
from bqgate.policies.values import ProjectId, Whole
from bqgate.settings.section import Section

Region = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]


def _shown(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they can be shown: what sounds like a secret is masked."""
    return {name: redact_field(name, value) for name, value in options.items()}


class CostMetricSection(Section):
    """One cost metric, by a name of the user's. It needs credentials of the gate's own."""

    metric: str | None = Field(
        None,
        min_length=1,
        max_length=500,
        description="The plug-in: its entry point, like storage, or its import path, package.module:Class; without it, "
        "the name of this section.",
    )
    regions: tuple[Region, ...] = Field(
        ("us",), min_length=1, max_length=100, description="Regions to look at, like us, eu or europe-west3."
    )
    projects: tuple[ProjectId, ...] = Field(
        (), max_length=1000, description="Projects to look at; without them, the customers' and the shared ones."
    )
    interval_minutes: Whole = Field(60, ge=1, le=10_080, description="How often it is looked at.")
    look_back_days: Whole | None = Field(
        None,
        ge=1,
        le=180,
        description="How far back each look goes, which makes up for an outage of so long; without it, as far as the "
        "plug-in says.",
    )
    counts: bool = Field(
        True, description="true: what it measures counts in its customer's budgets, and in the deployment's."
    )
    options: Annotated[dict[str, Any], PlainSerializer(_shown)] = Field(
        {}, description="The plug-in's own options, like prices."
    )
