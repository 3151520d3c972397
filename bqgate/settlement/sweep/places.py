"""Say where the sweep looks for jobs: projects and, where they are read by region, their regions.

Used by sweep.py. Projects are those of customers, shared ones, those that the settings add, and those in which the
ledger has booked of late; regions those that the settings name, that the ledger has seen in the project, and that a
look at its list of jobs shows now and then. After an outage of all gates, those of before it. A project that refuses is
left alone for a while, and said once, with the role that it takes; so is a region, beside which the others go on.
Nothing that is hidden counts as absent, so marks stay where they are.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from bqgate.domain.errors import UpstreamRefused, UpstreamUnavailable
from bqgate.domain.place import Place
from bqgate.ports import Clock, PolicySource, RegionSource, SweepStore, Telemetry
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
        self._booked_in: frozenset[str] = frozenset()  # projects, by the ledger
        self._seen = defaultdict[str, set[str]](set)  # regions by project, of the ledger's and of lists
        self._looked_at_s: float | None = None
        self._refused_until_s: dict[Place, float] = {}
        self._told: set[Place] = set()

    @property
    def refused_count(self) -> int:
        """How many projects do not let the gate see all jobs."""
        return len({each.project_id for each in self._told} & set(self._projects()))

    async def current(self, marks: Mapping[Place, datetime]) -> tuple[Place, ...]:
        """Where to look in this round. Marks of places that are not swept any more are forgotten.

        Raises:
            LedgerUnavailable: where the ledger has booked could not be learnt.
        """
        now_s = self._clock.monotonic_s()
        if self._looked_at_s is None or now_s - self._looked_at_s >= _LOOK_EVERY_S:
            await self._look(marks)
            self._looked_at_s = now_s
        wanted = self.wanted()
        await self._store.drop_marks([each for each in marks if each not in wanted])
        return tuple(each for each in wanted if not self._is_left_alone(each, now_s))

    def wanted(self) -> tuple[Place, ...]:
        """Where to look, refused or not."""
        projects = self._projects()
        if not self._by_region:
            return tuple(Place(project) for project in projects)
        return tuple(Place(project, region) for project in projects for region in self._regions(project))

    def refuse(self, place: Place, why: str) -> None:
        """Leave a project, or one of its regions, alone for a while. The first time it is said."""
        self._refused_until_s[place] = self._clock.monotonic_s() + _LEAVE_ALONE_S
        if place in self._told:
            return
        self._told.add(place)
        project_id = place.project_id
        self._telemetry.log(
            "sweep_refused",
            project_id=project_id,
            region=place.region or None,
            error=why,
            remedy=f"look whether there is a project {project_id}, and a region {place.region} (sweep.regions)"
            if place.region
            else f"give the gate's account the role {ROLE} in {project_id} ({LIST_ALL}); until then jobs past the "
            "gate are not seen there",
        )

    def accept(self, place: Place) -> None:
        """Note that a project, or one of its regions, lets the gate see all jobs."""
        self._refused_until_s.pop(place, None)
        self._told.discard(place)

    def _is_left_alone(self, place: Place, now_s: float) -> bool:
        named = (place, Place(place.project_id))
        return any(self._refused_until_s.get(each, now_s) > now_s for each in named)

    def _projects(self) -> tuple[str, ...]:
        named: Iterable[str] = (
            *self._policies.customer_registry.known_projects,
            *self._more_projects,
            *sorted(self._booked_in),
        )
        return tuple(each for each in dict.fromkeys(named) if _PROJECT.fullmatch(each) and not each.isdecimal())

    def _regions(self, project_id: str) -> tuple[str, ...]:
        named = self._more_regions | self._seen.get(project_id, set())
        return tuple(sorted(each for each in named if _REGION.fullmatch(each)))

    async def _look(self, marks: Mapping[Place, datetime]) -> None:
        """Learn where jobs are: cheap, and often enough for a new region to be found within the hour."""
        now = self._clock.now()
        since = min(now, max(marks.values(), default=now)) - _LATELY
        booked = await self._store.fetch_booked_places(since=since)
        self._booked_in = frozenset(place.project_id for place in booked)
        for place in booked:
            self._note(place)
        if self._by_region:
            for project in self._projects():
                await self._look_at(project, since, marks)

    async def _look_at(self, project_id: str, since: datetime, marks: Mapping[Place, datetime]) -> None:
        try:
            regions = await self._region_source.fetch_regions(project_id, since=since)
        except UpstreamRefused as refused:
            self.refuse(Place(project_id), message_of(refused.body) or f"BigQuery answered {refused.status}")
            regions = _marked(marks, project_id)
        except UpstreamUnavailable:
            self._telemetry.count("failures_total", system="bigquery", step="sweep")
            regions = _marked(marks, project_id)
        for region in regions:
            self._note(Place(project_id, region))

    def _note(self, place: Place) -> None:
        if place.region:
            self._seen[place.project_id].add(place.region)


def _marked(marks: Mapping[Place, datetime], project_id: str) -> frozenset[str]:
    """Regions where jobs were read: while a project does not tell, they are still its regions."""
    return frozenset(place.region for place in marks if place.project_id == project_id)
