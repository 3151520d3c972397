"""Find out what each job cost, book it once and end its hold (step 10).

    evidence.py    what the attempts at one hold prove together                       pure
    settlement.py  one try to end a hold: book and capture, or void; safe to repeat
    poller.py      the door: ends holds whose cost is told, asks after the others until it is known
    watched.py     what the poller knows of one hold, and when it may conclude        pure
    schedule.py    which hold is asked after when
    inquiry.py     one question to BigQuery: ended, running, absent, another's, refused or silent
    late_jobs.py   jobs that turn up after their hold was given back
    deletion.py    before a caller deletes a job: book it first
    reconcile.py   every minute: what crashes left behind
    emergency.py   cancel what runs, when a customer's cost breaker opens

A cost is written to the ledger before the budgets are touched, so that a crash leaves a hold standing too long rather
than money missing. Knows ports and domain only.
"""
