"""Doctor says whether BigQuery keeps customers apart, and which command mends it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bqgate.cli.account_trials import QUESTIONS_MAX
from bqgate.cli.bigquery_trials import try_bigquery
from bqgate.cli.finding import Finding
from bqgate.clock import SystemClock
from tests.support.gate_stack import settings_for
from tests.support.iam_at_bigquery import Grants
from tests.support.own_accounts import ACME, GATE, GLOBEX, OwnAccounts, own_accounts


@pytest.fixture
async def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OwnAccounts]:
    async with own_accounts(tmp_path, monkeypatch) as stand:
        yield stand


async def found(stand: OwnAccounts, **sections: Any) -> list[Finding]:
    """What doctor says of the gate's settings, with other sections."""
    (stand.folder / "patient").mkdir(exist_ok=True)
    settings = settings_for(stand.folder / "patient", stand.bigquery.url, stand.document | sections)
    customers = settings.customer_registry
    return [
        finding
        async for finding in try_bigquery(settings, customers, SystemClock(), project=None, token=None, is_reached=True)
    ]


def about(subject: str, findings: list[Finding]) -> list[tuple[bool | None, str]]:
    return [(finding.is_good, finding.said) for finding in findings if finding.subject == subject]


async def test_accounts_that_see_their_own_alone_are_good(stand: OwnAccounts) -> None:
    """Each is lent, runs a dry run, and is shown nothing of the other's."""
    findings = await found(stand)
    assert about("isolation", findings) == [(True, "each customer has a service account of its own")]
    assert about("neighbours", findings) == [
        (True, f"{ACME} sees nothing of other customers'"),
        (True, f"{GLOBEX} sees nothing of other customers'"),
    ]
    assert [good for good, _ in about("dry run", findings)] == [True, True]


async def test_customers_without_an_account_are_told_how_to_make_one(stand: OwnAccounts) -> None:
    """No cross, because the gate keeps them apart too; with the commands, for the gate's account by name."""
    customers = {name: {"projects": [f"{name}-prod"]} for name in ("acme", "globex", "initech")}
    findings = await found(stand, customers=customers)
    [finding] = [finding for finding in findings if finding.subject == "isolation"]
    assert finding.is_good is None
    assert finding.said.startswith("acme, globex, initech: as the gate's own account")
    for command in (
        "gcloud iam service-accounts create bqgate-NAME",
        f"--member serviceAccount:{GATE} --role roles/iam.serviceAccountTokenCreator",
        "bqgate customers set acme service_account=",
    ):
        assert command in finding.remedy


@pytest.mark.parametrize("customers", [{"acme": {}}, {}])
async def test_one_customer_alone_needs_no_account(stand: OwnAccounts, customers: dict[str, Any]) -> None:
    """There is nobody to keep it apart from."""
    assert about("isolation", await found(stand, customers=customers)) == []


async def test_a_gate_that_is_open_keeps_nobody_apart(stand: OwnAccounts) -> None:
    """Nothing is asked of neighbours where every caller is trusted."""
    findings = await found(stand, identity={"mode": "open"})
    assert about("isolation", findings) == about("neighbours", findings) == []


async def test_one_account_for_two_customers_is_told(stand: OwnAccounts) -> None:
    """And the gate's own account as a customer's."""
    customers = {"acme": {"service_account": ACME}, "globex": {"service_account": ACME}}
    assert about("isolation", await found(stand, customers=customers)) == [
        (None, f"acme, globex have one service account, {ACME}: BigQuery cannot tell them apart")
    ]
    customers = {"acme": {"service_account": ACME}, "globex": {"service_account": GATE}}
    assert (None, f"{GATE} is the gate's own account and a customer's") in about(
        "isolation", await found(stand, customers=customers)
    )


@pytest.mark.parametrize(
    ("dataset", "command"),
    [
        (("globex-prod", "secrets"), "gcloud projects get-iam-policy globex-prod"),
        (("hub", "globex"), "bq show --format=prettyjson hub:globex"),
    ],
)
async def test_an_account_that_sees_a_neighbours_data_is_red(
    stand: OwnAccounts, dataset: tuple[str, str], command: str
) -> None:
    """Whose, which dataset, and where to look who let it in."""
    grants = stand.bigquery.grants[ACME]
    stand.bigquery.grants[ACME] = replace(grants, datasets=grants.datasets | {dataset})
    findings = await found(stand)
    assert about("neighbours", findings) == [
        (False, f"{ACME} can see {dataset[0]}:{dataset[1]} of globex"),
        (True, f"{GLOBEX} sees nothing of other customers'"),
    ]
    [cross] = [finding for finding in findings if finding.is_good is False]
    assert command in cross.remedy
    assert ACME in cross.remedy


async def test_what_a_customer_was_given_is_no_slip(stand: OwnAccounts) -> None:
    """A dataset of a neighbour's that stands in the customer's own data."""
    grants = stand.bigquery.grants[ACME]
    stand.bigquery.grants[ACME] = replace(grants, datasets=grants.datasets | {("globex-prod", "secrets")})
    customers = {**stand.document["customers"]}
    customers["acme"] = {**customers["acme"], "data": ["hub.acme", "globex-prod.secrets"]}
    assert [good for good, _ in about("neighbours", await found(stand, customers=customers))] == [True, True]


async def test_an_account_that_is_not_lent_is_one_cross_with_its_command(stand: OwnAccounts) -> None:
    """One cause is one cross; the other account is asked all the same."""
    stand.tokens.refused = {ACME}
    findings = await found(stand)
    [cross] = [finding for finding in findings if finding.is_good is False]
    assert f"gcloud iam service-accounts add-iam-policy-binding {ACME} --member serviceAccount:{GATE}" in cross.remedy
    assert "--role roles/iam.serviceAccountTokenCreator" in cross.remedy
    assert [good for good, _ in about("neighbours", findings)] == [None, True]


async def test_an_account_that_may_run_no_jobs_is_told_the_command(stand: OwnAccounts) -> None:
    """In its customer's project."""
    stand.bigquery.grants[ACME] = replace(stand.bigquery.grants[ACME], projects=frozenset())
    [cross] = [finding for finding in await found(stand) if finding.is_good is False]
    granted = "gcloud projects add-iam-policy-binding acme-prod --member"
    assert f"{granted} serviceAccount:{ACME} --role roles/bigquery.jobUser" in cross.remedy


async def test_rights_that_the_gates_own_account_need_not_have_are_told(stand: OwnAccounts) -> None:
    """No cross: but where each customer has an account, nothing is to go up as the gate's own."""
    stand.bigquery.grants[GATE] = Grants(datasets=frozenset({("acme-prod", "own")}))
    findings = about("isolation", await found(stand))
    assert findings[1][0] is None
    assert findings[1][1].startswith(f"{GATE}, the gate's own account, can see acme-prod:own")


async def test_many_customers_are_not_all_asked_about(stand: OwnAccounts) -> None:
    """A bound, which is said."""
    customers = {
        f"customer-{number}": {"projects": [f"project-{number}"], "service_account": ACME}
        for number in range(QUESTIONS_MAX + 2)
    }
    stand.bigquery.calls.clear()
    [(good, said)] = about("neighbours", await found(stand, customers=customers))
    assert good is None
    assert said.endswith("are not tried: too many customers")
