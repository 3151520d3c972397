"""Let queries wait their turn (step 8): limits on what runs at once, pace where little is left, fair to everybody.

    pacing.py      how far apart throttled queries go, by what is left       pure
    depths.py      who has the most waiting                                  pure
    fair_queue.py  who waits, and whose turn is next                         pure
    concurrency_limiter.py  who may run now                                           pure
    admission_queue.py  the coroutines that wait, the clock and the metrics

State is one replica's: what runs and waits at another is not counted. Money is exact everywhere, by the BudgetStore.
"""
