"""Try whether the gate may see every job of each project, as the sweep must.

Called by bigquery_trials, with the gate's own credentials. One list of jobs for each project, which costs nothing. A
list that hides whose the jobs are is as bad as none: that is what the role BigQuery User shows of others' jobs. None of
it is red: a gate without that right serves as well, and does not see what comes past it.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

from bqgate.app.adapters import upstream_to
from bqgate.bigquery.credentials import AnonymousCredentials, UpstreamCredentials
from bqgate.bigquery.job_lists import ListedJobs
from bqgate.bigquery.json_calls import JsonCalls
from bqgate.cli.finding import Finding
from bqgate.domain.errors import UpstreamRefused, UpstreamUnavailable
from bqgate.domain.place import Place
from bqgate.domain.tier import CustomerRegistry
from bqgate.observe.redact import redact_text
from bqgate.settings import Settings
from bqgate.settings.sections import Credentials
from bqgate.settings.sweep_rules import why_no_sweep
from bqgate.settlement.sweep.places import LIST_ALL, ROLE
from bqgate.wire.error_reply import message_of

TRIALS_MAX = 10
_LOOK_BACK = timedelta(days=1)
_JOBS_MAX = 200
_GRANT = "gcloud projects add-iam-policy-binding {project} --member serviceAccount:{gate} --role {role}"


async def try_sweep(
    settings: Settings,
    customer_registry: CustomerRegistry,
    own: UpstreamCredentials | None,
    *,
    gate: str,
    now: datetime,
) -> AsyncIterator[Finding]:
    """Whether all jobs are shown, project by project.

    Args:
        settings: what the gate is told.
        customer_registry: the customers, with their projects.
        own: the gate's own credentials; None: it has none.
        gate: the gate's account, as far as it is known.
        now: the time.
    """
    if settings.upstream.credentials is Credentials.ANONYMOUS:
        own = AnonymousCredentials()
    reason = why_no_sweep(settings.upstream, settings.sweep)
    projects = _projects(settings, customer_registry)
    if reason is not None or own is None:
        yield Finding("sweep", None, reason or "not tried, because the gate has no credentials of its own")
        return
    if not projects:
        yield Finding("sweep", None, "not tried, because no project is known yet")
        return
    upstream = upstream_to(settings, own)
    listed = ListedJobs(JsonCalls(upstream, timeout_s=settings.upstream.call_timeout_s), jobs_max=_JOBS_MAX)
    try:
        for project in projects[:TRIALS_MAX]:
            yield await _try_project(listed, project, gate, now)
    finally:
        await upstream.close()
    if len(projects) > TRIALS_MAX:
        yield Finding("sweep", None, f"{len(projects) - TRIALS_MAX} more projects are not tried")


async def _try_project(listed: ListedJobs, project: str, gate: str, now: datetime) -> Finding:
    remedy = (
        f"give the gate's account the role BigQuery Resource Viewer ({LIST_ALL}): "
        f"{_GRANT.format(project=project, gate=gate or 'GATE', role=ROLE)}"
    )
    try:
        read = await listed.read_jobs(Place(project), since=now - _LOOK_BACK, until=now)
    except UpstreamRefused as refused:
        said = redact_text(message_of(refused.body) or "without a word")
        return Finding("sweep", None, f"in {project}: {refused.status} {said}", remedy)
    except UpstreamUnavailable as error:
        return Finding("sweep", None, f"in {project}: {error}", "see upstream.url, and try again")
    if read.masked_count:
        said = f"in {project}: {read.masked_count} jobs of the last day are shown without whose they are"
        return Finding("sweep", None, said, remedy)
    if read.is_whole and not read.jobs:
        return Finding("sweep", True, f"in {project}: jobs may be listed; there is none of the last day to see more by")
    return Finding("sweep", True, f"in {project}: everybody's jobs are shown")


def _projects(settings: Settings, customer_registry: CustomerRegistry) -> Sequence[str]:
    named = (*customer_registry.known_projects, *settings.sweep.projects)
    return tuple(dict.fromkeys(named))
