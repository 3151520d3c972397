"""Say which customer pays: the one that a credential proves, else the owner of the project that a job runs in.

Used by identify.py for every call, by dispatch.py for what names a project by its number, and by the handler once
BigQuery has answered for a project. A workload in the path chooses a customer before an open gate only; anywhere else a
caller would choose who pays.

A project that no customer is listed for is a customer of its own, in the default tier. That holds from BigQuery's first
answer for it on (`settled`): until then all such names are one customer, UNKNOWN_PROJECT, so that made-up names have
one budget, one allowance and one place in every queue between them, and leave nothing behind. BigQuery takes a project
by its id, which has one spelling (routes.py refuses others), and by its number; which id a number stands for is asked
by a dry run that reads nothing, and kept, for it never changes
(https://cloud.google.com/resource-manager/docs/creating-managing-projects).

What leaves: customers, and BigQuery's own refusal of a number that it does not know.
"""

from collections import OrderedDict
from typing import Any

from bqgate.domain.principal import Credential, Identity, Principal, Role
from bqgate.domain.tier import UNKNOWN_PROJECT
from bqgate.gate.routes import Route, in_project
from bqgate.ports import DryRunner, PolicySource

_KEPT_MAX = 10_000
_NO_CREDENTIAL = Credential()


class Payers:
    """Who pays, and the projects that BigQuery has answered for."""

    def __init__(
        self, policies: PolicySource, bigquery: DryRunner, *, passes_credentials: bool, kept_max: int = _KEPT_MAX
    ) -> None:
        """Know no project yet.

        Args:
            policies: whose projects are whose.
            bigquery: asked for the id of a project that is named by its number.
            passes_credentials: callers' credentials go upstream, and the principal keeps the caller's.
            kept_max: how many projects, and numbers, are remembered; those go first that were not seen for longest.
        """
        self._policies = policies
        self._bigquery = bigquery
        self._passes_credentials = passes_credentials
        self._kept_max = kept_max
        self._answered: OrderedDict[str, None] = OrderedDict()
        self._ids: OrderedDict[str, str] = OrderedDict()

    def principal_of(self, identity: Identity, credential: Credential, route: Route) -> Principal:
        """Who asks, with the customer who pays as far as it is known by now."""
        known = credential if self._passes_credentials else _NO_CREDENTIAL
        customer = identity.customer or self._customer_by_route(identity, route)
        credential = self._charged(known, identity.subject, customer)
        return Principal(customer, identity.name, route.workload, credential, identity.role)

    def settled(self, principal: Principal, project_id: str) -> Principal:
        """The same caller, after BigQuery has answered for the project in which its query is to run."""
        if principal.customer != UNKNOWN_PROJECT:
            return principal
        self._answered[project_id] = None
        _cut(self._answered, self._kept_max)
        customer = self._owner_of(project_id, principal.role)
        credential = self._charged(principal.credential, principal.credential.subject, customer)
        return Principal(customer, principal.name, principal.workload, credential, principal.role)

    async def asked(self, principal: Principal, project_id: str) -> Principal:
        """The same, where BigQuery has refused the query itself: whether there is the project it may not have looked.

        Raises:
            UpstreamRefused, UpstreamUnavailable, TooManyRequests: as by_id.
        """
        if principal.customer != UNKNOWN_PROJECT:
            return principal
        return self.settled(principal, await self._ask(project_id, principal.credential))

    async def by_id(self, route: Route, principal: Principal) -> tuple[Route, Principal]:
        """A submission and its caller, with the id of the project where the path has its number.

        Raises:
            UpstreamRefused: BigQuery does not know the project, or not this caller in it.
            UpstreamUnavailable: BigQuery does not answer.
            TooManyRequests: too many dry runs are under way.
        """
        number = route.project_id or ""
        if not number.isdecimal() or not self._may_learn_ids(principal):
            return route, principal
        project_id = self._ids.get(number)
        if project_id is None:
            project_id = self._ids[number] = await self._ask(number, principal.credential)
        self._ids.move_to_end(number)
        _cut(self._ids, self._kept_max)
        return in_project(route, project_id), self.settled(principal, project_id)

    async def _ask(self, project_id: str, credential: Credential) -> str:
        """The id of a project, by BigQuery's word."""
        answer = await self._bigquery.dry_run(project_id=project_id, body=_question(project_id), credential=credential)
        return answer.project_id or project_id

    def _customer_by_route(self, identity: Identity, route: Route) -> str:
        is_listed = route.workload in self._policies.customer_registry.customers
        if identity.role is Role.OPEN and route.workload is not None and is_listed:
            return route.workload
        return self._owner_of(route.project_id or "", identity.role)

    def _owner_of(self, project_id: str, role: Role) -> str:
        payer = self._policies.customer_registry.payer_of(project_id, is_open=role is Role.OPEN)
        if payer != project_id or self._policies.customer_registry.owner_of(project_id) is not None:
            return payer
        if project_id and project_id not in self._answered:
            return UNKNOWN_PROJECT
        if project_id:
            self._answered.move_to_end(project_id)
        return project_id

    def _charged(self, known: Credential, subject: str | None, customer: str) -> Credential:
        """What goes upstream for somebody at a customer's cost."""
        account = known.account
        if not self._passes_credentials:
            account = self._policies.customer_registry.customer(customer).account
        return Credential(known.authorization, known.user_project, subject, account, customer)

    def _may_learn_ids(self, principal: Principal) -> bool:
        """Whether BigQuery may be asked: in the gate's own name it would answer a customer about others' projects."""
        return self._passes_credentials or principal.role is Role.OPEN or principal.customer == UNKNOWN_PROJECT


def line_of(principal: Principal) -> str:
    """In whose line a call waits: its customer's, or the caller's own where nobody knows yet which customer pays.

    Else strangers with made-up projects would stand before everybody's first query.
    """
    return principal.customer if principal.customer != UNKNOWN_PROJECT else f"caller {principal.credential.caller}"


def _question(project_id: str) -> dict[str, Any]:
    """A dry run that reads nothing."""
    query = {"query": "SELECT 1", "useLegacySql": False}
    return {"jobReference": {"projectId": project_id}, "configuration": {"query": query, "dryRun": True}}


def _cut(kept: OrderedDict[str, Any], entries_max: int) -> None:
    while len(kept) > entries_max:
        kept.popitem(last=False)
