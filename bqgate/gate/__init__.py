"""HTTP in, HTTP out: the map of the request path.

A query passes these files, in this order; ``handler.QueryHandler.handle_query`` tells the story in one screen, and
everything that is learnt on the way stands in one RequestContext (request_context.py):

    http_server.py     aiohttp's request becomes a Call
    dispatch.py        which way: a job to the handler, a batch apart, everything else through passthrough.py
    identify.py        who asks, who pays
    submission.py      the job out of the body, however it is packed
    isolation/         where all customers are one to BigQuery: what this one may touch
    handler.py         wire/query_request.py reads the query; then
      admission/estimate.py        what it would process: a dry run, or one that is remembered
      holds.py                     opens its hold, and is the only place where a hold ends
        admission/admit.py         sizes it (sizing.py), has it placed, decides (domain/decision.py)
        admission/hold_service.py  places it on all budgets or none, and records it: from here a crash loses no money
          budgets/redis_store.py   one script, place_hold.lua; or memory_store.py
          ledger/sql_ledger.py     one row, written in groups
      admission/queue/           its turn: when little is left, or when enough run already
      forward.py                   to BigQuery and back, streamed, watched as it passes
        bigquery/upstream.py       time limits, retry, breaker, credentials, the socket
      outcome.py                   what the answer proves of the cost
    holds.py           the attempt has ended; with the last one settlement/evidence.py says what all of them prove
      settlement/poller.py         books the cost, gives the hold back, or asks BigQuery until it is known
      settlement/settlement.py     ledger and budgets, in the order that a crash cannot hurt

``reply.py`` knows the status codes, ``shown.py`` the gate's headers, ``middleware.py`` answers for failures. A refusal
may be told what would make its query cheaper (``advice/``); a forwarded query never asks.
"""
