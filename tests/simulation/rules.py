"""The limits and prices of a history, as gates hear of them, and the most that any of them has ever allowed."""

from collections.abc import Mapping
from dataclasses import replace
from zoneinfo import ZoneInfo

from bqgate.domain.budget import Period, WindowId
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, DEPLOYMENT_ACCOUNT, BudgetScope, ScopeKind
from bqgate.domain.hold import Hold
from bqgate.domain.limits import LimitPlan, Limits
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.domain.tier import Budget, Customer, CustomerRegistry, Tier

# A tenth of a cent for each MiB, so that all costs are whole.
NANOS_PER_MIB = 1_000_000
GRACE_S = 30
NIGHTLY = BudgetScope(ScopeKind.WORKLOAD, "nightly")


class Rules:
    """What holds now. Gates take over a `snapshot` when they hear of it."""

    def __init__(self, limits_mib: Mapping[str, int]) -> None:
        self._limits_mib = dict(limits_mib)
        self._factor = 1
        self._most_mib = dict(limits_mib)
        self._per_mib_by_prices: dict[str, int] = {}
        self.has_deployment = bool(limits_mib["deployment/day"])
        self._zone = ZoneInfo("Europe/Berlin")
        self.snapshot = self._compose()

    def change_limit(self, name: str, mib: int) -> None:
        """An admin changes a limit. Where there is no deployment's budget there will be none."""
        if name == "deployment/day" and not self.has_deployment:
            return
        self._limits_mib[name] = mib
        self._most_mib[name] = max(self._most_mib[name], mib)
        self.snapshot = self._compose()

    def change_prices(self, factor: int) -> None:
        """BigQuery becomes dearer, or cheaper again."""
        self._factor = factor
        self.snapshot = self._compose()

    def nanos_per_mib(self, hold: Hold) -> int:
        """The price by which a hold was sized."""
        return self._per_mib_by_prices[hold.prices_id or ""]

    def nanos_per_mib_of(self, prices_id: str | None) -> int:
        """The price in a list by which something was booked."""
        return self._per_mib_by_prices[prices_id or ""]

    def bound(self, account: str, window: WindowId) -> int | None:
        """The most that may stand against a window; None: no bound."""
        if window.scope != CUSTOMER_SCOPE:
            name = "nightly/day" if window.period is Period.DAY else None
        elif account == DEPLOYMENT_ACCOUNT:
            name = "deployment/day" if window.period is Period.DAY else None
        else:
            name = f"{account}/{window.period.value}"
        if name is None:
            return None
        most_mib = self._most_mib[name]
        emergency_mib = self._most_mib.get(f"{account}/emergency", 0) if window.scope == CUSTOMER_SCOPE else 0
        if emergency_mib and window.period is Period.MONTH:
            return None  # in grace a month is bounded by its days
        return max(most_mib, emergency_mib) * NANOS_PER_MIB

    def _compose(self) -> PolicySnapshot:
        prices = PriceList(
            model=PricingModel.ON_DEMAND, nanos_per_tib=self._factor * NANOS_PER_MIB * 2**20, nanos_per_slot_hour=0
        )
        self._per_mib_by_prices[prices.id] = self._factor * NANOS_PER_MIB
        deployment = Budget("everybody", DEPLOYMENT_ACCOUNT, CUSTOMER_SCOPE, self._plan("deployment/day"))
        acme, globex = self._customer("acme"), self._customer("globex")
        nightly = Budget("nightly", "acme", NIGHTLY, self._plan("nightly/day"), zone=self._zone)
        registry = CustomerRegistry(
            customers={"acme": replace(acme, budgets=(nightly,)), "globex": globex},
            customer_by_project={},
            default_tier=acme.tier,
            deployment=deployment if self.has_deployment else None,
            customer_by_email={"acme": "acme", "globex": "globex"},
            shared_projects=frozenset({"p"}),
        )
        return PolicySnapshot(registry, prices)

    def _plan(self, name: str) -> LimitPlan:
        return LimitPlan(Limits(daily_nanos=self._limits_mib[name] * NANOS_PER_MIB))

    def _customer(self, name: str) -> Customer:
        emergency_mib = self._limits_mib.get(f"{name}/emergency", 0)
        tier = Tier(
            name=name,
            daily_nanos=self._limits_mib[f"{name}/day"] * NANOS_PER_MIB,
            monthly_nanos=self._limits_mib[f"{name}/month"] * NANOS_PER_MIB,
            emergency_nanos=emergency_mib * NANOS_PER_MIB,
            grace_s=GRACE_S if emergency_mib else 0,
            cancels_in_emergency=bool(self._limits_mib.get(f"{name}/cancels", 0)),
        )
        return Customer(id=name, tier=tier, zone=self._zone)
