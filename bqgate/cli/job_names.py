"""Write a job's name as BigQuery's clients print it. Used by jobs and holds. Pure."""

from collections.abc import Mapping


def name_of(job: Mapping[str, str | None] | None) -> str | None:
    """project:location.jobid, by which `bqgate jobs show` finds it; None: it has none yet."""
    if job is None:
        return None
    where = "" if job["location"] is None else f"{job['location']}."
    return f"{job['project_id']}:{where}{job['job_id']}"
