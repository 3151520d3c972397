"""Find out what each job cost, book it once and end its hold: the last step of the request path, and all that mends it.

Behind the path:

    evidence.py    what the attempts at one hold prove together                            pure
    settlement.py  one try to end a hold: book and capture, or void; safe to repeat
    poller.py      ends holds whose cost is known, asks BigQuery about the others
    watched.py     what the poller knows of one hold, and when it may conclude             pure
    schedule.py    which hold is next, and when
    inquiry.py     one question to BigQuery: ended, running, absent, another's, refused or silent
    held_prices.py the prices by which a hold was sized
    late_jobs.py   jobs that turn up after their hold was given back
    deletion.py    books a job before its caller deletes it
    emergency.py   cancels running jobs when a customer's cost breaker opens

In the background:

    reconcile.py   every minute: mends what crashes left; spend_comparison.py is its last step, and
                   part_drifts.py compares the budgets that each principal has
    sweep/         reads every job of the projects, whoever ran it, and books what nobody has
    own_costs.py   runs the gate's own queries within a bound, and has their cost booked

For commands, without a gate:

    proof/         compares the ledger with BigQuery
    rerating/      prices charges again after a change of prices

A cost is written to the ledger before the budgets are touched, so that a crash leaves a hold standing too long rather
than money missing. Knows ports and domain only.
"""
