"""Check each thing that a gate leans on: ports, certificate, ledger, journal, policies, budgets, BigQuery, secrets.

Called by doctor, with good settings. Whatever makes `bqgate serve` fail is red here. Each check asks the system itself,
waits no longer than the settings let a gate wait, and leaves a Finding; none raises. A check whose question does not
arise, or cannot be asked because an earlier one failed, is neither good nor bad. Ports are port_check.py, Redis
redis_check.py, what is open to whom exposure_check.py, what is tried at BigQuery bigquery_trials.py.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from cryptography import x509
from sqlalchemy import make_url

from bqgate import ledger
from bqgate.app.tls import CertificateUnusable, load_certificate
from bqgate.cli.bigquery_trials import try_bigquery
from bqgate.cli.exposure_check import exposure_of
from bqgate.cli.finding import Finding
from bqgate.cli.port_check import check_ports
from bqgate.cli.redis_check import check_budgets
from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.principal import Role
from bqgate.domain.tier import CustomerRegistry
from bqgate.domain.units import MS_PER_S
from bqgate.ledger.sqlite_files import sqlite_file
from bqgate.policies.compose import compose
from bqgate.policies.faults import PolicyFaults
from bqgate.ports import Clock
from bqgate.settings import Settings
from bqgate.settings.fields import SecretUrl, is_loopback
from bqgate.settings.ledger_section import Sync
from bqgate.settings.sections import IdentityMode

# Days, months and the lives of tokens are counted by this machine's clock.
SKEW_S_MAX = 10

_DISCOVERY = "/discovery/v1/apis/bigquery/v2/rest"
_NOTHING_CHANGED = "as the settings say; admins have changed nothing yet"
_SEE_LEDGER = "see the ledger above, and try again"
_MAKE_ADMIN = "make one: bqgate keys create --role super_admin --local --config FILE"


async def findings_of(
    settings: Settings, clock: Clock, *, project: str | None = None, token: str | None = None
) -> AsyncIterator[Finding]:
    """Every check, one after another. `project` and `token`: see bigquery_trials."""
    async for finding in check_ports(settings.server):
        yield finding
    for finding in exposure_of(settings):
        yield finding
    if settings.server.tls_cert_file is not None and settings.server.tls_key_file is not None:
        yield check_certificate(settings.server.tls_cert_file, settings.server.tls_key_file, clock.now())
    books = await check_ledger(settings)
    yield books
    yield await asyncio.to_thread(check_journal, settings)
    policies, customer_registry = await check_policies(settings, has_ledger=books.is_good is True)
    yield policies
    yield await check_budgets(settings)
    reached, agrees = await check_bigquery(settings, clock)
    yield reached
    yield agrees
    is_reached = reached.is_good is True
    async for finding in try_bigquery(
        settings, customer_registry, clock, project=project, token=token, is_reached=is_reached
    ):
        yield finding
    yield check_secrets(settings)
    yield await check_super_admin(settings, clock.now(), has_ledger=books.is_good is True)


def check_certificate(cert_file: Path, key_file: Path, now: datetime) -> Finding:
    """Can it be served, and is it valid now?"""
    try:
        load_certificate(cert_file, key_file)
    except CertificateUnusable as unusable:
        return Finding("certificate", False, str(unusable), unusable.remedy)
    try:
        ends_at = x509.load_pem_x509_certificate(cert_file.read_bytes()).not_valid_after_utc
    except ValueError:  # OpenSSL reads a few forms that cryptography does not
        return Finding("certificate", True, f"{cert_file} can be served; its end cannot be read")
    if ends_at <= now:
        return Finding("certificate", False, f"{cert_file} ended at {ends_at:%Y-%m-%d %H:%M} UTC", "renew it")
    return Finding("certificate", True, f"{cert_file} is valid until {ends_at:%Y-%m-%d}")


async def check_ledger(settings: Settings) -> Finding:
    """Does the database answer, and has it the tables of this version?"""
    url = settings.ledger.url
    try:
        folder = _folder_of_absent_file(url)
        if folder is not None:
            await asyncio.to_thread(_write_and_forget, folder)
            return Finding("ledger", True, f"{url}: not there yet, bqgate serve makes it")
    except OSError as error:
        remedy = "make the folder, make room in it, or let the gate write to it"
        return Finding("ledger", False, f"{url}: no file can be made there: {error.strerror}", remedy)
    try:
        await ledger.check_revision(url.reveal(), timeout_s=settings.ledger.timeout_ms / MS_PER_S)
    except LedgerUnavailable as error:
        return Finding("ledger", False, f"{url}: {error}", error.remedy or "run: bqgate migrate --config FILE")
    except ValueError as error:
        return Finding("ledger", False, f"{url}: {error}", "write the URL anew")
    return Finding("ledger", True, f"{url}: answers, and has the tables of this version")


def check_journal(settings: Settings) -> Finding:
    """Can it be written, and does something in it wait for a person?"""
    if settings.ledger.sync is not Sync.JOURNAL:
        return Finding("journal", None, "ledger.sync is before_forward: queries wait for the database")
    folder = ledger.journal_folder(settings.ledger.url.reveal(), settings.ledger.journal_folder)
    try:
        left = sorted(file.name for pattern in ("*.refused", "*.damaged") for file in folder.glob(pattern))
        there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        _write_and_forget(there)
    except OSError as error:
        remedy = "name a folder that can be written in ledger.journal_folder, or set ledger.sync: before_forward"
        return Finding("journal", False, f"{folder}: nothing can be written there: {error.strerror}", remedy)
    if left:
        remedy = "see what is in it (docs/journal.md), and take it away"
        return Finding("journal", False, f"{folder}: {', '.join(left)}: what no ledger has taken", remedy)
    return Finding("journal", True, f"{folder}: can be written" if there == folder else f"{folder}: can be made")


async def check_policies(settings: Settings, *, has_ledger: bool) -> tuple[Finding, CustomerRegistry]:
    """Do the settings go together with what admins changed? With the customers that then hold."""
    if not has_ledger:
        return Finding("policies", None, "not looked at, because the ledger cannot be read"), settings.customer_registry
    if _folder_of_absent_file(settings.ledger.url) is not None:
        return Finding("policies", True, _NOTHING_CHANGED), settings.customer_registry
    try:
        async with _registry(settings) as registry:
            items = await registry.fetch_policies()
        customer_registry = compose(settings.policy_base, items).customer_registry
    except LedgerUnavailable as error:
        return Finding("policies", False, str(error), _SEE_LEDGER), settings.customer_registry
    except PolicyFaults as faults:
        remedy = "restore what the settings lack, or change what admins wrote with the settings from before"
        return Finding("policies", False, "; ".join(str(faults).splitlines()), remedy), settings.customer_registry
    said = f"what admins changed ({len(items)}) goes together with the settings" if items else _NOTHING_CHANGED
    return Finding("policies", True, said), customer_registry


async def check_bigquery(settings: Settings, clock: Clock) -> tuple[Finding, Finding]:
    """Does BigQuery's discovery document come, and does its clock agree with this machine's?"""
    upstream = settings.upstream
    patience = aiohttp.ClientTimeout(total=upstream.call_timeout_s, sock_connect=upstream.connect_timeout_s)
    unknown = Finding("clock", None, "not compared, because BigQuery did not answer")
    before = clock.now()
    try:
        async with (
            aiohttp.ClientSession(timeout=patience) as session,
            session.get(upstream.url + _DISCOVERY, allow_redirects=False) as answer,
        ):
            status, date = answer.status, answer.headers.get("Date")
            content = await answer.json(content_type=None)
    except (aiohttp.ClientError, OSError) as error:
        remedy = "see that name resolution, firewall and certificates let this machine reach upstream.url"
        if is_loopback(urlsplit(upstream.url).hostname or ""):
            remedy = "start what listens there: `bqgate sandbox` is the stand-in; or write another upstream.url"
        return Finding("bigquery", False, f"{upstream.url}: no answer ({type(error).__name__})", remedy), unknown
    except ValueError:
        content = None
    if status != 200 or not isinstance(content, dict) or content.get("name") != "bigquery":
        said = f"{upstream.url}: answered {status}, but not as BigQuery does"
        return Finding("bigquery", False, said, "write where BigQuery is in upstream.url"), unknown
    reached = Finding("bigquery", True, f"{upstream.url}: answers")
    return reached, judge_clock(date, before, clock.now())


def judge_clock(date: str | None, before: datetime, after: datetime) -> Finding:
    """Whether a Date header fits between two moments of this machine. It has whole seconds, cut off."""
    try:
        there = parsedate_to_datetime(date or "").astimezone(UTC)
    except ValueError:
        return Finding("clock", None, "not compared, because the answer bore no date")
    skew_s = max((before - there - timedelta(seconds=1)).total_seconds(), (there - after).total_seconds(), 0.0)
    if skew_s > SKEW_S_MAX:
        way = "behind" if there > after else "ahead of"
        return Finding("clock", False, f"{skew_s:.0f} s {way} BigQuery's", "let NTP set this machine's clock")
    return Finding("clock", True, "agrees with BigQuery's")


def check_secrets(settings: Settings) -> Finding:
    """What signs the gate's tokens. That it cannot be guessed was checked with the settings."""
    identity = settings.identity
    if identity.mode is IdentityMode.OPEN:
        return Finding("secrets", None, "identity.mode is open: every caller is trusted, nothing is signed")
    if identity.token_secret is None:
        return Finding("secrets", False, "identity.token_secret is missing", "make one: openssl rand -base64 48")
    beside = "" if identity.previous_token_secret is None else ", the one before it is still taken"
    return Finding("secrets", True, f"identity.token_secret is set{beside}")


async def check_super_admin(settings: Settings, now: datetime, *, has_ledger: bool) -> Finding:
    """Is there anybody who may make keys for admins?"""
    if settings.identity.mode is IdentityMode.OPEN:
        return Finding("super admin", None, "identity.mode is open: nobody logs in")
    if not has_ledger:
        return Finding("super admin", None, "not looked for, because the ledger cannot be read")
    if _folder_of_absent_file(settings.ledger.url) is not None:
        return Finding("super admin", False, "there is no key of a super_admin", _MAKE_ADMIN)
    try:
        async with _registry(settings) as registry:
            keys = await registry.fetch_keys()
    except LedgerUnavailable as error:
        return Finding("super admin", False, str(error), _SEE_LEDGER)
    count = sum(key.role is Role.SUPER_ADMIN and key.is_valid_at(now) for key in keys)
    if count == 0:
        return Finding("super admin", False, "no valid key is a super_admin's", _MAKE_ADMIN)
    return Finding("super admin", True, f"{count} valid {'key' if count == 1 else 'keys'}")


@asynccontextmanager
async def _registry(settings: Settings) -> AsyncIterator[ledger.SqlRegistry]:
    url, timeout_s = settings.ledger.url, settings.ledger.timeout_ms / MS_PER_S
    registry = await ledger.SqlRegistry.open_existing(url.reveal(), timeout_s=timeout_s)
    try:
        yield registry
    finally:
        await registry.close()


def _folder_of_absent_file(url: SecretUrl) -> Path | None:
    """Where a SQLite file would be made; None where it is there, or the database is another one.

    Raises:
        OSError: the path is relative, and the working directory is gone; or it may not be looked at.
    """
    file = sqlite_file(make_url(url.reveal()))
    if file is None:
        return None
    return None if file.exists() else file.parent


def _write_and_forget(folder: Path) -> None:
    """Write a few bytes into a file without a name: rights and room show only where something is written."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(4096))
        file.flush()
        os.fsync(file.fileno())
