"""Try whether BigQuery keeps customers apart: each has an account of its own, and no account sees what is another's.

Called by bigquery_trials where callers log in at the gate and it calls BigQuery in its own name. Only lists are asked
for (datasets.list, tables.list), which cost nothing and read no row. What an account may see is what its customer's
`projects` and `data` say, and what nobody else's do. Bounded in questions.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from bqgate.bigquery.upstream import HttpUpstream
from bqgate.cli.finding import Finding
from bqgate.domain.data_scope import DataScope, split_name
from bqgate.domain.errors import BodyTooLarge, UpstreamUnavailable
from bqgate.domain.principal import Credential
from bqgate.domain.tier import Customer, CustomerRegistry
from bqgate.gate.body import close_body, read_bounded
from bqgate.policies import shared_accounts
from bqgate.wire.http_message import HttpRequest
from bqgate.wire.json_text import read_answer

# Each takes a fraction of a second; there are as many as customers, squared.
QUESTIONS_MAX = 60
_PROJECTS_MAX = 10
_ANSWER_BYTES_MAX = 8 * 1024 * 1024
_MAKE_ACCOUNT = (
    "make one for each, and let the gate's account, {gate}, become it (docs/access.md): "
    "gcloud iam service-accounts create bqgate-NAME --project PROJECT; "
    "gcloud iam service-accounts add-iam-policy-binding bqgate-NAME@PROJECT.iam.gserviceaccount.com "
    "--member serviceAccount:{gate} --role roles/iam.serviceAccountTokenCreator; "
    "bqgate customers set {customer} service_account=bqgate-NAME@PROJECT.iam.gserviceaccount.com"
)
_TAKE_FROM_PROJECT = (
    "take its roles there away; which they are: "
    "gcloud projects get-iam-policy {project} --flatten 'bindings[].members' "
    "--filter bindings.members=serviceAccount:{account} --format 'value(bindings.role)'"
)
_TAKE_FROM_DATASET = "take {account} out of its access list, which is shown by: bq show --format=prettyjson {dataset}"


@dataclass(frozen=True, slots=True)
class _Question:
    """What an account is not to see: a dataset of a neighbour's, or (dataset empty) any of a project's."""

    account: str
    scope: DataScope
    neighbour: str
    project: str
    dataset: str = ""

    @property
    def path(self) -> str:
        path = f"/bigquery/v2/projects/{quote(self.project, safe=':')}/datasets"
        return f"{path}/{quote(self.dataset, safe='')}/tables" if self.dataset else path

    def seen_in(self, answer: Mapping[str, Any] | None) -> str:
        """The first thing in an answer that only the neighbour may see; empty where there is none."""
        if answer is None:
            return ""
        if self.dataset:
            return f"{self.project}:{self.dataset}"
        others = (name for name in _datasets_in(answer) if not self.scope.allows_dataset(self.project, name))
        return next((f"{self.project}:{name}" for name in others), "")

    def finding_of(self, seen: str) -> Finding:
        said = f"{self.account} can see {seen} of {self.neighbour}"
        remedy = _TAKE_FROM_DATASET if self.dataset else _TAKE_FROM_PROJECT
        return Finding(
            "neighbours", False, said, remedy.format(project=self.project, account=self.account, dataset=seen)
        )


def check_own_accounts(customer_registry: CustomerRegistry, gate: str) -> Iterator[Finding]:
    """Has each customer an account of its own? `gate` is the gate's own."""
    accounts = shared_accounts.accounts_of(customer_registry)
    names, shared = shared_accounts.without_account(accounts), shared_accounts.sharing_account(accounts)
    if names:
        said = (
            f"{shared_accounts.listed(names)}: as the gate's own account; only its reading of queries keeps them apart"
        )
        yield Finding("isolation", None, said, _MAKE_ACCOUNT.format(gate=gate, customer=names[0]))
    for account, sharers in shared.items():
        said = f"{shared_accounts.listed(sharers)} have one service account, {account}: BigQuery cannot tell them apart"
        yield Finding("isolation", None, said, _MAKE_ACCOUNT.format(gate=gate, customer=sharers[-1]))
    used = {account.lower() for account in accounts.values() if account is not None}
    if gate.lower() in used:
        yield Finding("isolation", None, f"{gate} is the gate's own account and a customer's", "give each its own")
    elif used and not names and not shared:
        yield Finding("isolation", True, "each customer has a service account of its own")


async def check_neighbours(
    upstream: HttpUpstream, customer_registry: CustomerRegistry, *, timeout_s: float
) -> AsyncIterator[Finding]:
    """Does an account see what is another customer's? Each account that BigQuery answers has one line, or its slips."""
    left = QUESTIONS_MAX
    for customer in customer_registry.customers.values():
        if customer.account is None:
            continue
        questions = list(_questions(customer, customer_registry))
        if left < len(questions):
            yield Finding(
                "neighbours", None, f"{customer.account} and those behind it are not tried: too many customers"
            )
            return
        left -= len(questions)
        try:
            slips = [
                question.finding_of(seen)
                for question in questions
                if (seen := question.seen_in(await _ask(upstream, question.path, question.account, timeout_s)))
            ]
        except UpstreamUnavailable as error:
            yield Finding("neighbours", None, f"not tried as {customer.account}: {error}")
            continue
        for slip in slips:
            yield slip
        if questions and not slips:
            yield Finding("neighbours", True, f"{customer.account} sees nothing of other customers'")


async def check_gates_own(
    upstream: HttpUpstream, customer_registry: CustomerRegistry, gate: str, *, timeout_s: float
) -> AsyncIterator[Finding]:
    """Where each customer has an account, does the gate's own see what it need not?"""
    customers = tuple(customer_registry.customers.values())
    if not customers or any(customer.account is None for customer in customers):
        return
    for project in [customer.projects[0] for customer in customers if customer.projects][:_PROJECTS_MAX]:
        path = f"/bigquery/v2/projects/{quote(project, safe=':')}/datasets"
        try:
            answer = await _ask(upstream, path, None, timeout_s)
        except UpstreamUnavailable:
            return
        seen = next(_datasets_in(answer or {}), None)
        if seen is not None:
            said = f"{gate}, the gate's own account, can see {project}:{seen}, and need not: nothing is to go up as it"
            yield Finding("isolation", None, said, _TAKE_FROM_PROJECT.format(project=project, account=gate))


def _questions(customer: Customer, customer_registry: CustomerRegistry) -> Iterator[_Question]:
    """What is to be asked as a customer's account: each project and dataset of others that is not its own too."""
    assert customer.account is not None, "the caller has looked"
    scope = DataScope.of(customer, customer_registry.shared_projects)
    for neighbour in customer_registry.customers.values():
        if neighbour.id == customer.id:
            continue
        names = [*neighbour.projects, *(name for name in neighbour.data or () if not name.startswith("gs://"))]
        for project, dataset, _ in map(split_name, names):
            is_own = scope.allows_dataset(project, dataset) if dataset else scope.allows_project(project)
            if not is_own:
                yield _Question(customer.account, scope, neighbour.id, project, dataset)


def _datasets_in(answer: Mapping[str, Any]) -> Iterator[str]:
    entries = answer.get("datasets")
    for entry in entries if isinstance(entries, list) else ():
        reference = entry.get("datasetReference") if isinstance(entry, dict) else None
        if isinstance(reference, dict):
            yield str(reference.get("datasetId"))


async def _ask(upstream: HttpUpstream, path: str, account: str | None, timeout_s: float) -> dict[str, Any] | None:
    """What BigQuery shows an account, or the gate's own; None: nothing.

    Raises:
        UpstreamUnavailable: it does not answer, or there is no token to ask with.
    """
    call = HttpRequest("GET", path, "maxResults=1000&prettyPrint=false")
    answer = await upstream.send(call, credential=Credential(account=account), read_timeout_s=timeout_s)
    try:
        body = await read_bounded(answer.body, bytes_max=_ANSWER_BYTES_MAX)
    except BodyTooLarge:
        raise UpstreamUnavailable("BigQuery's list is too large.") from None
    finally:
        await close_body(answer.body)
    if answer.status in {403, 404}:
        return None
    document = read_answer(body) if answer.status == 200 else None
    if document is None:
        raise UpstreamUnavailable(f"BigQuery is not answering (status {answer.status}).")
    return document
