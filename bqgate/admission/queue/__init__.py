"""Let queries wait their turn: limits on what runs at once, pace where little is left, fair to everybody.

    admission_queue.py      the coroutines that wait, the clock and the metrics
    concurrency_limiter.py  who may run now                                       pure
    fair_queue.py           who waits, and whose turn is next                     pure
    depths.py               who has the most waiting                              pure
    pacing.py               how far apart throttled queries go                    pure

State is one gate's: what runs and waits at another is not counted. Money is exact across gates, by the BudgetStore.
"""
