from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bqgate.admin.permissions import PERMISSIONS, PUBLIC, Reach
from bqgate.domain.principal import Role
from tests.support.two_customers import Reply, TwoCustomers, two_customers

OTHER = {"acme": "globex", "globex": "acme"}
PROJECTS = {"acme": "acme-prod", "globex": "globex-prod"}


@dataclass
class Belongings:
    """What a customer has at the gate, by the names that paths of the control plane have for it."""

    names: dict[str, str]
    secrets: list[str] = field(default_factory=list)


class Gate:
    """A gate with two customers who have both spent something, and a user and an analyst each."""

    def __init__(self, stand: TwoCustomers) -> None:
        self.stand = stand
        self.belongings: dict[str, Belongings] = {}

    async def settle_in(self, customer: str) -> None:
        """Run a query as the customer's user, and hand out an analyst's token."""
        job = await self.stand.start(customer, project=PROJECTS[customer])
        await self.stand.stack.fetch_settled(customer)
        (entry,) = (await self.read(f"/v1/jobs?customer={customer}"))["jobs"]
        assert entry["job"]["job_id"] == job
        body = {"customer": customer, "role": "analyst", "kind": "token", "principal": f"{customer}-report"}
        made = (await self.stand.call("root", "POST", "/admin/v1/keys", body)).json
        self.stand.tokens[f"{customer}-analyst"] = made["token"]
        names = {"customer": customer, "name": customer, "key_id": made["id"], "hold_id": entry["hold_id"]}
        names |= {"job_id": entry["hold_id"], "raise_id": "0123456789abcdef"}
        self.belongings[customer] = Belongings(names, [job, f"{customer}-report", f"{customer}-tool"])

    async def read(self, path: str) -> dict[str, Any]:
        """What an admin sees."""
        reply = await self.stand.call("root", "GET", path)
        assert reply.status == 200, reply.text
        return reply.json

    async def state(self, customer: str) -> list[Any]:
        """Everything of a customer's that somebody could change."""
        budget = (await self.read(f"/v1/customers/{customer}/budget"))["windows"]
        keys = (await self.read(f"/admin/v1/keys?customer={customer}"))["keys"]
        jobs = (await self.read(f"/v1/jobs?customer={customer}"))["jobs"]
        changed = [await self.read(f"/admin/v1/{kind}") for kind in ("customers", "tiers", "budgets", "pricing")]
        for each in changed:
            each.pop("as_of", None)
        return [budget, keys, jobs, changed]


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    limits = {f"{kind}_per_minute": 10_000 for kind in ("costs", "budget_checks", "analytics", "reports", "other")}
    async with two_customers(tmp_path, {"rate_limits": limits}) as stand:
        gate = Gate(stand)
        for customer in PROJECTS:
            await gate.settle_in(customer)
        yield gate


async def operations(gate: Gate) -> list[tuple[str, str, str, Mapping[str, Any]]]:
    """Id, method, path and description of all that the running gate says it answers."""
    document = (await gate.stand.call("acme", "GET", "/openapi.json")).json
    return [
        (operation["operationId"], method.upper(), path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]


def urls_of(path: str, operation: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    """The path with a customer's names in it; where a customer can be asked for, in every way that asks."""
    url = path
    for name, value in names.items():
        url = url.replace(f"{{{name}}}", value)
    assert "{" not in url, f"the test has no name for {path}"
    asks = any(each["name"] == "customer" and each["in"] == "query" for each in operation["parameters"])
    if asks:
        customer = names["customer"]
        yield from (f"{url}?customer={customer}", f"{url}?customer={OTHER[customer]}&customer={customer}")
    if "{" in path or not asks:
        yield url


async def send(gate: Gate, who: str, method: str, url: str, operation: Mapping[str, Any]) -> Reply:
    body: Any = {} if "requestBody" in operation else None
    if operation["operationId"] == "budget.check":
        body = {"cost_usd": "1"}
    return await gate.stand.call(who, method, url, body, headers={"If-Match": "*"})


async def test_a_running_gate_describes_all_that_it_answers(gate: Gate) -> None:
    """Whatever has a row in the table of permissions or needs none is in the document, the token endpoint too."""
    described = await operations(gate)
    assert {operation_id for operation_id, *_ in described} == {*PERMISSIONS, *PUBLIC}
    assert ("POST", "/oauth2/token") in {(method, path) for _, method, path, _ in described}


@pytest.mark.parametrize("customer", OTHER)
async def test_no_way_of_the_control_plane_leads_to_another_customer(gate: Gate, customer: str) -> None:
    """Its user and its analyst try every operation on all that is the other's: 403 or 404, nothing told or changed."""
    other = OTHER[customer]
    theirs, before = gate.belongings[other], await gate.state(other)
    tried = 0
    for operation_id, method, path, operation in await operations(gate):
        if operation_id in PUBLIC:
            continue
        for who in (customer, f"{customer}-analyst"):
            for url in urls_of(path, operation, theirs.names):
                reply = await send(gate, who, method, url, operation)
                assert reply.status in {403, 404}, f"{who}: {method} {url} answered {reply.status}"
                assert not [each for each in theirs.secrets if each in reply.text], f"{method} {url} tells too much"
                tried += 1
    assert tried > 60
    assert before == await gate.state(other)
    for who in (other, f"{other}-analyst"):
        assert (await gate.stand.call(who, "GET", f"/v1/customers/{other}/budget")).status == 200
    told = await gate.stand.audited("access.refused")
    assert {f"{customer}-tool", f"{customer}-report"} == {event.actor for event in told}


async def test_the_same_ways_lead_to_ones_own(gate: Gate) -> None:
    """An analyst reads its own customer's budget, jobs, holds and costs, and nothing that is not bound to it."""
    allowed = set()
    for operation_id, method, path, operation in await operations(gate):
        for url in urls_of(path, operation, gate.belongings["acme"].names):
            if (await send(gate, "acme-analyst", method, url.partition("?")[0], operation)).status == 200:
                allowed.add(operation_id)
    own = {operation_id for operation_id, row in PERMISSIONS.items() if row.get(Role.ANALYST) is Reach.OWN}
    assert {"budget.show", "budget.check", "jobs.list", "holds.list", "costs.show"} <= allowed - PUBLIC <= own
    jobs = (await gate.stand.call("acme-analyst", "GET", "/v1/jobs")).json["jobs"]
    assert [("acme", "acme-tool")] == [(each["customer"], each["principal"]) for each in jobs]
