import pytest

from bqgate.domain.errors import UpstreamRefused, UpstreamUnavailable
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.domain.principal import Credential, Identity, Role
from bqgate.domain.tier import UNKNOWN_PROJECT, Customer, CustomerRegistry, Tier
from bqgate.gate.payers import Payers, line_of
from bqgate.gate.routes import Route, resolve
from tests.support.scripted_google import ScriptedGoogle

TIER = Tier("standard", daily_nanos=1, monthly_nanos=1, emergency_nanos=1)
ACME = Customer("acme", TIER, projects=("acme-prod",), account="acme@gate.example")
POLICIES = PolicySnapshot(
    CustomerRegistry({"acme": ACME}, {"acme-prod": "acme"}, TIER), PriceList(PricingModel.ON_DEMAND, 1, 1)
)
ANN = Credential("Bearer ya29.ann-secret")
# Nobody has said which customer these are of.
OPEN = Identity("somebody", "open:1", Role.OPEN)
GOOGLES = Identity("ann@gmail.example", "google:ann@gmail.example", Role.USER)
ADMIN = Identity("root", "key:r", Role.ADMIN)
KEY = Identity("etl", "key:e", Role.USER, customer="acme")
NUMBER = "123456789012"


def payers(google: ScriptedGoogle | None = None, *, passes: bool = True, kept_max: int = 10) -> Payers:
    return Payers(POLICIES, google or ScriptedGoogle(), passes_credentials=passes, kept_max=kept_max)


def submission(project: str, workload: str | None = None) -> Route:
    return resolve("POST", f"{f'/w/{workload}' if workload else ''}/projects/{project}/queries")


@pytest.mark.parametrize("passes", [True, False], ids=["callers' credentials", "the gate's own"])
@pytest.mark.parametrize(
    ("identity", "payer"), [(OPEN, "acme"), (GOOGLES, UNKNOWN_PROJECT), (ADMIN, UNKNOWN_PROJECT), (KEY, "acme")]
)
def test_a_workload_chooses_who_pays_before_an_open_gate_only(identity: Identity, payer: str, passes: bool) -> None:
    """Whoever is known, but of no customer, cannot charge one by a path; the workload stays a label."""
    principal = payers(passes=passes).principal_of(identity, ANN, submission("somebodys", "acme"))
    assert (principal.customer, principal.credential.customer, principal.workload) == (payer, payer, "acme")
    assert principal.credential.account == ("acme@gate.example" if payer == "acme" and not passes else None)


@pytest.mark.parametrize("identity", [OPEN, GOOGLES, ADMIN])
def test_the_owner_of_the_project_pays_where_no_credential_says_who(identity: Identity) -> None:
    """Google bills the project, and lets only those run jobs in it whom its owner has let in."""
    assert payers().principal_of(identity, ANN, submission("acme-prod")).customer == "acme"


def test_made_up_projects_are_one_customer() -> None:
    """However many names somebody makes up, they share one budget, and none of them is remembered."""
    asked = payers()
    made_up = {asked.principal_of(OPEN, ANN, submission(f"made-up-{number}")).customer for number in range(1_000)}
    assert made_up == {UNKNOWN_PROJECT}
    assert asked.principal_of(OPEN, ANN, resolve("GET", "/projects")).customer == ""


def test_a_project_is_a_customer_once_bigquery_has_answered_for_it() -> None:
    """The default tier's budget is each real project's own, from its first query on."""
    asked = payers()
    first = asked.settled(asked.principal_of(OPEN, ANN, submission("somebodys")), "somebodys")
    assert (first.customer, first.credential.customer) == ("somebodys", "somebodys")
    assert asked.principal_of(OPEN, ANN, submission("somebodys")).customer == "somebodys"
    assert asked.principal_of(OPEN, ANN, submission("made-up")).customer == UNKNOWN_PROJECT


async def test_a_refused_query_proves_no_project() -> None:
    """BigQuery may refuse a text before it looks for the project: it is asked with a query that is in order."""
    google = ScriptedGoogle(shut_projects={"made-up"})
    asked = payers(google)
    known = await asked.asked(asked.principal_of(OPEN, ANN, submission("somebodys")), "somebodys")
    assert known.customer == "somebodys"
    assert await asked.asked(known, "somebodys") is known
    with pytest.raises(UpstreamRefused):
        await asked.asked(asked.principal_of(OPEN, ANN, submission("made-up")), "made-up")
    assert [project for project, _ in google.asked] == ["somebodys", "made-up"]


@pytest.mark.parametrize(("identity", "payer"), [(OPEN, "acme"), (GOOGLES, UNKNOWN_PROJECT), (ADMIN, UNKNOWN_PROJECT)])
def test_a_project_that_is_called_like_a_customer_is_not_its(identity: Identity, payer: str) -> None:
    """Anybody may make one at Google. Before an open gate, where a workload could say the same, the name counts."""
    asked = payers()
    principal = asked.principal_of(identity, ANN, submission("acme"))
    assert asked.settled(principal, "acme").customer == payer


def test_an_answer_changes_nothing_where_it_is_known_who_pays() -> None:
    """A credential's customer, and a project's owner, pay for it whatever project a query runs in."""
    asked = payers()
    for identity, project in ((KEY, "somebodys"), (OPEN, "acme-prod")):
        principal = asked.principal_of(identity, ANN, submission(project))
        assert asked.settled(principal, "somebodys") is principal


def test_what_is_remembered_is_bounded() -> None:
    """The project that was not seen for longest is forgotten; until its next answer it is one of the unknown."""
    asked = payers(kept_max=2)
    for project in ("one", "two"):
        asked.settled(asked.principal_of(OPEN, ANN, submission(project)), project)
    asked.principal_of(OPEN, ANN, submission("one"))
    asked.settled(asked.principal_of(OPEN, ANN, submission("three")), "three")
    customers = [asked.principal_of(OPEN, ANN, submission(project)).customer for project in ("one", "two", "three")]
    assert customers == ["one", UNKNOWN_PROJECT, "three"]


@pytest.mark.parametrize(("project_id", "payer"), [("acme-prod", "acme"), ("somebodys", "somebodys")])
async def test_a_number_is_the_project_that_it_stands_for(project_id: str, payer: str) -> None:
    """BigQuery says which, once; the customer, the path and the job's project are the id's."""
    google = ScriptedGoogle(ids={NUMBER: project_id})
    asked = payers(google)
    for _ in range(2):
        route = resolve("POST", f"/resumable/upload/bigquery/v2/projects/{NUMBER}/jobs")
        route, principal = await asked.by_id(route, asked.principal_of(OPEN, ANN, route))
        assert (principal.customer, principal.credential.customer) == (payer, payer)
        assert route.upstream_path == f"/resumable/upload/bigquery/v2/projects/{project_id}/jobs"
        assert (route.project_id, route.params["projectId"], route.project_number) == (project_id, project_id, NUMBER)
    assert google.asked == [(NUMBER, "ya29.ann-secret")]


async def test_a_number_that_bigquery_does_not_know_is_refused_in_its_words() -> None:
    """Nothing is remembered of it, and nobody pays; when BigQuery is away nothing runs either."""
    google = ScriptedGoogle(shut_projects={NUMBER})
    asked = payers(google)
    route = submission(NUMBER)
    principal = asked.principal_of(OPEN, ANN, route)
    assert principal.customer == UNKNOWN_PROJECT
    for _ in range(2):
        with pytest.raises(UpstreamRefused):
            await asked.by_id(route, principal)
    google.is_away = True
    with pytest.raises(UpstreamUnavailable):
        await asked.by_id(route, principal)
    assert len(google.asked) == 3


@pytest.mark.parametrize("passes", [True, False], ids=["callers' credentials", "the gate's own"])
def test_whose_customer_is_not_known_yet_waits_in_a_line_of_its_own(passes: bool) -> None:
    """A stranger with made-up projects, and any number of tokens, stands before nobody's first query."""
    asked = payers(passes=passes)
    stranger = Identity("eve@evil.example", "google:eve@evil.example", Role.USER)
    tokens = [Credential(f"Bearer ya29.{number}") for number in range(3)]
    lines = {line_of(asked.principal_of(stranger, token, submission("made-up"))) for token in tokens}
    known = asked.principal_of(KEY, ANN, submission("acme-prod"))
    assert lines == {"caller google:eve@evil.example"}
    assert line_of(asked.principal_of(GOOGLES, ANN, submission("somebodys"))) == "caller google:ann@gmail.example"
    assert line_of(known) == "acme"


async def test_in_the_gates_own_name_a_customer_learns_no_ids() -> None:
    """Where the gate's account sees every project, a number stays one, and isolation refuses it as unknown."""
    google = ScriptedGoogle(ids={NUMBER: "globex-prod"})
    asked, route = payers(google, passes=False), submission(NUMBER)
    assert await asked.by_id(route, asked.principal_of(KEY, ANN, route)) == (
        route,
        asked.principal_of(KEY, ANN, route),
    )
    assert google.asked == []


async def test_an_id_is_never_asked_about() -> None:
    """Who names projects by their ids pays no call for it."""
    google = ScriptedGoogle()
    asked, route = payers(google), submission("example.com:somebodys")
    principal = asked.principal_of(OPEN, ANN, route)
    assert await asked.by_id(route, principal) == (route, principal)
    assert google.asked == []
