"""Leave a system alone for a while after it failed many times in a row: BigQuery, Redis, the ledger's database.

Wired by app around the adapters; bigquery.upstream asks a CircuitBreaker itself. Without this, every caller would wait
for the same timeout, and a system that comes back would be met by all of them at once.

    circuit_breaker.py  when a system is left alone, and when it is tried again
    tally.py            whether failures are a system's or one customer's
    guarded.py          any port's methods behind a breaker
    shared_state.py     what replicas tell one another about a system

Not to be mistaken for a customer's cost breaker, which is money's and lives in the budget store.
"""
