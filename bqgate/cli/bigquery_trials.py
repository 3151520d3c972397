"""Try what the gate would do at BigQuery: load its credentials, fetch a token, dry-run ``SELECT 1`` where it would.

Called by doctor_checks once BigQuery answers. Credentials are loaded and used by the very parts that `bqgate serve`
puts together, so that what fails there is red here. A dry run processes nothing and costs nothing. In which project:
the one that was asked for; else each customer's first, as the service account of its own where it has one; else the
credentials' own. Where callers bring their credentials, those of whoever runs this are tried: a token that was given,
else this machine's default credentials; what these may do says nothing about the gate, so that a refusal of them is no
cross.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bqgate.app.adapters import upstream_to
from bqgate.bigquery.credentials import (
    AnonymousCredentials,
    CallerCredentials,
    CredentialsUnusable,
    UpstreamCredentials,
)
from bqgate.bigquery.impersonation import ImpersonatedAccounts, sources_from
from bqgate.bigquery.jobs import GoogleBigQuery
from bqgate.bigquery.service_account import ServiceAccountCredentials
from bqgate.bigquery.token_source import TokenSource, load_token_source
from bqgate.cli.account_trials import check_gates_own, check_neighbours, check_own_accounts
from bqgate.cli.finding import Finding
from bqgate.cli.sweep_trials import try_sweep
from bqgate.domain.errors import UpstreamNotTried, UpstreamRefused, UpstreamUnavailable
from bqgate.domain.principal import Credential
from bqgate.domain.tier import CustomerRegistry
from bqgate.observe.last_failure import LastFailure
from bqgate.observe.redact import redact_text
from bqgate.ports import Clock
from bqgate.settings import Settings
from bqgate.settings.rules import keeps_apart_itself
from bqgate.settings.sections import Credentials
from bqgate.wire.error_reply import message_of

# Each takes a second or so; whoever has more customers names a project.
TRIALS_MAX = 20

_ASK = {"configuration": {"dryRun": True, "query": {"query": "SELECT 1", "useLegacySql": False}}}
_TRY_AS = (
    "to try as yourself: gcloud auth print-access-token | bqgate doctor --token-stdin, or: "
    "gcloud auth application-default login"
)
_NAME_PROJECT = "name one: bqgate doctor --project PROJECT"
_REMEDIES = {
    400: "see that the project's name is right",
    401: "see that the credentials are valid, and that upstream.credentials says whose are to be sent",
    403: "give {who} the role BigQuery Job User (roles/bigquery.jobUser) in {project}, and enable BigQuery's API there",
    404: "see that the project {project} is there, and that {who} may see it",
}


_GRANT_JOBS = (
    "gcloud projects add-iam-policy-binding {project} --member serviceAccount:{account} --role roles/bigquery.jobUser"
)
_LEND = (
    "give the gate's account the role Service Account Token Creator on {account}: gcloud iam service-accounts "
    "add-iam-policy-binding {account} --member serviceAccount:{gate} --role roles/iam.serviceAccountTokenCreator"
)


@dataclass(frozen=True, slots=True)
class Trial:
    """Where a dry run is made: the project, whose it is, and the account that the gate would impersonate."""

    project_id: str
    customer: str = ""
    account: str | None = None

    def __str__(self) -> str:
        return f"{self.project_id} ({self.customer})" if self.customer else self.project_id


async def try_bigquery(
    settings: Settings,
    customer_registry: CustomerRegistry,
    clock: Clock,
    *,
    project: str | None,
    token: str | None,
    is_reached: bool,
) -> AsyncIterator[Finding]:
    """Whether the gate gets a token, and a dry run's answer, wherever it would send queries.

    Args:
        settings: what the gate is told.
        customer_registry: the customers, with their projects and accounts.
        clock: the time.
        project: the one to try; None: those that the customers have.
        token: a caller's, for a gate that sends callers' own.
        is_reached: whether BigQuery answered at all; without that no dry run is tried.
    """
    upstream = settings.upstream
    source: TokenSource | None = None
    own: UpstreamCredentials | None = None
    failure = LastFailure()
    if upstream.credentials is Credentials.SERVICE_ACCOUNT or upstream.service_account_file is not None:
        try:
            key_file = upstream.service_account_file
            source = await asyncio.to_thread(load_token_source, str(key_file) if key_file else None)
        except CredentialsUnusable as error:
            yield Finding("credentials", False, str(error), error.remedy)
            return
        own_token = ServiceAccountCredentials(source, clock, failure)
        is_fresh = await own_token.renew()
        own = ImpersonatedAccounts(own_token, sources_from(source), clock, failure)
        yield _judge_token(source, failure, is_fresh=is_fresh)
        if not is_fresh:
            return
    if not is_reached:
        yield Finding("dry run", None, "not tried, because BigQuery did not answer")
        return
    match upstream.credentials:
        case Credentials.SERVICE_ACCOUNT:
            assert own is not None, "loaded above"
            findings = _try_as_gate(settings, own, failure, customer_registry, source, project)
        case Credentials.ANONYMOUS:
            trials = _trials(customer_registry, project, None) or [Trial("bqgate-doctor")]
            findings = _run(settings, AnonymousCredentials(), failure, trials, Credential(), "nobody")
        case Credentials.CALLER:
            findings = _try_as_caller(settings, customer_registry, clock, project=project, token=token)
    async for finding in findings:
        yield finding
    async for finding in try_sweep(settings, customer_registry, own, gate=_email_of(source), now=clock.now()):
        yield finding


async def _try_as_gate(
    settings: Settings,
    own: UpstreamCredentials,
    failure: LastFailure,
    customer_registry: CustomerRegistry,
    source: TokenSource | None,
    project: str | None,
) -> AsyncIterator[Finding]:
    """With the gate's own token, or that of the customer's account; then, whether BigQuery keeps customers apart."""
    trials, gate = _trials(customer_registry, project, source), _email_of(source)
    async for finding in _run(settings, own, failure, trials, Credential(), "the gate's own account", gate=gate):
        yield finding
    if keeps_apart_itself(settings.upstream, settings.identity):
        async for finding in _try_accounts(settings, own, customer_registry, gate or "GATE"):
            yield finding


async def _try_accounts(
    settings: Settings, own: UpstreamCredentials, customer_registry: CustomerRegistry, gate: str
) -> AsyncIterator[Finding]:
    """Whether BigQuery itself keeps the customers apart."""
    for finding in check_own_accounts(customer_registry, gate):
        yield finding
    upstream, timeout_s = upstream_to(settings, own), settings.upstream.call_timeout_s
    try:
        async for finding in check_neighbours(upstream, customer_registry, timeout_s=timeout_s):
            yield finding
        async for finding in check_gates_own(upstream, customer_registry, gate, timeout_s=timeout_s):
            yield finding
    finally:
        await upstream.close()


async def _try_as_caller(
    settings: Settings, customer_registry: CustomerRegistry, clock: Clock, *, project: str | None, token: str | None
) -> AsyncIterator[Finding]:
    """With the token that was given, else as this machine's default credentials."""
    failure = LastFailure()
    if token is not None:
        trials = _trials(customer_registry, project, None)
        credential = Credential(authorization=f"Bearer {token}")
        async for finding in _run(settings, CallerCredentials(), failure, trials, credential, "the token's holder"):
            yield finding
        return
    try:
        source = await asyncio.to_thread(load_token_source, None)
    except CredentialsUnusable as error:
        yield Finding("dry run", None, f"not tried: callers bring their own credentials, and here {error}", _TRY_AS)
        return
    machine = ServiceAccountCredentials(source, clock, failure)
    if not await machine.renew():
        said = f"not tried: callers bring their own credentials, and this machine's bring no token: {failure.error}"
        yield Finding("dry run", None, said, _TRY_AS)
        return
    trials = _trials(customer_registry, project, source)
    async for finding in _run(settings, machine, failure, trials, Credential(), "this machine's default credentials"):
        is_theirs = finding.is_good is False and project is None
        yield Finding(finding.subject, None, finding.said, _TRY_AS) if is_theirs else finding


def _trials(customer_registry: CustomerRegistry, project: str | None, source: TokenSource | None) -> list[Trial]:
    """Where a dry run shall be made; nowhere, where no project is known."""
    accounts = [
        Trial(project or _project_of(customer.projects, customer.account), customer.id, customer.account)
        for customer in customer_registry.customers.values()
        if customer.account is not None
    ]
    if project is not None:
        return [Trial(project), *accounts]
    projects = [
        Trial(customer.projects[0], customer.id)
        for customer in customer_registry.customers.values()
        if customer.account is None and customer.projects
    ]
    found = [*projects, *accounts]
    if not found:
        name = getattr(source, "project_id", None) or os.environ.get("GOOGLE_CLOUD_PROJECT")
        return [Trial(str(name))] if name else []
    return found


def _project_of(projects: Iterable[str], account: str) -> str:
    """A customer's first project, else that of its service account, whose address ends in its name."""
    return next(iter(projects), account.partition("@")[2].partition(".")[0])


async def _run(
    settings: Settings,
    credentials: UpstreamCredentials,
    failure: LastFailure,
    trials: list[Trial],
    credential: Credential,
    who: str,
    *,
    gate: str = "",
) -> AsyncIterator[Finding]:
    """One dry run after another. Where BigQuery does not answer one, the others are not tried."""
    if not trials:
        yield Finding("dry run", None, "not tried, because no customer has a project", _NAME_PROJECT)
        return
    async with _bigquery(settings, credentials) as bigquery:
        for trial in trials[:TRIALS_MAX]:
            caller = Credential(authorization=credential.authorization, account=trial.account)
            finding = await _dry_run(bigquery, trial, caller, failure, trial.account or who, gate=gate)
            yield finding
    if len(trials) > TRIALS_MAX:
        said = f"{len(trials) - TRIALS_MAX} more projects are not tried"
        yield Finding("dry run", None, said, _NAME_PROJECT)


@asynccontextmanager
async def _bigquery(settings: Settings, credentials: UpstreamCredentials) -> AsyncIterator[GoogleBigQuery]:
    upstream = upstream_to(settings, credentials)
    try:
        yield GoogleBigQuery(upstream, timeout_s=settings.upstream.call_timeout_s)
    finally:
        await upstream.close()


async def _dry_run(
    bigquery: GoogleBigQuery, trial: Trial, caller: Credential, failure: LastFailure, who: str, *, gate: str
) -> Finding:
    where = f"in {trial} as {who}"
    failure.error = failure.remedy = ""
    try:
        estimate = await bigquery.dry_run(project_id=trial.project_id, body=_ASK, credential=caller)
    except UpstreamRefused as refused:
        said = redact_text(message_of(refused.body) or "without a word")
        remedy = _REMEDIES.get(refused.status, "see what BigQuery says, and mend that")
        remedy = remedy.format(who=who, project=trial.project_id)
        account = trial.account or gate
        if refused.status == 403 and account:
            remedy = f"{remedy}: {_GRANT_JOBS.format(project=trial.project_id, account=account)}"
        return Finding("dry run", False, f"{where}: {refused.status} {said}", remedy)
    except UpstreamNotTried as error:
        remedy = failure.remedy or _LEND.format(account=who, gate=gate or "GATE")
        return Finding("dry run", False, f"{where}: no token: {failure.error or error}", remedy)
    except UpstreamUnavailable as error:
        return Finding("dry run", False, f"{where}: {error}", "see upstream.url, and try again")
    if estimate.unknown_because is not None:
        said = f"{where}: the answer is not that of a dry run"
        return Finding("dry run", False, said, "write where BigQuery is in upstream.url")
    return Finding("dry run", True, f"{where}: BigQuery answers")


def _judge_token(source: TokenSource, failure: LastFailure, *, is_fresh: bool) -> Finding:
    name = _email_of(source) or "Google's application default credentials"
    if is_fresh:
        return Finding("credentials", True, f"{name}: a token came")
    return Finding("credentials", False, f"{name}: no token came: {failure.error}", failure.remedy)


def _email_of(source: TokenSource | None) -> str:
    """The account of the gate's own credentials; empty where they do not say."""
    return str(getattr(source, "service_account_email", None) or "")
