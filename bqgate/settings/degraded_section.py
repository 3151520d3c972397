"""List the keys of the section degraded: what happens while an outside system is away.

Listed by sections.py; read by app as a domain.degradation.Degradation.
"""

from pydantic import Field

from bqgate.domain.degradation import Conduct, Degradation, System
from bqgate.policies.values import Usd, UsdAmount
from bqgate.settings.section import Section


class DegradedSection(Section):
    """What happens while an outside system is away; docs/degraded.md has the table."""

    dry_run: Conduct | None = Field(
        None,
        description="BigQuery does not answer the dry run: closed, allowance, or open. "
        "Without it: closed for enforce, open for observe.",
    )
    budgets: Conduct | None = Field(None, description="Redis does not answer: the same.")
    ledger: Conduct | None = Field(None, description="The ledger's database does not answer: the same.")
    allowance_usd: Usd = Field(
        UsdAmount(1_000_000_000),
        description="What each replica may spend for a customer a day where the conduct is allowance.",
    )

    @property
    def degradation(self) -> Degradation:
        """What was chosen."""
        given = {System.DRY_RUN: self.dry_run, System.BUDGETS: self.budgets, System.LEDGER: self.ledger}
        chosen = {system: conduct for system, conduct in given.items() if conduct is not None}
        return Degradation(chosen, self.allowance_usd.nanos)
