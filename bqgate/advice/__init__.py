"""Help a refused caller: find in the query what would make it cheaper.

    query_shape.py    SQL → QueryShape: which tables, which filters; pure, by sqlglot
    suggestions.py    QueryShape and TableFacts → sentences; pure
    query_advisor.py  the Advisor: parses in a thread, asks for tables, dry-runs the rewritten query; bounded in time

Comes after a refusal is decided (gate/handler.py asks the Advisor port) and decides nothing. A query that is forwarded
never comes here. Needs the extra `advice`, so nothing is imported here; app imports the query advisor where the
settings want it.
"""
