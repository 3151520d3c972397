"""Estimate what a query would process, from a dry run or from a cached answer to one.

estimator.py        asks BigQuery, once for identical requests at the same time
estimate_cache.py   keeps answers for a short time, and drops what a write outdates   no I/O
dry_run_places.py   bounds the dry runs under way
fair_places.py      and shares those places between customers                         pure
job_writes.py       which tables running jobs write
write_broadcast.py  tells other gates what is written here, and hears what is written there
"""
