"""Find out whose a job is: by the label that the gate put on it when it was submitted.

Called by boundary.py; asks jobs.get over the Upstream port. A child of a script is its parent's, whatever labels it
bears, because a script can set them (SET @@query_label). What leaves: the owner's label, and where the job is; or
JobNotFound in BigQuery's words, or UpstreamUnavailable.

Answers are kept for a minute, at most ENTRIES_MAX of them, and always by the job's location: one id may be used in two
regions, and without a location BigQuery itself chooses. Who asks says where what was kept will not do.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from bqgate.domain.errors import BodyTooLarge, JobNotFound, UpstreamUnavailable
from bqgate.domain.job import JobRef
from bqgate.domain.principal import Credential
from bqgate.gate.body import close_body, read_bounded
from bqgate.ports import Clock, Upstream
from bqgate.wire.http_message import HttpRequest, HttpResponse
from bqgate.wire.job_labels import CUSTOMER_LABEL
from bqgate.wire.job_resource import job_ref_from
from bqgate.wire.json_text import read_answer

ENTRIES_MAX = 20_000
KEPT_S = 60
_ANSWER_BYTES_MAX = 16 * 1024 * 1024
_TIMEOUT_S = 30
_DEPTH_MAX = 4
_FIELDS = "jobReference,configuration(labels),statistics(parentJobId)"
# Nobody's: a job that was submitted past the gate, or before it kept customers apart.
NOBODY = ""


class JobOwners:
    """The owners of jobs, as BigQuery tells them."""

    def __init__(self, upstream: Upstream, clock: Clock) -> None:
        self._upstream = upstream
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str, str], tuple[str, float]] = OrderedDict()

    async def find(
        self, job: JobRef, credential: Credential, *, is_fresh: bool = False, depth: int = 0
    ) -> tuple[str, str]:
        """The label of a job's owner (NOBODY where it has none) and the job's location.

        Args:
            job: which.
            credential: whose question it is.
            is_fresh: the answer must be BigQuery's of now, because another may have made a job of this id meanwhile.
            depth: how many of its children were asked about before.

        Raises:
            JobNotFound: BigQuery knows no such job, or shows it to nobody.
            UpstreamUnavailable: BigQuery does not answer.
        """
        kept = self.kept(job)
        if kept is not None and not is_fresh:
            return kept, job.location or ""
        resource = await self._ask(job, credential)
        found = job_ref_from(_part(resource, "jobReference")) or job
        parent_id = _part(resource, "statistics").get("parentJobId")
        if not isinstance(parent_id, str) or not parent_id:
            owner = label_of(resource)
        elif depth < _DEPTH_MAX:
            parent = JobRef(job.project_id, parent_id, found.location)
            owner, _ = await self.find(parent, credential, is_fresh=is_fresh, depth=depth + 1)
        else:
            owner = NOBODY
        self.note(found, owner)
        return owner, found.location or ""

    def kept(self, job: JobRef) -> str | None:
        """The owner's label, where it is known without asking."""
        kept = self._kept.get(_key(job)) if job.location is not None else None
        return kept[0] if kept is not None and kept[1] > self._clock.monotonic_s() else None

    def note(self, job: JobRef, owner: str) -> None:
        """Keep whose a job is; without its location it is not known well enough."""
        if job.location is None:
            return
        self._kept[_key(job)] = (owner, self._clock.monotonic_s() + KEPT_S)
        self._kept.move_to_end(_key(job))
        while len(self._kept) > ENTRIES_MAX:
            self._kept.popitem(last=False)

    def forget(self, job: JobRef) -> None:
        """Ask again next time: the job may be gone, and its id another's."""
        self._kept.pop(_key(job), None)

    async def _ask(self, job: JobRef, credential: Credential) -> Mapping[str, Any]:
        path = f"/bigquery/v2/projects/{quote(job.project_id, safe=':')}/jobs/{quote(job.job_id, safe='')}"
        params = {"fields": _FIELDS, "prettyPrint": "false"}
        if job.location is not None:
            params["location"] = job.location
        call = HttpRequest("GET", path, urlencode(params))
        answer = await self._upstream.send(call, credential=credential, read_timeout_s=_TIMEOUT_S)
        body = await _whole(answer)
        if answer.status in {400, 403, 404}:
            raise absent(job)
        resource = read_answer(body) if answer.status == 200 else None
        if resource is None:
            raise UpstreamUnavailable(f"BigQuery is not answering whose a job is (status {answer.status}).")
        return resource


def absent(job: JobRef) -> JobNotFound:
    """What BigQuery says of a job that is not there; what the gate says of one that is another's."""
    place = f"{job.project_id}:{job.location}." if job.location else f"{job.project_id}:"
    return JobNotFound(f"Not found: Job {place}{job.job_id}")


def label_of(resource: Mapping[str, Any]) -> str:
    """The owner's label on a job; NOBODY where it bears none."""
    label = _part(_part(resource, "configuration"), "labels").get(CUSTOMER_LABEL)
    return label if isinstance(label, str) else NOBODY


def parent_of(resource: Mapping[str, Any]) -> JobRef | None:
    """The script that a listed job is a part of."""
    job = job_ref_from(_part(resource, "jobReference"))
    parent_id = _part(resource, "statistics").get("parentJobId")
    if job is None or not isinstance(parent_id, str) or not parent_id:
        return None
    return JobRef(job.project_id, parent_id, job.location)


def _key(job: JobRef) -> tuple[str, str, str]:
    return job.project_id.lower(), job.job_id, (job.location or "").lower()


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


async def _whole(answer: HttpResponse) -> bytes:
    try:
        return await read_bounded(answer.body, bytes_max=_ANSWER_BYTES_MAX)
    except BodyTooLarge:
        raise UpstreamUnavailable("BigQuery's answer about a job is too large.") from None
    finally:
        await close_body(answer.body)
