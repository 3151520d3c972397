"""Print what each more budget costs a query: place + capture pairs a second with no part, two, four and eight.

    python -m benchmarks.budget_tree [pairs]

The same store, the same customer, one process, 50 callers; Redis on loopback, on the same processors. A part is a
workload's budget, a day and a month each; `with rollover` lets every day take over from the one before.
Best of three rounds, in turns; the ratio is to a query that falls under its customer's budget alone.
"""

from benchmarks.budget_stores import ROUNDS, main, open_stores, pairs_per_s
from bqgate.domain.budget import Period, Window
from bqgate.domain.budget_scope import CUSTOMER_SCOPE, BudgetScope, ScopeKind
from bqgate.domain.limits import LimitPlan, Limits
from tests.support.budget_scene import UTC_ZONE
from tests.support.manual_clock import START

CALLERS = 50
LIMITS = Limits(daily_nanos=10**15, monthly_nanos=9 * 10**15)
ROLLOVER = {Period.DAY: 10**12}


def windows_under(part_count: int, *, rolls_over: bool = False) -> tuple[Window, ...]:
    """The customer's own windows and those of some parts."""
    plan = LimitPlan(LIMITS, rollover_nanos=ROLLOVER if rolls_over else {})
    scopes = [CUSTOMER_SCOPE, *(BudgetScope(ScopeKind.WORKLOAD, f"w{number}") for number in range(part_count))]
    return tuple(
        window for scope in scopes for window in plan.windows_at(START, customer="acme", zone=UTC_ZONE, scope=scope)
    )


async def run(pairs: int, redis_port: int) -> None:
    stores = open_stores(redis_port)
    trees = {f"{count} parts": windows_under(count) for count in (0, 2, 4, 8)}
    trees["0 parts, with rollover"] = windows_under(0, rolls_over=True)
    for name, store in stores.items():
        best = dict.fromkeys(trees, 0.0)
        for _ in range(ROUNDS):
            for tree, windows in trees.items():
                best[tree] = max(best[tree], await pairs_per_s(store, windows, pairs=pairs, callers=CALLERS))
        for tree, rate in best.items():
            print(f"{name}, {tree}: {rate:,.0f} a second; takes {best['0 parts'] / rate:.2f} times as long")
        await store.close()


if __name__ == "__main__":
    main(run)
