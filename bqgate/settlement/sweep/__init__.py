"""Look at every job that BigQuery ran in the projects that matter, and see to it that each is booked once, at its cost.

Beside the poller, which learns the end of what this gate has sent, the sweep learns of everything else: jobs that
nobody settled because gates died, jobs whose figures changed, jobs that came past the gate. One replica does it at a
time (leases.Lease). Nothing here is on the path of a request. Where to look:

    sweep.py            rounds: places one by one, in bounded spans of time, from the mark to now
    places.py           which projects and regions, and which of them refuse
    spans.py            reads a span of time in pieces that are short enough
    jobs_by_project.py  reads jobs from INFORMATION_SCHEMA (bigquery/job_lists.py reads them by jobs.list)
    matching.py         which charge and which hold are a job's: a label alone proves nothing
    job_booking.py      settles, adjusts, books what came past the gate (domain/booking_check.py says which)
    entries.py          the entries that it writes
    pending_jobs.py     asks again after jobs that ran when they were looked at
"""
