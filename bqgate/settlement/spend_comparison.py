"""Compare what the budgets have captured with the ledger's sums, and have windows filled anew where they differ.

Run by reconcile, its fifth step; calls the Ledger and the BudgetStore. The ledger is right. A difference that is, to
the nano-dollar, what was corrected in the ledger since both agreed is no fault: corrections are written to the ledger
alone, and this is how the budgets learn of them, at the first look. Any other must last two rounds, because between
book and capture the sums differ for a moment; where it is the same in both it is counted and logged. Where it is not,
and on the same side, jobs that end all the time may hide one: the window is filled anew without a word.
"""

from datetime import timedelta

from bqgate.domain.budget import WindowId, with_rollovers
from bqgate.domain.budget_scope import DEPLOYMENT_ACCOUNT
from bqgate.domain.tier import windows_lately
from bqgate.ports import BudgetStore, Clock, Ledger, PolicySource, Telemetry
from bqgate.settlement.part_drifts import Drifts, PartDrifts


class SpendComparison:
    """Remembers the differences of the last round, and what each window's corrections were when it last agreed."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        budgets: BudgetStore,
        policies: PolicySource,
        clock: Clock,
        telemetry: Telemetry,
        interval_s: int,
    ) -> None:
        self._ledger = ledger
        self._budgets = budgets
        self._policies = policies
        self._clock = clock
        self._telemetry = telemetry
        self._interval_s = interval_s
        self._parts = PartDrifts(ledger=ledger, budgets=budgets, policies=policies)
        self._drifts: Drifts = {}
        self._adjusted: dict[tuple[str, WindowId], int] = {}

    async def compare(self) -> None:
        """One round, over configured customers, those with open holds or a cost booked lately, and the deployment.

        Raises:
            BudgetStoreUnavailable, LedgerUnavailable: the round is not whole.
        """
        drifts: Drifts = {}
        corrected = set[str]()
        adjusted: dict[tuple[str, WindowId], int] = {}
        for account in await self._accounts():
            found = await self._drifts_of(account, adjusted)
            drifts |= found
            if found and all(self._is_corrected(window, nanos, adjusted) for window, nanos in found.items()):
                corrected.add(account)
        drifts |= await self._parts.find(self._clock.now(), self._drifts)
        drifts = {window: nanos for window, nanos in drifts.items() if window[0] not in corrected}
        lasting = {window: nanos for window, nanos in drifts.items() if self._drifts.get(window, 0) * nanos > 0}
        before, self._drifts = self._drifts, {each: nanos for each, nanos in drifts.items() if each not in lasting}
        for account in sorted(corrected):
            self._telemetry.log("budgets_corrected", customer=account)
            await self._budgets.forget_windows(account)
        for account in sorted({account for account, _ in lasting}):
            window_ids = [window_id for of, window_id in lasting if of == account]
            for window_id in window_ids:
                if before[account, window_id] == lasting[account, window_id]:
                    self._tell(account, window_id, lasting[account, window_id])
            await self._budgets.forget_windows(account, window_ids)
        # What differs still is not agreed about: it keeps what its corrections were when it was.
        self._adjusted = adjusted | {each: self._adjusted[each] for each in drifts if each in self._adjusted}

    async def _accounts(self) -> list[str]:
        lately = self._clock.now() - 2 * timedelta(seconds=self._interval_s)
        accounts = {
            *self._policies.customer_registry.customers,
            *await self._budgets.fetch_customers(),
            *(row.customer for row in await self._ledger.fetch_costs(since=lately)),
            *(account for account, _ in self._drifts),
            DEPLOYMENT_ACCOUNT,
        }
        return sorted(accounts)

    async def _drifts_of(self, account: str, adjusted: dict[tuple[str, WindowId], int]) -> Drifts:
        """The windows that differ; `adjusted` takes what corrections come to in each."""
        now = self._clock.now()
        budgets = self._policies.customer_registry.account_budgets(account)
        windows = with_rollovers(windows_lately(budgets, now))
        # First: one that comes in between shows as a difference now, and as a correction at the next look.
        corrections = await self._ledger.fetch_adjusted(windows)
        balances = await self._budgets.fetch_balances(windows)
        spend = await self._ledger.fetch_spend(windows)
        found: Drifts = {}
        for balance in balances:
            window_id = balance.window.id
            adjusted[account, window_id] = corrections.get(window_id, 0)
            booked_nanos = max(0, spend.captured_nanos.get(window_id, 0))
            if balance.captured_nanos != booked_nanos:
                found[account, window_id] = balance.captured_nanos - booked_nanos
        return found

    def _is_corrected(
        self, window: tuple[str, WindowId], nanos: int, adjusted: dict[tuple[str, WindowId], int]
    ) -> bool:
        """Whether a difference is what was corrected in the ledger since the window last agreed."""
        before_nanos = self._adjusted.get(window)
        return before_nanos is not None and nanos == before_nanos - adjusted[window]

    def _tell(self, account: str, window_id: WindowId, nanos: int) -> None:
        scope, period, key = window_id
        self._telemetry.count("budget_drifts_total", period=period.value)
        self._telemetry.log(
            "budget_drift",
            customer=account,
            scope=scope.kind.value,
            period=period.value,
            window=key,
            drift_nanos=nanos,
            error="budget drift",
        )
