"""HTTP in, HTTP out: the map of the request path.

A query takes these steps; ``handler.QueryHandler.handle_query`` tells them in one screen:

    1  identify   gate/identify.py            who asks, who pays
    2  intake     gate/body.py, wire/         what is it
    3  estimate   admission/estimate.py       what would it process
    4  price      admission/sizing.py         how much to hold, what to tell BigQuery it may bill
    5  hold       budgets/ (BudgetStore)      all budgets or none
    6  decide     domain/decision.py          forward, throttle or reject
    7  record     ledger/ (Ledger)            from here on a crash loses no money
    8  wait       admission/waiting/          only when throttled, or when enough run already
    9  forward    gate/forward.py             streamed, unchanged but for the fields the gate sets
    10 settle     settlement/                 book what it cost, then capture or void the hold

Where all customers are one to BigQuery, the package ``isolation`` stands before the intake, behind the estimate, and
around everything that is no query. That takes ``passthrough.py``; ``routes.py`` says which is which, ``door.py`` turns
aiohttp's requests into wire values and back, ``reply.py`` knows the status codes, ``middleware.py`` answers for
failures. A refusal may be told what would make its query cheaper (``advice/``); a forwarded query never asks.
"""
