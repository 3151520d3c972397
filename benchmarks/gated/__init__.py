"""What the benchmarks of gated queries share: a stub of BigQuery, the floor, a load, and gates over real stores.

    stub_bigquery.py   BigQuery in the fewest instructions, in a process of its own
    large_answers.py   the same with one large page of rows
    floor.py           the least that a gate in Python does: aiohttp, one script in Redis, one dry run, one forward
    load.py            so many connections that ask as fast as they are answered, and check every answer
    processes.py       starting all of them, on a processor each, and what time and memory they used
    stand.py           the stub, the stores and a folder, which every measurement needs
    gates.py           `bqgate serve` over Redis or memory, PostgreSQL or SQLite
    rounds.py          one contender for one round; many of them in turns
    redis_raw.py       Redis' commands, heard and sent as bytes
    soak.py            a gate under full load for a long time: what grows
    figures.py         medians, spreads and tables
    profiles.py        py-spy's samples of a round, by function

The stub, the floor and the load are run by their paths and import nothing of the gate, so that they cost the same
whichever gate is measured.
"""
