"""Decide whether a query may run: estimate, size, hold, decide, record, wait.

Start with ``admit.Admission.admit``. Knows ports and the domain; no HTTP, no Redis, no SQL.

    estimates/         what the query would process, by a dry run
    admit.py           the steps from estimate to decision, in order
    sizing.py          how much to hold                                                     pure
    present_budgets.py which budgets a query falls under now, reckoned once a minute
    hold_factory.py    the hold itself                                                      pure
    hold_service.py    places it on the budgets, records it in the ledger, keeps its lease
    refusals.py        books refusals, repeats of one as one entry
    observe_mode.py    where budgets are only observed: admit all, note what enforcing would do   pure
    reservations.py    which reservations a customer may name                               pure
    slots.py           slot time that a customer's jobs used of late
    allowance.py       what may be spent while an outside system is away
    breaker_log.py, threshold_log.py   log and record what a hold set off
    queued_query.py    an admitted query for the queue                                      pure
    queue/             who waits, and whose turn is next
"""
