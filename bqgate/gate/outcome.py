"""Classify BigQuery's answer to one attempt: what it proves of the job's cost. Pure.

Called by forward.py when an answer has passed or broken off; settlement/evidence.py combines the attempts of a hold.

    jobs.insert  2xx            DONE with all that its price needs: the usage; else there is a job
                 409            proves nothing: the job id belongs to another attempt, or to another hold
                 other 4xx, 501 denied: this request made no job, which asking confirms
    jobs.query   2xx            complete, with all that its price needs: the usage; else, or of a script, there is a job
                 4xx, 501       denied; a failed query is free, unless it was a script (earlier statements stay billed)
                                or was stopped (a cancelled job may be billed)
                 400 by the cap refused before it ran, for what it would bill: free
    either       5xx, cut off   proves nothing

Sources: https://cloud.google.com/bigquery/docs/error-messages (look a job up before retrying a 5xx);
https://cloud.google.com/bigquery/docs/best-practices-costs#restrict-bytes-billed (over the cap nothing is charged).
"""

from dataclasses import dataclass, replace

from bqgate.domain.hold import Hold
from bqgate.domain.job import Method, Outcome, Usage
from bqgate.domain.pricing import PriceList
from bqgate.settlement.evidence import Denied, Evidence, JobMade, Told, Unknown
from bqgate.wire.cap_refusal import is_refused_by_cap
from bqgate.wire.error_reply import reason_of
from bqgate.wire.job_resource import usage_from
from bqgate.wire.query_response import job_ref_in, read_members, usage_in_query_answer

_NOT_IMPLEMENTED = 501
# Answers of 4xx that a server gives for reasons of its own, after it may have begun: conflict, timeouts, its own load.
_PROVES_NOTHING = frozenset({408, 409, 425, 499})


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of an answer. `text` is its decoded beginning, `is_whole` whether that is all of it."""

    status: int
    text: str
    is_whole: bool


def classify_response(seen: Seen, *, method: Method, hold: Hold, is_script: bool, prices: PriceList) -> Evidence:
    """What an answer proves.

    Args:
        seen: the answer.
        method: how the query was submitted.
        hold: its hold, whose job is known beforehand for jobs.insert.
        is_script: whether it may be a script: its earlier statements are billed although it failed, and an answer of
            jobs.query may speak of its last one alone.
        prices: say what must be known of the job; answers state it in part only.
    """
    if 200 <= seen.status < 300:
        return _classify_success(seen, method=method, hold=hold, is_script=is_script, prices=prices)
    is_refusal = 400 <= seen.status < 500 or seen.status == _NOT_IMPLEMENTED
    if not is_refusal or seen.status in _PROVES_NOTHING:
        return Unknown()
    if method is Method.INSERT:
        return Denied()
    if seen.is_whole and not is_script and is_refused_by_cap(seen.status, seen.text):
        return Told(Usage(job=None, outcome=Outcome.FAILED, bytes_billed=0, slot_ms=0))
    return Denied(may_bill=is_script or reason_of(seen.text.encode()) in {None, "stopped"})


def _classify_success(seen: Seen, *, method: Method, hold: Hold, is_script: bool, prices: PriceList) -> Evidence:
    members = read_members(seen.text)
    usage = None
    if seen.is_whole and method is Method.INSERT:
        usage = _stated(usage_from(members), hold, prices)
    elif seen.is_whole and not is_script:
        usage = usage_in_query_answer(members, prices=prices, priced_as=hold.priced_as)
    return JobMade(job_ref_in(members) or hold.job) if usage is None else Told(usage)


def _stated(usage: Usage | None, hold: Hold, prices: PriceList) -> Usage | None:
    """The usage in an answer of jobs.insert; None where it does not say all that its price needs."""
    if usage is None or (usage.outcome is Outcome.FAILED and usage.bytes_billed is None):
        return None
    job = usage.job or hold.job
    location = job.location if job else None
    seen = replace(usage, is_reservation_known=usage.reservation is not None)
    return None if prices.lacks(seen, location=location, priced_as=hold.priced_as) else usage
