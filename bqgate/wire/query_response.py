"""Read what the gate needs from the answers of jobs.query and jobs.insert, without touching a byte of them.

Called by the forward step on a copy of the answer's beginning (or of all of it, when it is small). A finished
jobs.query answer bears its own cost; it names no reservation, no edition and no statements of a script, so a price that
depends on those needs jobs.get, and so does one that needs a field which the caller's mask left out. Reference:
https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/query.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from bqgate.domain.job import JobRef, Outcome, Usage
from bqgate.domain.pricing import PriceList
from bqgate.wire.fields import count_at, moment_at
from bqgate.wire.job_resource import job_ref_from
from bqgate.wire.json_slices import end_of_value
from bqgate.wire.json_text import read_answer

_SPACE = re.compile(r"[\s,]*")
_DECODER = json.JSONDecoder()
# Up to here an answer that is whole is read in one go, rows and all, in well below a millisecond.
_AT_ONCE_CHARS_MAX = 16 * 1024


def read_members(prefix: str) -> dict[str, Any]:
    """The whole members at the beginning of a JSON object whose end may be missing, but for the rows of a result.

    A value that is cut off ends the reading; so does anything that is not JSON, or nested too deeply to be read.
    """
    whole = read_answer(prefix) if len(prefix) <= _AT_ONCE_CHARS_MAX else None
    if whole is not None:
        whole.pop("rows", None)
        return whole
    members: dict[str, Any] = {}
    position = prefix.find("{") + 1
    if position == 0:
        return members
    try:
        while True:
            position = _skip(prefix, position)
            name, position = _DECODER.raw_decode(prefix, position)
            position = _skip(prefix, position)
            if not isinstance(name, str) or prefix[position : position + 1] != ":":
                return members
            position = _skip(prefix, position + 1)
            if name == "rows" and prefix[position : position + 1] == "[":
                position = end_of_value(prefix, position)  # to make rows of them takes three times as long
                continue
            value, position = _DECODER.raw_decode(prefix, position)
            if position >= len(prefix):
                return members  # a number may go on behind the cut
            members[name] = value
    except (ValueError, RecursionError):
        return members


def job_ref_in(answer: Mapping[str, Any]) -> JobRef | None:
    """The job that an answer of jobs.query or jobs.insert names; None where no job was made."""
    reference = answer.get("jobReference")
    return job_ref_from(reference) if isinstance(reference, dict) else None


def usage_in_query_answer(
    answer: Mapping[str, Any], *, prices: PriceList, priced_as: str | None = None
) -> Usage | None:
    """The usage that a complete jobs.query answer states; None where these prices need more than it states.

    `priced_as` is the most expensive kind of statement that may occur in the query, as its hold has it.
    """
    if answer.get("jobComplete") is not True:
        return None
    cached = answer.get("cacheHit") is True
    kind = answer.get("statementType")
    job = job_ref_in(answer)
    location = answer.get("location") or (job.location if job else None)
    place = location if isinstance(location, str) else None
    usage = Usage(
        job=None if job is None else JobRef(job.project_id, job.job_id, place),
        outcome=Outcome.CACHED if cached else Outcome.DONE,
        bytes_processed=count_at(answer, "totalBytesProcessed") or 0,
        bytes_billed=count_at(answer, "totalBytesBilled"),
        slot_ms=count_at(answer, "totalSlotMs"),
        statement_type=kind if isinstance(kind, str) and kind else None,
        cache_hit=cached,
        is_reservation_known=False,
        ended_at=moment_at(answer, "endTime"),
    )
    return None if prices.lacks(usage, location=place, priced_as=priced_as) else usage


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position
