"""Keep customers apart who all go to BigQuery with one identity: nobody sees or touches another's jobs and data.

The dispatch step and the handler ask `boundary.Isolation`; everything else here serves it.

    gate/isolation/boundary.py           what is asked of whom; tells the audit log of what was refused
    gate/isolation/rules.py              one row for each of BigQuery's methods
    gate/isolation/job_bodies.py         what a submitted job names, and the label that makes it its customer's
    gate/isolation/job_fields.py         the fields that it may have; field_lists.py holds bodies against such lists
    gate/isolation/ids.py                ids that are none
    gate/isolation/queries.py            what a query reads and writes, by the dry run
    gate/isolation/text_verdict.py       what a query's text says of it, where the dry run may not tell
    gate/isolation/names.py              whether a name in it may lie out of scope
    gate/isolation/options.py            files and keys in the options of definitions
    gate/isolation/arguments.py          connections, endpoints and parameters among the arguments of calls
    gate/isolation/owners.py             whose a job is
    gate/isolation/own_jobs.py           calls on jobs, and lists of them, for their owner
    gate/isolation/taken_ids.py          job ids that two customers choose
    gate/isolation/upload_sessions.py    whose a resumable upload is
    gate/isolation/lists.py              lists less what is others'
    gate/isolation/resources.py          what datasets, tables and routines may be made; resource_fields.py has fields
    gate/isolation/denials.py            the words
"""

from bqgate.gate.isolation.boundary import Isolation, IsolationMode

__all__ = ["Isolation", "IsolationMode"]
