"""Say what one customer may touch: the projects it may run jobs in, the data it may read and write. Pure.

Made by the gate's isolation from the Customer of the moment, asked there for every name that a request or a dry run
shows. Own projects are wholly in scope, and what `data` names beside them; a shared project never is, because every
customer's jobs run there: only the datasets of it that `data` names are.

Project ids are small letters (https://cloud.google.com/resource-manager/docs/creating-managing-projects) and compared
so; dataset ids are compared letter by letter. Datasets that begin with an underscore are BigQuery's own: anonymous
result tables (https://cloud.google.com/bigquery/docs/cached-results), sessions, temporary tables. They are nobody's,
but the results of queries in a project that is one customer's alone are that customer's: clients read them by name.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from bqgate.domain.resource_ids import is_unseparated, project_of_key, project_of_reservation
from bqgate.domain.tier import Customer

_BUCKETS = "gs://"
# No object's name has a control character (https://cloud.google.com/storage/docs/objects#naming); a list of names may.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# BigQuery's word for a query that runs in no reservation, but on demand.
_NO_RESERVATION = "none"


@dataclass(frozen=True, slots=True)
class DataScope:
    """What is within reach.

    Projects and reservations are in small letters; `datasets` are pairs of project and dataset.
    """

    job_projects: frozenset[str]
    projects: frozenset[str]
    datasets: frozenset[tuple[str, str]]
    prefixes: tuple[str, ...]
    reservations: frozenset[str]

    @classmethod
    def of(cls, customer: Customer, shared_projects: Collection[str]) -> "DataScope":
        """The scope of a customer beside projects in which everybody's jobs run."""
        shared = {project.lower() for project in shared_projects}
        own = {project.lower() for project in customer.projects}
        data = customer.data or ()
        names = [split_name(entry) for entry in data if not entry.startswith(_BUCKETS)]
        whole = own | {project.lower() for project, dataset, _ in names if not dataset}
        return cls(
            job_projects=frozenset(own | shared),
            projects=frozenset(whole - shared),
            datasets=frozenset((project.lower(), dataset) for project, dataset, _ in names if dataset),
            prefixes=tuple(entry.rstrip("/") for entry in data if entry.startswith(_BUCKETS)),
            reservations=frozenset(name.lower() for name in customer.reservations or ()),
        )

    def may_run_jobs_in(self, project_id: str) -> bool:
        return project_id.lower() in self.job_projects

    def shows_project(self, project_id: str) -> bool:
        """Whether the customer may know that there is such a project."""
        project = project_id.lower()
        return project in self.job_projects | self.projects or any(project == owner for owner, _ in self.datasets)

    def has_alone(self, project_id: str) -> bool:
        """Whether a project is the customer's alone: neither lent by `data` nor shared."""
        return project_id.lower() in self.job_projects & self.projects

    def allows_project(self, project_id: str) -> bool:
        """Whether all of a project is in scope."""
        return project_id.lower() in self.projects

    def allows_dataset(self, project_id: str, dataset_id: str) -> bool:
        if not is_unseparated(dataset_id) or dataset_id.startswith("_"):
            return False
        return self.allows_project(project_id) or (project_id.lower(), dataset_id) in self.datasets

    def allows_name(self, name: str) -> bool:
        """Whether "project.dataset" or "project.dataset.anything" is in scope."""
        project, dataset, _ = split_name(name)
        return self.allows_dataset(project, dataset)

    def allows_result(self, project_id: str, dataset_id: str, table_id: str) -> bool:
        """Whether a table is the anonymous result of a query in the customer's own project.

        In a shared project it may be anybody's, and so it may in one that `data` lends.
        """
        is_anonymous = dataset_id.startswith("_") and table_id.startswith("anon")
        return is_anonymous and self.has_alone(project_id)

    def allows_key(self, name: str) -> bool:
        """Whether a key of Cloud KMS may protect what a job makes: one of the customer's own projects'."""
        project = project_of_key(name)
        return project is not None and self.has_alone(project)

    def allows_reservation(self, name: str) -> bool:
        """Whether a job may run in a reservation: one that is listed, one of an own project's, or none at all."""
        if name.lower() in self.reservations or name.lower() == _NO_RESERVATION:
            return True
        project = project_of_reservation(name)
        return project is not None and self.has_alone(project)

    def allows_uri(self, uri: str) -> bool:
        """Whether a Cloud Storage address, with or without wildcards, can only mean objects in scope."""
        if ".." in uri.split("/") or _CONTROLS.search(uri) is not None:
            return False
        return any(uri == prefix or uri.startswith(f"{prefix}/") for prefix in self.prefixes)


def split_name(name: str) -> tuple[str, str, str]:
    """Project, dataset and what stands behind it; the missing ones empty. "example.com:p.d.t" has a domain before p."""
    domain, colon, rest = name.rpartition(":")
    project, _, below = rest.partition(".")
    dataset, _, table = below.partition(".")
    return f"{domain}{colon}{project}", dataset, table


def shown_name(name: str) -> str:
    """The same name as BigQuery's messages write it: "p.d.t" is p:d.t."""
    project, dataset, table = split_name(name)
    return f"{project}:{dataset}.{table}" if table else f"{project}:{dataset}" if dataset else project
