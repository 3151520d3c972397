"""Serve BigQuery's API over HTTP, and hold every query against its budgets before it is forwarded.

Read this map, then handler.py: ``QueryHandler.handle_query`` is the request path on one screen. What is learnt on the
way is kept in one RequestContext (request_context.py). A query passes these files, in this order:

    gate/http/http_server.py               aiohttp's request becomes an HttpRequest
    gate/dispatch.py                       chooses: jobs to the handler, batches apart, the rest to gate/passthrough.py
      gate/routes.py                       which of BigQuery's methods the URL names
      gate/identify.py                     who asks
      gate/payers.py                       which customer pays
      gate/method_override.py              takes off X-HTTP-Method-Override
      gate/submission.py                   reads the job from the body: JSON, multipart or a resumable upload's start
    gate/handler.py                        wire/query_request.py parses the query; then
      gate/isolation/boundary.py           where customers share an account: may this one touch what the query names
      admission/estimates/estimator.py     what it would process: a dry run, or a cached one
        bigquery/jobs.py                   the gate's own calls to BigQuery
      gate/holds.py                        opens the hold; the only place where a hold ends
        admission/admit.py                 size, place, decide, record
          admission/sizing.py              how much to hold, and the cap that BigQuery gets
          admission/hold_factory.py        the hold, with its job id and idempotency key
          admission/hold_service.py        places it on all budgets or none, records it, keeps its lease
            budgets/redis_store.py         place_hold.lua in Redis; or budgets/memory_store.py
            ledger/journal/journal.py      one append to a file: from here a crash loses no money; into SQL behind it
          domain/decision.py               forward, throttle or reject
      admission/queue/admission_queue.py   waits, where a budget throttles or enough queries run already
      gate/forward.py                      sends it, streams the answer back and keeps a copy of its beginning
        bigquery/upstream.py               time limit, metrics, retry, breaker, credentials
        bigquery/exchange.py               the request over a connection of aiohttp's
      gate/cap_exceeded.py                 refused by the gate's own cap: once more, under a fresh estimate
      gate/answer_headers.py               X-Bqgate-* and Server-Timing
    gate/outcome.py                        what the answer proves of the cost, once its body has passed
    gate/holds.py                          the last attempt has ended:
      settlement/evidence.py               what all attempts prove together
      settlement/poller.py                 settles, gives back, or asks BigQuery until the cost is known
      settlement/settlement.py             books in the ledger, then captures in the budgets

Beside it: gate/discovery.py answers for the discovery document, before anybody is asked who it is. What runs in the
background: docs/architecture.md.
Around it: gate/http/ has connections, hosts, web pages, and the log line; its middleware.py answers for failures, whose
status codes are in gate/reply.py. A refused query may get advice (``advice/``) on what would make it cheaper.
"""
