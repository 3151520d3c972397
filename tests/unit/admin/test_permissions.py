"""Who may do what: every role and operation, for its own and another's customer, by the table and over sockets."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from yarl import URL

from bqgate.admin.operation import Operation, Place
from bqgate.admin.permissions import METRICS, PERMISSIONS, PUBLIC, Reach, reach_of
from bqgate.domain.principal import Role
from tests.support.control_stand import ControlStand, control_stand
from tests.support.named_callers import CALLERS, bearing

READING = {"GET", "HEAD"}


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[ControlStand]:
    """A control plane with every view."""
    async with control_stand(tmp_path) as stand:
        yield stand


def url_of(operation: Operation, customer: str = "acme") -> str:
    """A path of an operation; where it names a customer in the query, that one."""
    path = operation.path
    for parameter in operation.parameters:
        if parameter.place is Place.PATH:
            path = path.replace(f"{{{parameter.name}}}", customer if parameter.name == "customer" else "nothing")
    return f"{path}?customer={customer}" if operation.customer_place is Place.QUERY else path


def is_let_in(status: int) -> bool:
    """Whether the answer is the view's own: it may miss a thing or a body, which are no refusals of the caller."""
    return status not in {401, 403, 405, 429} and status < 500


async def test_every_mounted_route_is_in_the_table_or_refuses_all(control: ControlStand) -> None:
    """Each operation has a row or is public, each row has an operation, and every other route answers 404 or 405."""
    mounted = {operation.id for operation in control.operations}
    assert mounted == PERMISSIONS.keys() | PUBLIC
    templates = {operation.path: set[str]() for operation in control.operations}
    for operation in control.operations:
        templates[operation.path] |= {operation.method} | ({"HEAD"} if operation.method == "GET" else set())
    for route in control.app.router.routes():
        assert route.resource is not None
        path = route.resource.canonical
        if route.method == "*":
            refused = path.replace("{", "").replace("}", "")
            assert (await control.call("PROPFIND", refused)).status in {404, 405}, path
        else:
            assert route.method in templates[path], f"{route.method} {path} is mounted past the table"


async def test_a_stranger_learns_nothing_but_health(control: ControlStand) -> None:
    """Without a credential, and with a wrong one, every operation and every other path answers 401 with a challenge."""
    paths = [(each.method, url_of(each)) for each in control.operations if each.id not in PUBLIC]
    paths += [("GET", "/v1/nothing"), ("GET", "/admin"), ("DELETE", "/admin/v1/nothing"), ("PUT", "/v1/jobs")]
    for method, path in paths:
        for caller, error in (("", ""), ("stranger", ', error="invalid_token"')):
            answer = await control.call(method, path, caller)
            assert answer.status == 401, f"{method} {path} let {caller or 'nobody'} in"
            assert answer.headers["WWW-Authenticate"] == f'Bearer realm="bqgate"{error}'
            assert answer.headers["Content-Type"] == "application/problem+json"
    assert len(control.told("login.refused")) == 2 * len(paths)
    for path in ("/healthz", "/readyz"):
        assert (await control.call("GET", path, "")).status == 200


@pytest.mark.parametrize("name", CALLERS)
async def test_each_role_may_what_the_table_says_and_no_more(control: ControlStand, name: str) -> None:
    """Own-customer roles are let in for their own customer, and refused with a record for another's."""
    caller = CALLERS[name]
    for operation in control.operations:
        if operation.id in PUBLIC:
            continue
        reach = reach_of(operation.id, caller.role)
        for customer in ("acme", "globex"):
            before = len(control.told("access.refused"))
            answer = await control.call(operation.method, url_of(operation, customer), name)
            is_own = caller.customer == customer
            expected = reach is Reach.ALL or (reach in {Reach.OWN, Reach.SELF} and is_own)
            assert is_let_in(answer.status) == expected, f"{operation.id} of {customer}: {answer.status}"
            if not expected:
                assert answer.status == 403
                assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
                assert len(control.told("access.refused")) == before + 1


def test_the_table_binds_only_what_names_a_customer(control_operations: tuple[Operation, ...]) -> None:
    """A role with Reach.OWN or Reach.SELF is of no use where the request names no customer."""
    for operation in control_operations:
        if {Reach.OWN, Reach.SELF} & set(PERMISSIONS.get(operation.id, {}).values()):
            assert operation.customer_place is not None, operation.id


@pytest.fixture
async def control_operations(control: ControlStand) -> tuple[Operation, ...]:
    """What is mounted."""
    return control.operations


def test_open_gates_change_nothing(control_operations: tuple[Operation, ...]) -> None:
    """Role.OPEN is in rows of reading operations only; a check of a budget holds nothing."""
    for operation in control_operations:
        if Role.OPEN in PERMISSIONS.get(operation.id, {}):
            assert operation.method in READING or operation.id == "budget.check", operation.id


def test_users_see_budgets_analysts_costs_and_admins_all() -> None:
    """The table as the product promises it."""
    rows = {role: {each for each, row in PERMISSIONS.items() if role in row} for role in Role}
    budgets, spent = {"budget.show", "budget.check", "budgets.standing"}, {"jobs.list", "jobs.show", "spend.show"}
    assert rows[Role.USER] == budgets | spent
    assert {reach_of(each, Role.USER) for each in budgets | spent} == {Reach.SELF}
    assert rows[Role.ANALYST] == rows[Role.USER] | {"holds.list", "costs.show", "graduation.show"}
    assert rows[Role.ADMIN] == rows[Role.SUPER_ADMIN] == PERMISSIONS.keys()


def test_what_has_no_row_is_denied() -> None:
    """To everybody."""
    assert all(reach_of("nothing.known", role) is None for role in Role)


async def test_an_open_gate_says_how_to_change_things(control: ControlStand) -> None:
    """403 with the setting's name."""
    answer = await control.call("POST", "/admin/v1/keys", "open", json={})
    assert answer.status == 403
    assert "identity.mode: required" in answer.json["detail"]


async def test_metrics_are_for_admins_unless_they_are_opened(control: ControlStand, tmp_path: Path) -> None:
    """Prometheus often has no token."""
    assert PERMISSIONS[METRICS].keys() == {Role.OPEN, Role.ADMIN, Role.SUPER_ADMIN}
    assert (await control.call("GET", "/metrics", "")).status == 401
    folder = tmp_path / "opened"
    folder.mkdir()
    async with control_stand(folder, has_open_metrics=True) as opened:
        assert (await opened.call("GET", "/metrics", "")).status == 200


async def test_who_has_a_customer_gets_it_without_asking(control: ControlStand) -> None:
    """Leaving `customer` out means one's own; holds of others are not among the answers."""
    await control.stand.place(control.gate, control.stand.make_hold(usd=2))
    mine = await control.call("GET", "/v1/holds", "analyst")
    assert {hold["customer"] for hold in mine.json["holds"]} == {"acme"}
    costs = await control.call("GET", "/v1/costs", "analyst")
    assert costs.json["customer"] == "acme"
    assert (await control.call("GET", "/v1/costs", "admin")).json["customer"] is None


@pytest.mark.parametrize(
    "query",
    ["customer=acme&customer=globex", "customer=globex&customer=acme", "customer=", "customer=ACME", "Customer=acme"],
)
async def test_no_spelling_of_the_customer_gets_past(control: ControlStand, query: str) -> None:
    """Twice, empty, in capitals: refused."""
    answer = await control.call("GET", f"/v1/jobs?{query}", "analyst")
    assert answer.status in {400, 403}


@pytest.mark.parametrize("path", ["/v1/customers/acme%2F..%2Fglobex/budget", "/v1/customers/acme/../globex/budget"])
async def test_no_spelling_of_the_path_gets_past(control: ControlStand, path: str) -> None:
    """What is not exactly the own customer is another."""
    url = URL(str(control.client.make_url("/")) + path.removeprefix("/"), encoded=True)
    async with control.client.session.get(url, headers=bearing("user")) as answer:
        assert answer.status in {403, 404}
