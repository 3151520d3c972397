"""Judge BigQuery's answer to a submitted query: is its cost known, must somebody ask, or did nothing run? Pure.

Called by forward when an answer has passed (or broken off). The rules, with their reasons:

    jobs.insert  2xx        DONE with all that its price needs: that is the usage; else the job is asked after
                 4xx        this request made no job; 409 neither: the job of that id is another request's, under that
                            one's hold. Where the hold is an earlier attempt's (a replay), its job is asked after
    jobs.query   2xx        complete with all that its price needs: the same
                 4xx        the query failed, which is free, unless it was a script (earlier statements stay billed) or
                            was stopped (a cancelled job may be billed): then the job is asked after
    either       501        BigQuery cannot do that, and did not: as 4xx
                 5xx, cut   whether a job exists is unknown: the job is asked after

Source: https://cloud.google.com/bigquery/docs/error-messages (look a job up before retrying a 5xx).
"""

from dataclasses import dataclass, replace

from bqgate.domain.hold import Hold
from bqgate.domain.job import JobRef, Method, Outcome, Usage
from bqgate.domain.pricing import PriceList
from bqgate.wire.error_reply import reason_of
from bqgate.wire.job_resource import usage_from
from bqgate.wire.query_response import job_ref_in, read_members, usage_in_query_answer


@dataclass(frozen=True, slots=True)
class Known:
    """The answer told what the job used."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class AskLater:
    """The job must be asked after; `job` is None where not even its id is known.

    `is_made`: BigQuery said that there is such a job, so one that is gone when asked after was deleted, not refused.
    """

    job: JobRef | None
    is_made: bool = False


@dataclass(frozen=True, slots=True)
class NothingRan:
    """BigQuery made no job: the hold is void."""


Verdict = Known | AskLater | NothingRan


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of an answer. `text` is its decoded beginning, `is_whole` whether that is all of it."""

    status: int
    text: str
    is_whole: bool


def judge(seen: Seen, *, method: Method, hold: Hold, is_script: bool, is_replay: bool, prices: PriceList) -> Verdict:
    """What an answer says of the job's cost.

    Args:
        seen: the answer.
        method: how the query was submitted.
        hold: its hold, whose job is known beforehand for jobs.insert.
        is_script: whether earlier statements may be billed although the query failed.
        is_replay: whether an earlier attempt may have made the job that this answer denies.
        prices: say what must be known of the job; answers state it in part only, all the more under a field mask.
    """
    if 200 <= seen.status < 300:
        return _judge_success(seen, method=method, hold=hold, prices=prices)
    is_refusal = 400 <= seen.status < 500 or seen.status == 501
    if not is_refusal or is_replay:
        return AskLater(hold.job)
    if method is Method.INSERT:
        # 409 too: the job of that id is another request's, under another hold, and perhaps another customer's.
        return NothingRan()
    is_stopped = reason_of(seen.text.encode()) == "stopped"
    if is_script or is_stopped or not seen.is_whole:
        return AskLater(None)
    return Known(Usage(job=None, outcome=Outcome.FAILED))


def _judge_success(seen: Seen, *, method: Method, hold: Hold, prices: PriceList) -> Verdict:
    members = read_members(seen.text)
    job = job_ref_in(members) or hold.job
    if not seen.is_whole:
        return AskLater(job, is_made=True)
    if method is Method.INSERT:
        usage = _stated(usage_from(members), job, hold, prices)
    else:
        usage = usage_in_query_answer(members, prices=prices, priced_as=hold.priced_as)
    return AskLater(job, is_made=True) if usage is None else Known(usage)


def _stated(usage: Usage | None, job: JobRef | None, hold: Hold, prices: PriceList) -> Usage | None:
    """The usage in an answer of jobs.insert; None where the caller's field mask may have left out what it cost."""
    if usage is None or (usage.outcome is Outcome.FAILED and usage.bytes_billed is None):
        return None
    location = job.location if job else None
    seen = replace(usage, is_reservation_known=usage.reservation is not None)
    return None if prices.lacks(seen, location=location, priced_as=hold.priced_as) else usage
