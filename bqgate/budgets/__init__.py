"""Keep budgets and the holds against them: BudgetStore in this process's memory, and in Redis.

Only app and cli import it; everything else knows ports.BudgetStore. The SpendSource (the ledger) fills windows that a
store does not know. A hold counts in its customer's account and, where the deployment has a budget, in the
deployment's. Raises BudgetStoreUnavailable and LedgerUnavailable, nothing else. Amounts are nano-dollars.

    refill.py                 how a store that lost its memory becomes whole
    accounts.py               which hold counts in which account
    memory_store.py           the store of one process; memory_account.py has the rules of one account
    redis_store.py            the store that gates share; redis_client.py connects it, by redis_address.py
    redis_turns.py            bounds its calls; redis_line.py carries the scripts of all callers over one connection
    redis_walks.py            what is found by walking all keys
    scripts.py                calls the .lua files (lua_script.py) with the domain's values: script_arguments.py writes
                              these, script_answers.py reads what comes back
    keys.py                   what Redis holds: keys, fields, lifetimes; history.lua: what it may have lost
    change_feed.py            how gates of one store tell one another of changes and writes: in memory, and
    redis_change_feed.py      through Redis (write_message.py)
    redis_breaker_state.py    how they share the state of circuit breakers
    rate_storage.py           where the requests to the control plane are counted that gates count together
"""
