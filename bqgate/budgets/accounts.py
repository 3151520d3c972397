"""Show the ledger's open holds as the accounts of a budget store see them.

Put by app between the stores and the ledger: what a store fills its windows from. The ledger writes down what a query
is (customer, principal, project, workload, labels); which budgets it falls under is a matter of the rules that hold,
and they may have changed since. The deployment's account is about all customers' holds, in days and months of UTC.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC

from bqgate.domain.budget import Period, Window
from bqgate.domain.entry import CustomerSpend
from bqgate.domain.hold import Hold
from bqgate.domain.scope import DEPLOYMENT_ACCOUNT
from bqgate.ports import PolicySource, SpendSource


class AccountSource:
    """Implements SpendSource over the ledger's."""

    def __init__(self, source: SpendSource, policies: PolicySource) -> None:
        self._source = source
        self._policies = policies

    async def fetch_spend(self, windows: Sequence[Window]) -> CustomerSpend:
        """Booked spend of each window; the ledger knows what each is about.

        Raises:
            LedgerUnavailable: the source did not answer.
        """
        return await self._source.fetch_spend(windows)

    async def fetch_open_holds(self, customer: str | None = None) -> tuple[Hold, ...]:
        """Open holds of an account, with the budgets that they fall under now.

        Raises:
            LedgerUnavailable: the source did not answer.
        """
        if customer == DEPLOYMENT_ACCOUNT:
            return tuple(deployment_hold(hold) for hold in await self._source.fetch_open_holds())
        return tuple(self._with_scopes(hold) for hold in await self._source.fetch_open_holds(customer))

    def _with_scopes(self, hold: Hold) -> Hold:
        customer = self._policies.directory.customer(hold.customer)
        return replace(hold, scopes=customer.scopes_over(hold.spender)) if customer.budgets else hold


def deployment_hold(hold: Hold) -> Hold:
    """The same hold in the deployment's account. A repeat is found in the customer's, so no key is needed here."""
    placed_on = hold.placed_at.astimezone(UTC).date().isoformat()
    return replace(
        hold,
        customer=DEPLOYMENT_ACCOUNT,
        window_keys={Period.DAY: placed_on, Period.MONTH: placed_on[:7]},
        idempotency_key=None,
        scopes=(),
    )
