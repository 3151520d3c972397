"""Find out what each job cost, book it once and end its hold (step 10).

    settle.py      the door: what the gate calls when an answer told the cost, or that nothing ran
    bookkeeper.py  one attempt: ledger first, then the budgets; safe to repeat
    poller.py      holds whose job's end is not known yet: asked after until it is
    watched.py     what the poller knows of one hold, and when it may conclude
    inquiry.py     one question to BigQuery: ended, running, absent, refused or silent
    reconcile.py   every minute: what crashes left behind

The order is what makes a crash harmless: an entry is written before the budgets are touched, so that a hold stands too
long rather than money is missing. Knows ports and domain only.
"""
