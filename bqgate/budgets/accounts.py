"""Map the ledger's open holds to the accounts of a budget store: a customer's, and the deployment's.

Wired by app between the stores and the ledger; a store fills its windows from it. The ledger knows whose a query is
(customer, principal, project, workload, labels); which budgets that means follows from today's rules. The deployment's
account has all customers' holds, in days and months of UTC. Holds that this gate has placed and the ledger does not
know yet count too, because a store may be lost just in between.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby

from bqgate.domain.budget import Period, Window
from bqgate.domain.budget_scope import DEPLOYMENT_ACCOUNT, deployment_day
from bqgate.domain.entry import CustomerSpend
from bqgate.domain.hold import Hold
from bqgate.ports import PolicySource, SpendSource


class AccountSource:
    """Implements SpendSource over the ledger's.

    `kept` are the holds that this gate has placed, as it placed them. One is there once it is placed, not before, else
    it is found as its own repeat; it leaves before its cost is booked, else that may count twice.
    """

    def __init__(self, source: SpendSource, policies: PolicySource, kept: Callable[[], Sequence[Hold]] = tuple) -> None:
        self._source = source
        self._policies = policies
        self._kept = kept

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
        is_above = customer == DEPLOYMENT_ACCOUNT
        wanted = None if is_above else customer
        holds = {hold.id: hold for hold in self._kept() if wanted in {None, hold.customer}}
        holds |= {hold.id: hold for hold in await self._source.fetch_open_holds(wanted)}
        return tuple(deployment_hold(hold) if is_above else self._with_scopes(hold) for hold in holds.values())

    def _with_scopes(self, hold: Hold) -> Hold:
        customer = self._policies.customer_registry.customer(hold.customer)
        return replace(hold, scopes=customer.scopes_over(hold.spender)) if customer.budgets else hold


def deployment_hold(hold: Hold) -> Hold:
    """The same hold in the deployment's account. A repeat is found in the customer's, so no key is needed here."""
    placed_on = deployment_day(hold.placed_at)
    return replace(
        hold,
        customer=DEPLOYMENT_ACCOUNT,
        window_keys={Period.DAY: placed_on, Period.MONTH: placed_on[:7]},
        idempotency_key=None,
        scopes=(),
    )


def split_windows(hold: Hold, windows: tuple[Window, ...]) -> tuple[tuple[Window, ...], tuple[Window, ...]]:
    """The windows of a hold's account, and the deployment's above it, which come last.

    Asserts what both stores are promised: the hold counts in just so many windows of its account.
    """
    own, above = windows, windows[:0]
    if windows and windows[-1].customer != hold.customer:
        own_count = sum(window.customer == hold.customer for window in windows)
        own, above = windows[:own_count], windows[own_count:]
        assert all(window.customer == DEPLOYMENT_ACCOUNT for window in above), (hold, windows)
    assert len(own) == len(hold.window_keys) * (1 + len(hold.scopes)), (hold, windows)
    return own, above


def by_account(windows: tuple[Window, ...]) -> tuple[tuple[Window, ...], ...]:
    """Windows that are asked for together, each account's apart: one customer's, and the deployment's after them."""
    parts = tuple(tuple(part) for _, part in groupby(windows, key=lambda window: window.customer))
    assert all(part[0].customer == DEPLOYMENT_ACCOUNT for part in parts[1:]), windows
    return parts


def holds_by_account(holds: Iterable[Hold]) -> list[list[Hold]]:
    """Holds, each account's apart."""
    found: dict[str, list[Hold]] = {}
    for hold in holds:
        found.setdefault(hold.customer, []).append(hold)
    return list(found.values())
