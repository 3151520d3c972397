"""Keep the budgets and the holds against them: BudgetStore in this process's memory, and in Redis.

Named by app and cli alone; everything else knows ports.BudgetStore. Calls the SpendSource (the ledger) to fill a
window that it does not know. A hold counts in its customer's account and, where the deployment has a budget, in the
deployment's. Read in this order: refill (how a lost store becomes whole), accounts (which hold counts where),
memory_account and memory_store (the rules in plain Python), keys (what lies in Redis), redis_store, scripts (their
typed door), the .lua files. Beside them stand change_feed and redis_change_feed, by which gates of one store tell one
another that an admin changed something. BudgetStoreUnavailable and LedgerUnavailable leave it, nothing else. Amounts
are nano-dollars.
"""
