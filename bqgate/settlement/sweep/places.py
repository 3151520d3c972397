"""Say where the sweep looks for jobs: projects and, where they are read by region, their regions.

Used by sweep.py. Projects are those of customers, shared ones, those that the settings add, and those in which the
ledger has booked of late; regions those that the settings name, that the ledger has seen in the project, and that a
look at its list of jobs shows now and then. A project that refuses is left alone for a while, and said once, with the
role that it takes; nothing that it hides counts as absent, so its mark stays where it is.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from bqgate.domain.errors import UpstreamRefused, UpstreamUnavailable
from bqgate.ports import Clock, Place, PolicySource, RegionSource, SweepStore, Telemetry
from bqgate.wire.error_reply import message_of

ROLE = "roles/bigquery.resourceViewer"
LIST_ALL = "bigquery.jobs.listAll"
_LATELY = timedelta(days=1)
_LOOK_EVERY_S = 3_600
_LEAVE_ALONE_S = 600
# Names go into paths and queries, and some come from what callers wrote.
_PROJECT = re.compile(r"[a-z0-9][a-z0-9.:-]*")
_REGION = re.compile(r"[a-z0-9-]+")


class Places:
    """Projects and regions to sweep now."""

    def __init__(
        self,
        *,
        policies: PolicySource,
        store: SweepStore,
        regions: RegionSource,
        clock: Clock,
        telemetry: Telemetry,
        more_projects: Sequence[str] = (),
        more_regions: Sequence[str] = (),
        by_region: bool = False,
    ) -> None:
        """Take the ports, what the settings add, and whether jobs are read region by region."""
        self._policies = policies
        self._store = store
        self._region_source = regions
        self._clock = clock
        self._telemetry = telemetry
        self._more_projects = tuple(more_projects)
        self._more_regions = frozenset(each.lower() for each in more_regions)
        self._by_region = by_region
        self._seen = defaultdict[str, set[str]](set)  # regions by project, of the ledger's and of lists
        self._looked_at_s: float | None = None
        self._refused_until_s: dict[str, float] = {}
        self._told: set[str] = set()

    @property
    def refused_count(self) -> int:
        """How many projects do not let the gate see all jobs."""
        return len(self._told)

    async def current(self) -> tuple[Place, ...]:
        """Where to look in this round.

        Raises:
            LedgerUnavailable: where the ledger has booked could not be learnt.
        """
        now_s = self._clock.monotonic_s()
        if self._looked_at_s is None or now_s - self._looked_at_s >= _LOOK_EVERY_S:
            await self._look()
            wanted = self.wanted()
            await self._store.drop_marks([each for each in await self._store.fetch_marks() if each not in wanted])
            self._looked_at_s = now_s
        return tuple(each for each in self.wanted() if self._refused_until_s.get(each.project_id, now_s) <= now_s)

    def wanted(self) -> tuple[Place, ...]:
        """Where to look, refused or not."""
        projects = self._projects()
        if not self._by_region:
            return tuple(Place(project) for project in projects)
        return tuple(Place(project, region) for project in projects for region in self._regions(project))

    def refuse(self, project_id: str, why: str) -> None:
        """Leave a project alone for a while. The first time it is said."""
        self._refused_until_s[project_id] = self._clock.monotonic_s() + _LEAVE_ALONE_S
        if project_id not in self._told:
            self._told.add(project_id)
            self._telemetry.log(
                "sweep_refused",
                project_id=project_id,
                error=why,
                remedy=f"give the gate's account the role {ROLE} in {project_id} ({LIST_ALL}); until then jobs past "
                "the gate are not seen there",
            )

    def accept(self, project_id: str) -> None:
        """Note that a project lets the gate see all jobs."""
        self._refused_until_s.pop(project_id, None)
        self._told.discard(project_id)

    def _projects(self) -> tuple[str, ...]:
        registry = self._policies.customer_registry
        named: Iterable[str] = (
            *registry.customer_by_project,
            *registry.shared_projects,
            *self._more_projects,
            *sorted(self._seen),
        )
        return tuple(each for each in dict.fromkeys(named) if _PROJECT.fullmatch(each) and not each.isdecimal())

    def _regions(self, project_id: str) -> tuple[str, ...]:
        named = self._more_regions | self._seen.get(project_id, set())
        return tuple(sorted(each for each in named if _REGION.fullmatch(each)))

    async def _look(self) -> None:
        """Learn where jobs are: cheap, and often enough for a new region to be found within the hour."""
        since = self._clock.now() - _LATELY
        for place in await self._store.fetch_booked_places(since=since):
            self._note(place)
        if self._by_region:
            for project in self._projects():
                await self._look_at(project, since)

    async def _look_at(self, project_id: str, since: datetime) -> None:
        try:
            for region in await self._region_source.fetch_regions(project_id, since=since):
                self._note(Place(project_id, region))
        except UpstreamRefused as refused:
            self.refuse(project_id, message_of(refused.body) or f"BigQuery answered {refused.status}")
        except UpstreamUnavailable:
            self._telemetry.count("failures_total", system="bigquery", step="sweep")

    def _note(self, place: Place) -> None:
        regions = self._seen[place.project_id]
        if place.region:
            regions.add(place.region)
