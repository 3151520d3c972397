"""Find windows of budgets that each principal, project or workload has, and that differ from the ledger.

Asked by spend_comparison.py. Whose windows there are only the budget store knows: each comes with somebody's first
query. So the store is asked which it has, and the ledger what each has spent, one question for all of a budget's day or
month. Bounded: of more windows than are compared in one round, the next round compares the next ones.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from bqgate.domain.budget import Period, Window, WindowId, with_rollovers
from bqgate.domain.budget_scope import EACH, ScopeKind
from bqgate.domain.tier import windows_lately
from bqgate.ports import BudgetStore, Ledger, PolicySource

COMPARED_MAX = 50_000
# Read from the budget store in one step, which then takes it a few milliseconds.
_READ_AT_ONCE = 500

# A window of an account, and by how many nano-dollars the store's spend passes the ledger's.
Drifts = dict[tuple[str, WindowId], int]
# An account, and what the windows of all who have the same budget have in common.
_Group = tuple[str, ScopeKind, Period, str]


class PartDrifts:
    """Remembers where the next round goes on, where one does not compare all."""

    def __init__(self, *, ledger: Ledger, budgets: BudgetStore, policies: PolicySource) -> None:
        self._ledger = ledger
        self._budgets = budgets
        self._policies = policies
        self._next = 0

    async def find(self, now: datetime, seen: Collection[tuple[str, WindowId]]) -> Drifts:
        """What differs; `seen` did so in the last round, and is compared again.

        Raises:
            BudgetStoreUnavailable, LedgerUnavailable: the round is not whole.
        """
        groups = self._groups(now)
        known = await self._budgets.fetch_part_windows({key for _, _, _, key in groups}) if groups else {}
        listed = [(account, window_id) for account, window_ids in known.items() for window_id in window_ids]
        windows: dict[_Group, list[Window]] = {}
        for account, window_id in self._chosen(listed, seen):
            group = (account, window_id.scope.kind, window_id.period, window_id.key)
            if group in groups:
                windows.setdefault(group, []).append(replace(groups[group], scope=window_id.scope))
        drifts: Drifts = {}
        for group, those in windows.items():
            drifts |= await self._compared(groups[group], those)
        return drifts

    def _groups(self, now: datetime) -> dict[_Group, Window]:
        """The windows of budgets of each, by what they have in common."""
        return {
            (customer.id, budget.scope.kind, window.period, window.key): replace(window, rollover=None)
            for customer in self._policies.customer_registry.customers.values()
            for budget in customer.budgets
            if budget.scope.value == EACH
            for window in with_rollovers(windows_lately([budget], now))
        }

    def _chosen(
        self, known: Sequence[tuple[str, WindowId]], seen: Collection[tuple[str, WindowId]]
    ) -> Sequence[tuple[str, WindowId]]:
        """As many as one round compares."""
        if len(known) <= COMPARED_MAX:
            return known
        listed, start = sorted(known), self._next % len(known)
        self._next = start + COMPARED_MAX
        return tuple(dict.fromkeys((*(listed[start:] + listed[:start])[:COMPARED_MAX], *(set(seen) & set(known)))))

    async def _compared(self, group: Window, windows: Sequence[Window]) -> Drifts:
        captured: dict[WindowId, int] = {}
        for start in range(0, len(windows), _READ_AT_ONCE):
            balances = await self._budgets.fetch_balances(tuple(windows[start : start + _READ_AT_ONCE]))
            captured |= {balance.window.id: balance.captured_nanos for balance in balances}
        booked = await self._ledger.fetch_spend_of_each(group)
        differences = {each: nanos - max(0, booked.get(each.scope.value, 0)) for each, nanos in captured.items()}
        return {(group.customer, each): nanos for each, nanos in differences.items() if nanos}
