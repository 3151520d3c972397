"""Look at the ledger's database from outside the gate: ``bqgate ledger verify | check | rerate | audit``.

Here are verify and audit, which only read, and need the database alone; every other command has a file of its name.
Exit status 1: the database did not answer, or, of verify, something in it is not as the gate wrote it. 2: wrong
arguments or settings.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress

from bqgate.cli.books import moment
from bqgate.cli.config_file import ConfigFile
from bqgate.cli.edge import FAILED
from bqgate.cli.ledger_backup import backup, restore
from bqgate.cli.ledger_check import check
from bqgate.cli.ledger_export import export
from bqgate.cli.ledger_rerate import rerate
from bqgate.cli.loading import ledger_told, load_or_exit
from bqgate.domain.audit import AuditFilter, AuditRecord
from bqgate.settings import Settings

if TYPE_CHECKING:
    from bqgate.ledger import AuditHead, AuditVerdict, SqlRegistry
    from bqgate.ledger.check_books import BooksFault

ResultT = TypeVar("ResultT")

_PAGE_RECORDS = 500
_BOOKS_AGREE = "Books: holds, charges and adjustments agree with each other. Against BigQuery: bqgate ledger check."
_MS_PER_S = 1_000

ledger = typer.Typer(
    name="ledger", help="Verify, prove and correct the ledger; read its audit log.", no_args_is_help=True
)
ledger.command()(backup)
ledger.command()(restore)
ledger.command()(export)


def _seq_and_hash(text: str) -> tuple[int, str]:
    seq, _, its_hash = text.partition(":")
    if not (seq.isdecimal() and seq.isascii() and len(its_hash) == 64):
        raise typer.BadParameter(f"{text!r} is not SEQ:HASH, as the log line audit_head has them")
    return int(seq), its_hash.lower()


@ledger.command()
def verify(
    config: ConfigFile = None,
    witness: Annotated[
        str | None,
        typer.Option(
            metavar="SEQ:HASH",
            help="A record's number and hash from a log line audit_head. The audit log must still have that record: "
            "without a witness, an end that was cut off does not show.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Verify that nobody tampered with the ledger: the audit log's hashes, holds, charges and adjustments.

    The ledger is compared with itself; whether it has what BigQuery ran, and at its cost, says `bqgate ledger check`.
    Exit status 0: everything agrees. 1: something does not, or the database did not answer.
    """
    # Here, because SQLAlchemy takes half a second that other commands need not wait for.
    from bqgate.ledger import AuditHead  # noqa: PLC0415 - said above
    from bqgate.ledger.check_books import check_books  # noqa: PLC0415 - the same

    settings = load_or_exit(config, to_serve=False)
    head = None if witness is None else AuditHead(*_seq_and_hash(witness))

    async def look(registry: "SqlRegistry") -> "tuple[AuditVerdict, tuple[BooksFault, ...]]":
        verdict = await _verify_audit(registry, head)
        return verdict, await check_books(settings.ledger.url.reveal())

    verdict, faults = _with_registry(settings, look)
    typer.echo(f"Audit log: {verdict.records} records, the last one's hash is {verdict.head_hash}.")
    if verdict.broken is not None:
        typer.echo(f"  BROKEN at record {verdict.broken.seq}: {verdict.broken.why}.")
    typer.echo(_BOOKS_AGREE if not faults else "Books:")
    for fault in faults:
        typer.echo(f"  BROKEN: {fault.count} {fault.what}, for example: {', '.join(fault.examples)}.")
    if verdict.broken is not None or faults:
        raise typer.Exit(FAILED)


ledger.command()(check)
ledger.command()(rerate)


@ledger.command()
def audit(
    config: ConfigFile = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=moment, metavar="MOMENT", help="Only from this moment on; in UTC unless it says otherwise."
        ),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="MOMENT", help="Only before this moment.")
    ] = None,
    actor: Annotated[str | None, typer.Option(help="Only what this one did.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this action, like tier.updated or login.refused.")] = None,
    customer: Annotated[str | None, typer.Option(help="Only what concerns this customer.")] = None,
) -> None:
    """Print the audit log as JSON lines, newest first.

    Each line is one record with its hash and the hash of the record before it, so that an export can be verified too.
    """
    wanted = AuditFilter(actor, action, customer, since, until, page_size=_PAGE_RECORDS)

    async def print_pages(registry: "SqlRegistry") -> None:
        page = await registry.fetch_audit(wanted)
        while True:
            for record in page.records:
                typer.echo(json.dumps(_line_of(record)))
            if page.next_before_seq is None:
                return
            page = await registry.fetch_audit(replace(wanted, before_seq=page.next_before_seq))

    _with_registry(load_or_exit(config, to_serve=False), print_pages)


def _with_registry(settings: Settings, work: "Callable[[SqlRegistry], Awaitable[ResultT]]") -> ResultT:
    """Do work on the registry's database, or end the command with the reason why that cannot be."""
    from bqgate.ledger import SqlRegistry  # noqa: PLC0415 - half a second, as in verify

    url, timeout_s = settings.ledger.url, settings.ledger.timeout_ms / _MS_PER_S

    async def run() -> ResultT:
        registry = await SqlRegistry.open_existing(url.reveal(), timeout_s=timeout_s)
        try:
            return await work(registry)
        finally:
            await registry.close()

    with ledger_told(settings):
        return asyncio.run(run())


async def _verify_audit(registry: "SqlRegistry", witness: "AuditHead | None") -> "AuditVerdict":
    """Verify, and on a terminal show how far it is; the report on standard output stays clean."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Audit log", total=None)

        def show(looked_at: int, total: int) -> None:
            progress.update(task, completed=looked_at, total=total)

        return await registry.verify_audit(witness=witness, on_page=show)


def _line_of(record: AuditRecord) -> dict[str, Any]:
    event = record.event
    return {
        "seq": record.seq,
        "at": event.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "action": event.action,
        "actor": event.actor,
        "role": event.role,
        "subject": event.subject,
        "customer": event.customer,
        "source": event.source,
        "target": event.target,
        "request_id": event.request_id,
        "detail": event.detail,
        "before": event.before,
        "after": event.after,
        "previous_hash": record.previous_hash,
        "hash": record.hash,
    }
