from collections.abc import AsyncIterator
from typing import Any

import pytest

from bqgate.domain.errors import LoginFault, Unauthenticated
from bqgate.domain.principal import ISSUED_TOKEN_LIFE_S, Identity, Role
from bqgate.identity.jwks import KeySets
from bqgate.identity.oidc import Issuer, Oidc
from tests.support.manual_clock import ManualClock
from tests.support.oidc_issuer import AUDIENCE, KEYS, LEEWAY_S, ROLES, OidcIssuer, key_set_stand


class Stand:
    """A running issuer, and what a gate reads in its tokens under some settings."""

    def __init__(self, issuer: OidcIssuer, key_sets: KeySets, clock: ManualClock) -> None:
        self.issuer = issuer
        self._key_sets = key_sets
        self.clock = clock

    async def read(
        self,
        *,
        roles: frozenset[Role] = ROLES,
        customer_claim: str = "customer_id",
        role_claim: str = "role",
        token_life_s: int = ISSUED_TOKEN_LIFE_S,
        **changes: Any,
    ) -> Identity:
        url = self.issuer.url
        trusted = Issuer("main", url, AUDIENCE, url + KEYS, customer_claim, role_claim, roles, token_life_s)
        oidc = Oidc([trusted], self._key_sets, self.clock, leeway_s=LEEWAY_S)
        return await oidc.verify(self.issuer.token(**changes))

    async def is_wrong(self, **options: Any) -> bool:
        with pytest.raises(Unauthenticated) as caught:
            await self.read(**options)
        return caught.value.fault is LoginFault.WRONG_CLAIMS


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    async with key_set_stand() as running:
        yield Stand(running.issuer, running.key_sets, running.clock)


NO_TEXTS = [7, 1.5, True, False, [], ["acme"], {}, {"id": "acme"}, "", "a\nb", "a\x00", "\ud800", "x" * 256]


@pytest.mark.parametrize("value", NO_TEXTS)
async def test_a_claim_that_is_no_text_is_refused(stand: Stand, value: object) -> None:
    """Numbers, lists, objects and texts that no database takes name no customer, no role and no subject."""
    assert await stand.is_wrong(customer_id=value)
    assert await stand.is_wrong(role=value)
    assert await stand.is_wrong(sub=value)


@pytest.mark.parametrize("role", ["user", "analyst", None])
async def test_whoever_spends_needs_a_customer(stand: Stand, role: str | None) -> None:
    """Without a customer there is nobody to pay."""
    assert await stand.is_wrong(role=role, customer_id=None)


async def test_an_admin_may_have_no_customer(stand: Stand) -> None:
    """Admins look after all customers; one that names a customer keeps it."""
    assert (await stand.read(role="admin", customer_id=None)).customer is None
    assert (await stand.read(role="admin")).customer == "acme"


async def test_a_token_without_a_role_is_a_users(stand: Stand) -> None:
    """The least of the roles is what nobody has to ask for."""
    assert (await stand.read()).role is Role.USER


@pytest.mark.parametrize("role", ["super_admin", "open", "root", "Admin", "admin "])
async def test_a_role_that_the_issuer_may_not_give_is_refused(stand: Stand, role: str) -> None:
    """A role outside of the issuer's list, or outside of all roles, is no login, rather than a lesser role."""
    assert await stand.is_wrong(role=role)


async def test_the_issuers_list_holds_for_every_role(stand: Stand) -> None:
    """Not even the default role comes from an issuer that may not give it; OPEN comes from nobody."""
    assert await stand.is_wrong(roles=frozenset({Role.ADMIN}))
    assert (await stand.read(roles=frozenset({Role.SUPER_ADMIN}), role="super_admin")).role is Role.SUPER_ADMIN
    assert await stand.is_wrong(roles=frozenset(Role), role="open")


@pytest.mark.parametrize("role", ["user", "analyst", "admin"])
@pytest.mark.parametrize("customer", ["_unknown", "_gate", "/deployment"])
async def test_a_name_that_the_gate_keeps_for_itself_is_nobodys(stand: Stand, customer: str, role: str) -> None:
    """Whoever chooses a name at an issuer becomes neither the owner of a project that it asks for, nor everybody."""
    assert await stand.is_wrong(customer_id=customer, role=role)
    assert (await stand.read(customer_id=f"{customer}s", role=role)).customer == f"{customer}s"


async def test_claims_are_found_by_path(stand: Stand) -> None:
    """A name with dots is the path into an object, where no claim has the whole name."""
    nested: dict[str, Any] = {"realm_access": {"role": "analyst", "for": {"customer": "beta"}}}
    paths: dict[str, Any] = {"role_claim": "realm_access.role", "customer_claim": "realm_access.for.customer"}
    read = await stand.read(**paths, **nested)
    assert (read.role, read.customer) == (Role.ANALYST, "beta")
    assert await stand.is_wrong(**paths, realm_access="text")
    assert await stand.is_wrong(**paths, realm_access={"for": "text"})


async def test_a_whole_name_comes_before_a_path(stand: Stand) -> None:
    """Names that are URLs (as some issuers require) are taken as they are."""
    name = "https://acme.example/customer"
    claims: dict[str, Any] = {name: "acme", "https://acme": {"example/customer": "beta"}}
    assert (await stand.read(customer_claim=name, **claims)).customer == "acme"


@pytest.mark.parametrize("verified", [True, "true"])
async def test_a_verified_address_is_the_name(stand: Stand, verified: object) -> None:
    """People are called by their e-mail address where the issuer vouches for it; the subject stays."""
    read = await stand.read(email="ann@acme.example", email_verified=verified)
    assert (read.name, read.subject) == ("ann@acme.example", f"oidc:{stand.issuer.url}#user-1")


@pytest.mark.parametrize("verified", [None, False, "false", "yes", 1, [], {}])
async def test_an_unverified_address_is_nobodys_name(stand: Stand, verified: object) -> None:
    """Whoever can write any address into a profile does not appear under it in the ledger."""
    assert (await stand.read(email="ann@acme.example", email_verified=verified)).name == "user-1"


@pytest.mark.parametrize("email", [7, ["ann@acme.example"], "", "ann@acme.example\n"])
async def test_an_address_that_is_no_text_is_left_out(stand: Stand, email: object) -> None:
    """The sub names whoever has no usable address."""
    assert (await stand.read(email=email, email_verified=True)).name == "user-1"


async def test_a_token_without_a_subject_is_refused(stand: Stand) -> None:
    """Somebody must be meant."""
    assert await stand.is_wrong(sub=None)


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["1795521600", True, [], {}, float("inf"), float("nan")])
async def test_a_time_that_is_no_number_is_refused(stand: Stand, claim: str, value: object) -> None:
    """A moment that can not be compared is not taken for one in the far future."""
    assert await stand.is_wrong(**{claim: value})


async def test_a_token_without_an_end_is_refused(stand: Stand) -> None:
    """A login that never ends is none."""
    assert await stand.is_wrong(exp=None)


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", [10**400, 10**15, 253_402_300_800, 1e300, -1, -(10**400), -0.5])
async def test_a_moment_outside_the_calendar_is_refused(stand: Stand, claim: str, value: float) -> None:
    """Neither a crash nor a token for ever."""
    assert await stand.is_wrong(**{claim: value})


@pytest.mark.parametrize(
    ("lives_s", "issued_s_ago", "fault"),
    [
        (86_400 + LEEWAY_S, 0, None),
        (86_400 + LEEWAY_S + 1, 0, LoginFault.LIVES_TOO_LONG),
        (253_402_300_799, 0, LoginFault.LIVES_TOO_LONG),
        (86_000, 86_000, LoginFault.LIVES_TOO_LONG),
        (86_400 + LEEWAY_S, None, None),
        (86_400 + LEEWAY_S + 1, None, LoginFault.LIVES_TOO_LONG),
        (86_400 + LEEWAY_S + 1, -LEEWAY_S, LoginFault.LIVES_TOO_LONG),
    ],
)
async def test_a_token_lives_no_longer_than_its_issuer_may_say(
    stand: Stand, lives_s: int, issued_s_ago: int | None, fault: LoginFault | None
) -> None:
    """Counted from when it was issued, or from now where it does not say or says later: to the year 9999 is refused."""
    now_s = int(stand.clock.now().timestamp())
    times: dict[str, Any] = {
        "exp": min(now_s + lives_s, 253_402_300_799),
        "iat": None if issued_s_ago is None else now_s - issued_s_ago,
    }
    if fault is None:
        assert (await stand.read(**times)).name == "user-1"
        return
    with pytest.raises(Unauthenticated) as caught:
        await stand.read(**times)
    assert caught.value.fault is fault


async def test_an_issuer_may_be_trusted_for_longer(stand: Stand) -> None:
    """What its setting says, and not a second more than the leeway."""
    now_s = int(stand.clock.now().timestamp())
    assert (await stand.read(token_life_s=10**6, exp=now_s + 10**6)).name == "user-1"
    with pytest.raises(Unauthenticated, match="longer than 3600 seconds"):
        await stand.read(token_life_s=3600, exp=now_s + 3600 + LEEWAY_S + 1)
