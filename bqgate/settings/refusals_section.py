"""List the keys of the section refusals: how a refused caller is helped.

Listed by sections.py; read by app.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from bqgate.policies.values import Line, Whole
from bqgate.settings.section import Section


class Advice(StrEnum):
    """How far the gate goes to find what would make a refused query cheaper."""

    OFF = "off"
    TEXT = "text"
    DRY_RUN = "dry_run"


class RefusalsSection(Section):
    """What a refused caller is told beside the numbers."""

    advice: Advice = Field(
        Advice.OFF,
        description="What would make the query cheaper: off; text: what its SQL shows; dry_run: also what its tables "
        "are, and what a missing partition filter would save, by one more dry run. Needs the extra advice.",
    )
    deadline_ms: Whole = Field(2_000, ge=50, le=10_000, description="How long a refusal may wait for advice.")
    contact: Annotated[Line, AfterValidator(str.strip)] = Field(
        "",
        max_length=200,
        description="Whom a refused caller asks for more, in one line: an address, a URL, the name of a team. "
        "Everybody who is refused reads it. Empty: the refusal names nobody.",
    )
