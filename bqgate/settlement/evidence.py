"""Combine what the attempts at one hold prove of its job's cost. One rule, however they ended. Pure.

An attempt is one request under a hold; a repeated jobs.insert is another attempt at the same hold. Each ends with one
piece of Evidence, which gate/outcome.py reads from BigQuery's answer or from its absence. `conclude` combines them:

    an answer told the cost   that is the cost
    nothing was sent          nothing can have run
    all else                  BigQuery is asked: a 409, a 5xx, silence and a caller that left prove nothing, and
                              another 4xx proves only what asking confirms
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bqgate.domain.job import JobRef, Usage


@dataclass(frozen=True, slots=True)
class NotSent:
    """Not a byte was sent to BigQuery."""


@dataclass(frozen=True, slots=True)
class Told:
    """BigQuery's answer says what the job used."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class JobMade:
    """BigQuery answered that there is a job, but not what it used. `job` None: the answer did not name it."""

    job: JobRef | None


@dataclass(frozen=True, slots=True)
class Denied:
    """BigQuery refused. `may_bill`: what it ran before that may be billed all the same."""

    may_bill: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something was sent, and what became of it is unknown."""


Evidence = NotSent | Told | JobMade | Denied | Unknown


@dataclass(frozen=True, slots=True)
class NothingSent:
    """No attempt sent anything."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """BigQuery must be asked what became of the hold's job.

    `is_made`: BigQuery has named a job, so that one which is gone was deleted. `is_answered`: every attempt had an
    answer, so that nothing is on its way any more. `is_free`: all were refused, and are free when they fail, so that
    nothing is owed where nobody may ask.
    """

    job: JobRef | None = None
    is_made: bool = False
    is_answered: bool = False
    is_free: bool = False


Conclusion = Told | NothingSent | Inquiry


def conclude(evidence: Sequence[Evidence]) -> Conclusion:
    """What the attempts at one hold prove together, when the last of them has ended."""
    told = next((each for each in evidence if isinstance(each, Told)), None)
    if told is not None:
        return told
    sent = [each for each in evidence if not isinstance(each, NotSent)]
    if not sent:
        return NothingSent()
    made = [each for each in sent if isinstance(each, JobMade)]
    return Inquiry(
        job=next((each.job for each in made if each.job is not None), None),
        is_made=bool(made),
        is_answered=not any(isinstance(each, Unknown) for each in sent),
        is_free=all(isinstance(each, Denied) and not each.may_bill for each in sent),
    )
