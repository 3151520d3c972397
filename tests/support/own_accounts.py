"""Stand up a gate whose customers have service accounts of their own, before an IAM that keeps them apart.

As two_customers, but that BigQuery knows acme and globex apart: each has an account that may see its own tables, and
globex runs and reads nothing of acme's. The gate's own account may nothing at BigQuery, and lends itself theirs.
"""

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import google.auth.iam
import pytest

from bqgate.app import Gate, open_gate
from bqgate.app.reload import SettingsSource
from bqgate.sandbox import Sandbox, SandboxSettings
from tests.support.bad_surroundings import key_document
from tests.support.gate_stack import Stack, settings_for
from tests.support.iam_at_bigquery import Grants, IamAtBigQuery, iam_at_bigquery
from tests.support.oauth_endpoint import OauthEndpoint, oauth_endpoint
from tests.support.two_customers import SETTINGS, TwoCustomers, hand_out_keys, make_tables

GATE = "gate@gate-project.iam.gserviceaccount.com"
ACME, ACME_LATER = "acme@acme-prod.iam.gserviceaccount.com", "acme-2@acme-prod.iam.gserviceaccount.com"
GLOBEX = "globex@globex-prod.iam.gserviceaccount.com"
TOKENS = {ACME: "ya29.acme", ACME_LATER: "ya29.acme-2", GLOBEX: "ya29.globex"}
ACCOUNTS = {"acme": ACME, "globex": GLOBEX}


@dataclass
class OwnAccounts:
    """The gate and its customers, IAM and the token service. `running` has the gate, and closes it."""

    customers: TwoCustomers
    bigquery: IamAtBigQuery
    tokens: OauthEndpoint
    folder: Path
    document: dict[str, Any]
    running: AsyncExitStack

    @property
    def stack(self) -> Stack:
        return self.customers.stack

    async def change(self, customer: str, **values: Any) -> None:
        """An admin changes a customer over the control plane."""
        path = f"/admin/v1/customers/{customer}"
        reply = await self.customers.call("root", "PATCH", path, values, headers={"If-Match": "*"})
        assert reply.status == 200, reply.text

    async def restart(self, customers: Mapping[str, Any]) -> None:
        """Stop the gate, and start one on the same ledger whose settings have these customers."""
        await self.running.aclose()
        self.document["customers"] = dict(customers)
        self.stack.gates[:] = [await self.start()]

    async def start(self) -> Gate:
        """A gate that follows its settings file; a file changed is read within seconds."""
        settings = settings_for(self.folder, self.bigquery.url, self.document)
        source = SettingsSource(self.folder / "bqgate.yaml", {})
        return await self.running.enter_async_context(open_gate(settings, log_stream=self.stack.log, source=source))


def granted(name: str) -> Grants:
    """What a customer's account may: jobs in its project and the hub, its own datasets."""
    own, dataset = {"acme": ("acme-prod", "own"), "globex": ("globex-prod", "secrets")}[name]
    return Grants(frozenset({own, "hub"}), frozenset({(own, dataset), ("hub", name)}))


@asynccontextmanager
async def own_accounts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, document: Mapping[str, Any] | None = None
) -> AsyncIterator[OwnAccounts]:
    """The running gate, before its stand-ins."""
    users = {token: account for account, token in TOKENS.items()} | {"gates-token": GATE}
    grants = {ACME: granted("acme"), ACME_LATER: granted("acme"), GLOBEX: granted("globex")}
    async with AsyncExitStack() as stack:
        tokens = stack.enter_context(oauth_endpoint())
        tokens.tokens |= TOKENS
        monkeypatch.setattr(google.auth.iam, "_IAM_ENDPOINT", tokens.url + "/iam/{}:generateAccessToken")
        sandbox = await stack.enter_async_context(Sandbox.start(SandboxSettings(users=users, require_token=True)))
        make_tables(sandbox.warehouse)
        bigquery = await stack.enter_async_context(iam_at_bigquery(sandbox.url, users, grants))
        key_file = folder / "key.json"
        key_file.write_text(key_document(token_uri=f"{tokens.url}/token"))
        whole = {
            **SETTINGS,
            "upstream": {"credentials": "service_account", "service_account_file": str(key_file)},
            "sweep": {"method": "off"},  # it asks in the gate's own name; here is looked at who asks for whom
            "customers": {
                name: {**section, "service_account": ACCOUNTS[name]} for name, section in SETTINGS["customers"].items()
            },
            **(document or {}),
        }
        session = await stack.enter_async_context(aiohttp.ClientSession())
        running = await stack.enter_async_context(AsyncExitStack())
        settings = settings_for(folder, bigquery.url, whole)
        beside = Stack(sandbox, [], settings, io.StringIO(), asyncio.get_running_loop())
        stand = OwnAccounts(TwoCustomers(beside, session), bigquery, tokens, folder, whole, running)
        beside.gates.append(await stand.start())
        await hand_out_keys(stand.customers)
        yield stand
