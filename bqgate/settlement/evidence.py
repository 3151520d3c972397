"""Say what the attempts at one hold prove of its job's cost: one rule for all of them, however they ended. Pure.

An attempt is one request of a caller's under a hold; a repeat of a jobs.insert is another attempt at the same hold.
Each ends with one piece of Evidence, which gate.outcome reads from BigQuery's answer, or from its absence; `conclude`
puts the pieces together. The rules:

    one answer told the cost               that is the cost
    nothing was sent by anyone             nothing can have run
    all else                               BigQuery is asked: 409, a 5xx, silence and a caller that left prove nothing,
                                           and an answer of 4xx proves only what asking confirms
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bqgate.domain.job import JobRef, Usage


@dataclass(frozen=True, slots=True)
class NotSent:
    """Not a byte went to BigQuery."""


@dataclass(frozen=True, slots=True)
class Told:
    """BigQuery's answer told what the job used."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class JobMade:
    """BigQuery answered that there is a job, whose end it did not tell. `job` None: it did not name it."""

    job: JobRef | None


@dataclass(frozen=True, slots=True)
class Denied:
    """BigQuery answered and said no. `may_bill`: what it ran before it said so may be billed all the same."""

    may_bill: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something was sent, and what became of it nobody said."""


Evidence = NotSent | Told | JobMade | Denied | Unknown


@dataclass(frozen=True, slots=True)
class NothingSent:
    """No attempt sent anything."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """BigQuery must be asked what became of the hold's job.

    `is_made`: it has said that there is one, so that one which is gone was deleted. `is_answered`: every attempt had an
    answer, so that nothing is on its way any more. `is_free`: all answers were no, to queries that are free when they
    fail, so that nothing is owed where nobody may ask.
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
