"""Let customers who share a project choose the ids of their jobs as if each were alone there.

Called by boundary.py and own_jobs.py. An id is one in its project, so that "Already Exists" would tell that another
customer has a job of the id that was tried; and two customers whose schedulers name jobs alike would be in each other's
way. Where the id that a customer chose is another's, its job is made under an id of the customer's own, which is the
chosen one with an ending. The customer never sees the ending: what it asks for by the chosen id is found by either, and
the ending is taken out of what it is answered. An upload can be sent once only, so that its job always bears one.
"""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any
from urllib.parse import unquote

from bqgate.domain.job import JobRef
from bqgate.domain.resource_ids import is_job_id
from bqgate.gate.body import chunks_of, close_body
from bqgate.gate.submission import Submission
from bqgate.wire.http_message import HttpRequest, HttpResponse, without

_ENDING = re.compile(r"-bqgate-[0-9a-f]{20}")
# Of BigQuery's 1,024, what an ending leaves: a longer id could not be made as if it were free.
CHOSEN_CHARS_MAX = 1024 - len("-bqgate-") - 20
_BODY_HEADERS = frozenset({"content-length", "content-md5", "etag", "x-goog-hash"})


def has_ending(job_id: str) -> bool:
    """Whether a chosen id looks as if it bore some customer's ending, who would then not find it free."""
    return _ENDING.search(job_id) is not None


def own_id(job_id: str, owner: str) -> str | None:
    """The id that stands in for a chosen one; None: the chosen one has no room for an ending."""
    own = f"{job_id}{_ending(owner)}"
    return own if is_job_id(own) else None


def chosen_id(document: Mapping[str, Any]) -> str | None:
    """The id that a submitted job chooses; the document is judged already."""
    job_id = (document.get("jobReference") or {}).get("jobId")
    return job_id if isinstance(job_id, str) and job_id else None


def under_id(submission: Submission, job_id: str) -> Submission:
    """The same job under another id, to be answered in an encoding in which the id can be found."""
    reference = {**(submission.document.get("jobReference") or {}), "jobId": job_id}
    document = {**submission.document, "jobReference": reference}
    return replace(submission, document=document, build_request=lambda new: unpacked(submission.build_request(new)))


def asked_by_id(call: HttpRequest, job: JobRef, job_id: str) -> HttpRequest:
    """A call on a job, by another id in its path."""
    segments = call.path.split("/")
    at = len(segments) - 1
    if unquote(segments[at]) != job.job_id or unquote(segments[at - 1]) not in {"jobs", "queries"}:
        at -= 1  # behind the id stands what is to be done with the job
    segments[at] = job_id
    return unpacked(replace(call, path="/".join(segments)))


def unpacked(call: HttpRequest) -> HttpRequest:
    """The call, to be answered in no encoding, so that an id in the answer can be found."""
    return replace(call, headers=(*without(call.headers, {"accept-encoding"}), ("Accept-Encoding", "identity")))


def as_chosen(answer: HttpResponse, owner: str) -> HttpResponse:
    """BigQuery's answer with the ids as the customer chose them."""
    ending = _ending(owner).encode()
    headers = without(answer.headers, _BODY_HEADERS)
    if isinstance(answer.body, bytes):
        return replace(answer, headers=headers, body=answer.body.replace(ending, b""))
    return replace(answer, headers=headers, body=_Cleared(answer.body, ending))


def chosen_in(job: dict[str, Any], owner: str) -> None:
    """Put down a listed job's ids as the customer chose them."""
    ending = _ending(owner)
    for holder, name in (
        (job, "id"),
        (job, "selfLink"),
        (job.get("jobReference"), "jobId"),
        (job.get("statistics"), "parentJobId"),
    ):
        if isinstance(holder, dict) and isinstance(holder.get(name), str):
            holder[name] = holder[name].replace(ending, "")


class _Cleared:
    """A body on its way to the caller, without a text that may lie across its chunks."""

    def __init__(self, body: AsyncIterator[bytes], text: bytes) -> None:
        self._body = body
        self._chunks = chunks_of(body)
        self._text = text
        self._kept = b""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        async for chunk in self._chunks:
            seen = (self._kept + chunk).replace(self._text, b"")
            cut = max(0, len(seen) - len(self._text) + 1)
            self._kept = seen[cut:]
            if cut:
                return seen[:cut]
        rest, self._kept = self._kept, b""
        if not rest:
            raise StopAsyncIteration
        return rest

    async def aclose(self) -> None:
        """Stop reading the body behind it."""
        await close_body(self._body)


def _ending(owner: str) -> str:
    return f"-bqgate-{sha256(f'job id of {owner}'.encode()).hexdigest()[:20]}"
