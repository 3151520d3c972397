"""Wire the sweep, and run it at the one replica that holds its lease.

Called by root once the path stands. A gate without credentials of its own has no sweep.
"""

import uuid
from datetime import timedelta

from bqgate.app.dependencies import Dependencies
from bqgate.app.path import QueryPath
from bqgate.bigquery.job_lists import ListedJobs
from bqgate.ports import JobReader
from bqgate.settings.sections import IdentityMode
from bqgate.settings.sweep_rules import why_no_sweep
from bqgate.settings.sweep_section import SweepMethod
from bqgate.settlement.sweep.job_booking import JobBooking
from bqgate.settlement.sweep.jobs_by_project import JobsByProject
from bqgate.settlement.sweep.pending_jobs import PendingJobs
from bqgate.settlement.sweep.places import Places
from bqgate.settlement.sweep.sweep import Sweep, SweepPace


def wire_sweep(deps: Dependencies, path: QueryPath) -> Sweep | None:
    """The sweep, started; None where there is none."""
    settings = deps.settings
    reason = why_no_sweep(settings.upstream, settings.sweep)
    if reason is not None:
        deps.telemetry.log("sweep_off", reason=reason)
        return None
    sweep, places = _sweep(deps, path)
    deps.start_at_one_replica("sweep", sweep.run)
    deps.metrics.read_gauge_from("sweep_mark_age_seconds", lambda: sweep.mark_age_s)
    deps.metrics.read_gauge_from("sweep_refused_projects", lambda: places.refused_count)
    return sweep


def _sweep(deps: Dependencies, path: QueryPath) -> tuple[Sweep, Places]:
    section = deps.settings.sweep
    listed = ListedJobs(deps.calls)
    by_region = section.method is SweepMethod.INFORMATION_SCHEMA
    reader: JobReader = listed
    if by_region:
        assert path.own_costs is not None, "where there is a sweep, the gate has credentials of its own"
        reader = JobsByProject(path.own_costs)
    places = Places(
        policies=deps.policies,
        store=deps.sweep_state,
        regions=listed,
        clock=deps.clock,
        telemetry=deps.telemetry,
        more_projects=section.projects,
        more_regions=section.regions,
        by_region=by_region,
    )
    booking = JobBooking(
        ledger=deps.ledger,
        settlement=path.settlement,
        bigquery=deps.bigquery,
        policies=deps.policies,
        clock=deps.clock,
        telemetry=deps.telemetry,
        new_id=lambda: uuid.uuid4().hex,
        bypass_counts=section.bypass_counts,
        is_open=deps.settings.identity.mode is IdentityMode.OPEN,
    )
    pending = PendingJobs(
        store=deps.sweep_state,
        bigquery=deps.bigquery,
        booking=booking,
        clock=deps.clock,
        telemetry=deps.telemetry,
        sees_jobless=by_region,
    )
    look_back = None if section.look_back_days is None else timedelta(days=section.look_back_days)
    sweep = Sweep(
        reader=reader,
        free_reader=listed,
        places=places,
        booking=booking,
        pending=pending,
        store=deps.sweep_state,
        budgets=deps.budgets,
        clock=deps.clock,
        telemetry=deps.telemetry,
        pace=SweepPace(section.interval_s, timedelta(seconds=section.overlap_s), look_back),
    )
    return sweep, places
