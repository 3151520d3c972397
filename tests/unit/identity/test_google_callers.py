import asyncio
from dataclasses import dataclass

import pytest

from bqgate.admission.estimates.dry_run_places import DryRunPlaces
from bqgate.bigquery.credentials import CallerCredentials
from bqgate.bigquery.jobs import GoogleBigQuery
from bqgate.bigquery.upstream import HttpUpstream
from bqgate.domain.errors import LoginFault, TooManyRequests, Unauthenticated, UpstreamRefused, UpstreamUnavailable
from bqgate.domain.policy import PolicySnapshot
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.domain.principal import Credential, Identity, Role
from bqgate.domain.tier import CustomerRegistry, Tier
from bqgate.identity.google_callers import DRY_RUNS_MAX, WAITING_MAX, GoogleCallers
from bqgate.sandbox.server import Sandbox
from bqgate.sandbox.settings import SandboxSettings
from tests.support.gate_stand import ListTelemetry
from tests.support.manual_clock import ManualClock
from tests.support.scripted_google import ScriptedGoogle

ANN = Credential("Bearer ya29.ann-secret")
BOB = Credential("Bearer ya29.bob-secret")
STRANGER = Credential("Bearer ya29.stranger")
TIER = Tier("standard", 10, 100, 50)


@dataclass
class Rules:
    """The rules that hold now; a test changes them as an admin does."""

    snapshot: PolicySnapshot

    @property
    def customer_registry(self) -> CustomerRegistry:
        return self.snapshot.customer_registry

    @property
    def prices(self) -> PriceList:
        return self.snapshot.prices

    def map_emails(self, customers: dict[str, str]) -> None:
        """Say whose which domain or address is."""
        self.snapshot = PolicySnapshot(
            CustomerRegistry({}, {}, TIER, customer_by_email=customers), self.snapshot.prices
        )


@dataclass
class Stand:
    """Callers before a scripted Google, by a clock that the test moves."""

    google: ScriptedGoogle
    rules: Rules
    clock: ManualClock
    telemetry: ListTelemetry
    callers: GoogleCallers

    async def who(self, credential: Credential, project_id: str | None = "p", source: str = "192.0.2.1") -> Identity:
        return await self.callers.authenticate(credential, project_id=project_id, source=source)


def _stand(*, kept_max: int = 10_000) -> Stand:
    google, clock, telemetry = ScriptedGoogle(), ManualClock(), ListTelemetry()
    rules = Rules(PolicySnapshot(CustomerRegistry({}, {}, TIER), PriceList(PricingModel.ON_DEMAND, 1, 1)))
    rules.map_emails({"acme.example": "acme"})
    places = DryRunPlaces(clock, telemetry, places=DRY_RUNS_MAX, waiting_max=WAITING_MAX)
    callers = GoogleCallers(google, rules, places, clock, telemetry, kept_max=kept_max)
    return Stand(google, rules, clock, telemetry, callers)


async def test_the_address_comes_from_a_dry_run() -> None:
    """BigQuery is asked once, by a dry run that reads nothing, in the request's project with the caller's token."""
    stand = _stand()
    expected = Identity("ann@acme.example", "google:ann@acme.example", Role.USER, "acme")
    for project in ("p", "q", None):
        assert await stand.who(ANN, project) == expected
    assert stand.google.asked == [("p", "ya29.ann-secret")]
    (body,) = stand.google.bodies
    assert body["configuration"] == {"query": {"query": "SELECT 1", "useLegacySql": False}, "dryRun": True}


async def test_the_spelling_of_the_scheme_makes_no_new_caller() -> None:
    """One token is one caller, however the header is written; another token is asked about."""
    stand = _stand()
    await stand.who(ANN)
    assert (await stand.who(Credential("bearer  ya29.ann-secret"))).name == "ann@acme.example"
    assert (await stand.who(BOB)).name == "bob@beta.example"
    assert len(stand.google.asked) == 2


async def test_nobodys_address_leaves_it_to_the_project() -> None:
    """An address that no rule names has no customer; the request's project tells it later."""
    assert (await _stand().who(BOB)).customer is None


async def test_an_admins_change_holds_for_the_next_request() -> None:
    """The customer is looked up at every use; the address stays known."""
    stand = _stand()
    await stand.who(ANN)
    stand.rules.map_emails({"ann@acme.example": "beta", "acme.example": "acme"})
    assert (await stand.who(ANN)).customer == "beta"
    assert len(stand.google.asked) == 1


async def test_an_address_is_forgotten_with_its_token() -> None:
    """Google's tokens live for an hour; after that the token must prove itself again."""
    stand = _stand()
    await stand.who(ANN)
    stand.clock.advance(3599)
    await stand.who(ANN)
    assert len(stand.google.asked) == 1
    stand.clock.advance(1)
    del stand.google.emails["ya29.ann-secret"]
    with pytest.raises(UpstreamRefused):
        await stand.who(ANN)


async def test_an_hour_is_counted_from_the_question() -> None:
    """A slow answer does not make a token live longer."""
    stand = _stand()
    stand.google.may_answer.clear()
    asking = asyncio.ensure_future(stand.who(ANN))
    await stand.google.has_been_asked.wait()
    stand.clock.advance(20)
    stand.google.may_answer.set()
    await asking
    stand.clock.advance(3580)
    await stand.who(ANN)
    assert len(stand.google.asked) == 2


async def test_a_refused_token_costs_bigquery_one_call_a_minute() -> None:
    """BigQuery's own 401 is answered again and again, then the token is tried anew."""
    stand = _stand()
    for project in ("p", "p", "q", None):
        with pytest.raises(UpstreamRefused) as caught:
            await stand.who(STRANGER, project)
        assert (caught.value.status, caught.value.challenge) == (401, 'Bearer error="invalid_token"')
        assert b"Invalid Credentials" in caught.value.body
    assert len(stand.google.asked) == 1
    stand.clock.advance(60)
    stand.google.emails["ya29.stranger"] = "new@acme.example"
    assert (await stand.who(STRANGER)).customer == "acme"


async def test_a_huge_refusal_is_not_kept() -> None:
    """What could fill the memory is passed on and asked for again."""
    stand = _stand()
    stand.google.refusal_bytes = 16 * 1024
    for _ in range(2):
        with pytest.raises(UpstreamRefused):
            await stand.who(STRANGER)
    assert len(stand.google.asked) == 2


async def test_a_shut_project_does_not_speak_of_the_token() -> None:
    """403 in one project is that project's; in another the same token is asked about, and then known in both."""
    stand = _stand()
    stand.google.shut_projects = {"shut"}
    for _ in range(2):
        with pytest.raises(UpstreamRefused) as caught:
            await stand.who(ANN, "shut")
        assert caught.value.status == 403
    assert (await stand.who(ANN, "p")).name == "ann@acme.example"
    assert (await stand.who(ANN, "shut")).name == "ann@acme.example"
    assert len(stand.google.asked) == 3


async def test_an_outage_is_nobodys_fault() -> None:
    """While BigQuery is away nothing is learnt and nothing is remembered."""
    stand = _stand()
    stand.google.is_away = True
    with pytest.raises(UpstreamUnavailable):
        await stand.who(ANN)
    stand.google.is_away = False
    assert (await stand.who(ANN)).name == "ann@acme.example"


async def test_an_answer_without_an_address_lets_nobody_in() -> None:
    """Where BigQuery does not say who it is, nobody is assumed."""
    stand = _stand()
    stand.google.emails["ya29.stranger"] = None
    with pytest.raises(UpstreamUnavailable):
        await stand.who(STRANGER)
    assert stand.telemetry.notes == [("caller_not_named", {"error": "no user_email in a dry run"})]


async def test_callers_of_one_token_share_one_dry_run() -> None:
    """Twenty requests of a client that has just started cost BigQuery one call; one that leaves takes nobody along."""
    stand = _stand()
    stand.google.may_answer.clear()
    asking = [asyncio.ensure_future(stand.who(ANN)) for _ in range(20)]
    await stand.google.has_been_asked.wait()
    asking[0].cancel()
    stand.google.may_answer.set()
    assert {identity.name for identity in await asyncio.gather(*asking[1:])} == {"ann@acme.example"}
    assert len(stand.google.asked) == 1


async def test_a_bad_token_is_refused_once_for_all_who_wait() -> None:
    """A shared question that fails fails for everybody, and each gets BigQuery's answer."""
    stand = _stand()
    outcomes = await asyncio.gather(*(stand.who(STRANGER) for _ in range(5)), return_exceptions=True)
    assert [outcome.status for outcome in outcomes if isinstance(outcome, UpstreamRefused)] == [401] * 5
    assert len(stand.google.asked) == 1


async def test_strangers_do_not_use_up_the_way_to_bigquery() -> None:
    """Any number of unknown tokens at once makes fifty calls at once, those of one address no more than 38."""
    stand = _stand()
    stand.google.may_answer.clear()
    asking = [asyncio.ensure_future(stand.who(Credential(f"Bearer {number}"))) for number in range(200)]
    for _ in range(20):
        await stand.clock.sleep(0)
    assert len(stand.google.asked) == 38
    asking += [
        asyncio.ensure_future(stand.who(Credential(f"Bearer {number}"), source=f"198.51.100.{number}"))
        for number in range(200, 250)
    ]
    for _ in range(20):
        await stand.clock.sleep(0)
    assert len(stand.google.asked) == 50
    stand.google.may_answer.set()
    await asyncio.gather(*asking, return_exceptions=True)
    assert len(stand.google.asked) == 250


async def test_a_flood_of_strangers_keeps_no_newcomer_waiting() -> None:
    """Whoever calls from another address is asked about at once, however many made-up tokens came before."""
    stand = _stand()
    stand.google.may_answer.clear()
    flood = [asyncio.ensure_future(stand.who(Credential(f"Bearer {number}"))) for number in range(2_000)]
    for _ in range(20):
        await stand.clock.sleep(0)
    ann = asyncio.ensure_future(stand.who(ANN, source="198.51.100.7"))
    for _ in range(20):
        await stand.clock.sleep(0)
    assert stand.google.asked[-1] == ("p", "ya29.ann-secret")
    stand.google.may_answer.set()
    assert (await ann).customer == "acme"
    refused = await asyncio.gather(*flood, return_exceptions=True)
    assert sum(isinstance(each, TooManyRequests) for each in refused) == 2_000 - 38 - WAITING_MAX


async def test_known_tokens_are_bounded() -> None:
    """Past the bound the token that was not seen for longest is asked about again."""
    stand = _stand(kept_max=2)
    stand.google.emails["ya29.third"] = "third@acme.example"
    third = Credential("Bearer ya29.third")
    for credential in (ANN, BOB, ANN, third, ANN, BOB):
        await stand.who(credential)
    tokens = [token for _, token in stand.google.asked]
    assert tokens == ["ya29.ann-secret", "ya29.bob-secret", "ya29.third", "ya29.bob-secret"]


async def test_refused_tokens_are_bounded() -> None:
    """A flood of bad tokens is not remembered for ever: the oldest of them is asked about again."""
    stand = _stand()
    for number in range(1001):
        with pytest.raises(UpstreamRefused):
            await stand.who(Credential(f"Bearer {number}"))
    for number, count in ((1000, 1001), (0, 1002)):
        with pytest.raises(UpstreamRefused):
            await stand.who(Credential(f"Bearer {number}"))
        assert len(stand.google.asked) == count


@pytest.mark.parametrize("project_id", [None, ""])
async def test_without_a_project_an_unknown_token_is_told_what_to_do(project_id: str | None) -> None:
    """There is nobody to ask; the caller is told to send a request to a project first."""
    stand = _stand()
    with pytest.raises(Unauthenticated) as caught:
        await stand.who(ANN, project_id)
    assert caught.value.fault is LoginFault.MISSING
    assert "project" in caught.value.message
    assert stand.google.asked == []


@pytest.mark.parametrize(
    ("authorization", "fault"),
    [
        (None, LoginFault.MISSING),
        ("", LoginFault.MISSING),
        ("Bearer", LoginFault.MISSING),
        ("Bearer  ", LoginFault.MISSING),
        ("Basic YW5uOnNlY3JldA==", LoginFault.MISSING),
        ("Bearer " + "x" * 16_385, LoginFault.OVERSIZED),
    ],
)
async def test_what_is_no_bearer_token_costs_nothing(authorization: str | None, fault: LoginFault) -> None:
    """BigQuery is not asked about what can not be a token."""
    stand = _stand()
    with pytest.raises(Unauthenticated) as caught:
        await stand.who(Credential(authorization))
    assert caught.value.fault is fault
    assert stand.google.asked == []


async def test_no_token_is_kept_or_shown() -> None:
    """Neither what is remembered nor what is said bears a token."""
    stand = _stand()
    await stand.who(ANN)
    with pytest.raises(UpstreamRefused) as caught:
        await stand.who(STRANGER)
    kept = {name: value for name, value in vars(stand.callers).items() if name != "_bigquery"}
    remembered = f"{kept} {caught.value!r} {stand.telemetry.notes}"
    assert "secret" not in remembered
    assert "stranger" not in remembered


async def test_a_token_is_known_by_what_the_sandbox_says() -> None:
    """Over HTTP: the dry run's job names the token's user, and the sandbox sees one dry run of each token."""
    known = {"ann-token": "ann@acme.example"}
    clock, telemetry = ManualClock(), ListTelemetry()
    async with Sandbox.start(SandboxSettings(users=known, require_token=True)) as sandbox:
        upstream = HttpUpstream(sandbox.url, CallerCredentials())
        rules = _stand().rules
        places = DryRunPlaces(clock, telemetry, places=DRY_RUNS_MAX)
        callers = GoogleCallers(GoogleBigQuery(upstream), rules, places, clock, telemetry)
        for _ in range(3):
            identity = await callers.authenticate(Credential("Bearer ann-token"), project_id="acme-prod")
            assert (identity.name, identity.customer) == ("ann@acme.example", "acme")
            with pytest.raises(UpstreamRefused) as caught:
                await callers.authenticate(Credential("Bearer unknown"), project_id="acme-prod")
            assert caught.value.status == 401
        await upstream.close()
        assert len(sandbox.journal.entries()) == 2
