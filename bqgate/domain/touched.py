"""Say what a write touches and what a query reads, so that no estimate outlives what it was made of.

Touched is made by wire.writes from what callers submit and kept by nobody; Reads is made of an Estimate and kept beside
it. Both hold names in small letters and without decorators ("$20260101", "@-3600000"), so that in doubt they meet.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from bqgate.domain.data_scope import split_name
from bqgate.domain.job import Estimate

# BigQuery may cut the list of referenced tables at so many: a list as long as this may lack some.
TABLES_TOLD_MAX = 50

_DECORATOR = re.compile(r"[@$].*", re.DOTALL)
# Views of what there is, by whatever name a dry run tells them.
_METADATA = re.compile(r"(^|\.)(information_schema|__tables__|__tables_summary__)(\.|$)")
_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Touched:
    """What a write may change.

    `tables` are tables, views, models and routines, "project.dataset.name"; of `datasets`, "project.dataset", anything
    may have changed, and so of `projects`. `is_everything`: nobody knows what.
    """

    tables: frozenset[str] = _NONE
    datasets: frozenset[str] = _NONE
    projects: frozenset[str] = _NONE
    is_everything: bool = False

    def __or__(self, other: "Touched") -> "Touched":
        if self.covers(other):  # as when one table is written again and again
            return self
        return Touched(
            self.tables | other.tables,
            self.datasets | other.datasets,
            self.projects | other.projects,
            self.is_everything or other.is_everything,
        )

    def covers(self, other: "Touched") -> bool:
        """Whether the other says nothing that this one does not."""
        return self.is_everything or (
            not other.is_everything
            and other.tables <= self.tables
            and other.datasets <= self.datasets
            and other.projects <= self.projects
        )

    @property
    def name_count(self) -> int:
        return len(self.tables) + len(self.datasets) + len(self.projects)

    @property
    def all_projects(self) -> frozenset[str]:
        """Where something may have changed."""
        return self.projects | {split_name(name)[0] for name in (*self.tables, *self.datasets)}

    def within(self, names_max: int) -> "Touched":
        """The same in at most so many names, or more than the same in fewer."""
        if self.is_everything:
            return EVERYTHING
        coarser = self
        if coarser.name_count > names_max:
            datasets = {_dataset_of(name) for name in self.tables}
            coarser = Touched(datasets=self.datasets | datasets, projects=self.projects)
        if coarser.name_count > names_max:
            coarser = Touched(projects=self.all_projects)
        return coarser if coarser.name_count <= names_max else EVERYTHING


EVERYTHING = Touched(is_everything=True)


@dataclass(frozen=True, slots=True)
class Writes:
    """What gates tell one another of: what was touched, and the jobs, "project:jobid", that may go on doing so."""

    touched: Touched = field(default_factory=Touched)
    jobs: frozenset[str] = _NONE

    def __or__(self, other: "Writes") -> "Writes":
        return Writes(self.touched | other.touched, self.jobs | other.jobs)

    def within(self, names_max: int) -> "Writes":
        """The same in at most so many names; of more jobs none is named."""
        return Writes(self.touched.within(names_max), self.jobs if len(self.jobs) <= names_max else _NONE)


def touched_names(names: Iterable[str]) -> Touched:
    """What is touched where things of these names are written: projects, datasets, or things in a dataset."""
    tables: set[str] = set()
    datasets: set[str] = set()
    projects: set[str] = set()
    for name in names:
        plain = plain_name(name)
        _, dataset, leaf = split_name(plain)
        (tables if leaf else datasets if dataset else projects).add(plain)
    return Touched(frozenset(tables), frozenset(datasets), frozenset(projects))


def plain_name(name: str) -> str:
    """A name in small letters, of a whole table where it names a partition or a moment of one."""
    return _DECORATOR.sub("", name).casefold()


@dataclass(frozen=True, slots=True)
class Reads:
    """What an estimate was made of.

    `families` are wildcard tables as their dataset and the beginning of their names. `is_open`: more may have been read
    than is named here, so any write in its `projects` may have changed it.
    """

    tables: frozenset[str]
    datasets: frozenset[str]
    projects: frozenset[str]
    families: tuple[tuple[str, str], ...] = ()
    is_open: bool = False

    def may_change_by(self, touched: Touched) -> bool:
        """Whether a write may have changed it."""
        if touched.is_everything or self.projects & touched.projects or self.datasets & touched.datasets:
            return True
        if self.is_open and self.projects & touched.all_projects:
            return True
        if self.tables & touched.tables:
            return True
        return bool(self.families) and any(
            _is_of(family, table) for family in self.families for table in touched.tables
        )


def reads_of(estimate: Estimate, project_id: str) -> Reads:
    """What a query reads, by its dry run in a project."""
    named = (
        *estimate.referenced_tables,
        *estimate.referenced_views,
        *estimate.referenced_routines,
        *estimate.targets,
    )
    told = len(estimate.referenced_tables)
    is_silent = told == 0 and (estimate.bytes_processed > 0 or not estimate.is_known)
    return _reads(named, project_id.casefold(), is_open=is_silent or told >= TABLES_TOLD_MAX)


@lru_cache(maxsize=1_000)  # queries are many, of few tables
def _reads(named: tuple[str, ...], project_id: str, *, is_open: bool) -> Reads:
    whole, datasets, projects = set[str](), set[str](), {project_id}
    families, is_metadata = list[tuple[str, str]](), False
    for name in {plain_name(name) for name in named}:
        project, dataset, leaf = split_name(name)
        projects.add(project)
        datasets.add(f"{project}.{dataset}")
        is_metadata = is_metadata or _METADATA.search(name) is not None
        if leaf:
            whole.add(name)
        if leaf.endswith("*"):
            families.append((f"{project}.{dataset}", name[:-1]))
    return Reads(
        tables=frozenset(whole),
        datasets=frozenset(datasets),
        projects=frozenset(projects),
        families=tuple(sorted(families)),
        is_open=is_open or is_metadata,
    )


def _dataset_of(name: str) -> str:
    project, dataset, _ = split_name(name)
    return f"{project}.{dataset}"


def _is_of(family: tuple[str, str], table: str) -> bool:
    """Whether a table is one of those that a wildcard stands for."""
    return table.startswith(family[1])
