"""Measure what costs money at BigQuery and is no job, by plug-ins, and book it.

    metering.py  looks round by round: each metric at each of its places
    booking.py   books what was measured, once, and corrects what is measured otherwise later
    entries.py   a measured cost as an entry                                    pure
    checking.py  is what a plug-in answered fit to be booked                    pure
    loading.py   finds plug-ins by entry point or import path
    storage.py   a plug-in: storage, by TiB and month
    streaming.py a plug-in: rows streamed in, by 200 MiB

The plug-ins know ports.cost_metrics alone, as everybody's do. One replica measures at a time (leases).
"""
