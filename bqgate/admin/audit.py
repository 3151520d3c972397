"""Show the audit log: in pages, as JSON lines to keep elsewhere, and whether its chain is whole.

Asks the Registry. Newest first everywhere. A page's token is the number of its last record, so a page stays what it is
while records are added, and an export that broke off goes on with `page_token` = the last `seq` that arrived. An export
holds one page in memory; a database that stops answering in the middle ends the connection without the end of the
body, so that no client takes a part for the whole. Reading is not audited.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Protocol

from aiohttp import hdrs, web

from bqgate.admin.documents import answer_document, write_moment
from bqgate.admin.operation import Answered, Operation, Parameter, RateClass
from bqgate.admin.parameters import CUSTOMER_IN_QUERY, Parameters
from bqgate.admin.problem import Problem
from bqgate.admin.schemas_keys import AuditBreak, AuditRecordPage, AuditVerdict, describe_record
from bqgate.domain.audit import AuditFilter, AuditPage
from bqgate.domain.errors import LedgerUnavailable
from bqgate.domain.principal import Identity
from bqgate.ports import Clock, Registry, Telemetry

PAGE_SIZE = 100
PAGE_SIZE_MAX = 1_000
JSON_LINES = "application/x-ndjson"

_TEXT_CHARS_MAX = 300
_FILTERS = ("actor", "action", "customer", "since", "until", "page_token", "page_size")
_DATE_TIME = {"type": "string", "format": "date-time"}
_PARAMETERS = (
    Parameter("actor", "By this name only."),
    Parameter("action", "Of this kind only, for example key.created."),
    CUSTOMER_IN_QUERY,
    Parameter("since", "From this moment on.", schema=_DATE_TIME),
    Parameter("until", "Before this moment.", schema=_DATE_TIME),
    Parameter("page_token", "Records before this one: next_page_token, or the last seq that arrived."),
    Parameter(
        "page_size",
        "How many records a page has; in an export, how many are read at once.",
        schema={"type": "integer", "minimum": 1, "maximum": PAGE_SIZE_MAX, "default": PAGE_SIZE},
    ),
)


class Break(Protocol):
    """The first place where the log is not as it was written, and what is wrong there."""

    @property
    def seq(self) -> int:
        """The record's place."""

    @property
    def why(self) -> str:
        """What is wrong."""


class ChainCheck(Protocol):
    """How many records stand unbroken from the first on, the last one's hash, and what comes then, if anything."""

    @property
    def records(self) -> int:
        """How many."""

    @property
    def head_hash(self) -> str:
        """The last one's hash."""

    @property
    def broken(self) -> Break | None:
        """The first break."""


class AuditLog(Registry, Protocol):
    """A Registry that can look over its whole audit log."""

    async def verify_audit(self) -> ChainCheck:
        """Look for the first break of the chain.

        Raises:
            LedgerUnavailable: the database did not answer.
        """


class AuditViews:
    """The views of the audit log."""

    def __init__(self, *, registry: AuditLog, clock: Clock, telemetry: Telemetry) -> None:
        self._registry = registry
        self._clock = clock
        self._telemetry = telemetry

    def operations(self) -> tuple[Operation, ...]:
        """What is answered here."""
        return (
            Operation(
                id="audit.list",
                method=hdrs.METH_GET,
                path="/admin/v1/audit",
                summary="Who did what, newest first. With Accept: application/x-ndjson as audit:export",
                tag="audit",
                view=self.list,
                parameters=_PARAMETERS,
                answers={200: Answered("A page of records.", AuditRecordPage)},
            ),
            Operation(
                id="audit.export",
                method=hdrs.METH_GET,
                path="/admin/v1/audit:export",
                summary="All records that match, one JSON document a line, newest first",
                tag="audit",
                view=self.export,
                rate=RateClass.REPORTS,
                parameters=_PARAMETERS,
                answers={200: Answered("The records; a connection that breaks off was no end.", media_type=JSON_LINES)},
            ),
            Operation(
                id="audit.verify",
                method=hdrs.METH_GET,
                path="/admin/v1/audit:verify",
                summary="Whether the chain of hashes is whole",
                tag="audit",
                view=self.verify,
                rate=RateClass.REPORTS,
                answers={200: Answered("The verdict.", AuditVerdict)},
            ),
        )

    async def list(self, request: web.Request, _identity: Identity) -> web.Response:
        """GET /admin/v1/audit, as JSON, or as the export where the caller accepts that or says format=jsonl."""
        parameters = Parameters(request, (*_FILTERS, "format"))
        chosen = parameters.text("format")
        if chosen not in {None, "json", "jsonl"}:
            raise Problem(400, "format must be json or jsonl.", field="format")
        if chosen == "jsonl" or (chosen is None and _accepts_lines(request)):
            return await self._lines(_filter_of(parameters))
        now = self._clock.now()
        page = await self._registry.fetch_audit(_filter_of(parameters))
        shown = AuditRecordPage(
            records=tuple(describe_record(record) for record in page.records),
            next_page_token=None if page.next_before_seq is None else str(page.next_before_seq),
            as_of=write_moment(now),
        )
        return answer_document(shown)

    async def export(self, request: web.Request, _identity: Identity) -> web.Response:
        """GET /admin/v1/audit:export."""
        return await self._lines(_filter_of(Parameters(request, _FILTERS)))

    async def verify(self, request: web.Request, _identity: Identity) -> web.Response:
        """GET /admin/v1/audit:verify."""
        Parameters(request)
        now = self._clock.now()
        verdict = await self._registry.verify_audit()
        broken = verdict.broken
        shown = AuditVerdict(
            is_intact=broken is None,
            records=verdict.records,
            head_hash=verdict.head_hash,
            broken=None if broken is None else AuditBreak(seq=broken.seq, why=broken.why),
            as_of=write_moment(now),
        )
        return answer_document(shown)

    async def _lines(self, wanted: AuditFilter) -> web.Response:
        # Read before the answer begins: a database that is away is a 503 yet.
        first = await self._registry.fetch_audit(wanted)
        return web.Response(
            body=self._rendered(wanted, first),
            content_type=JSON_LINES,
            headers={hdrs.CACHE_CONTROL: "no-store"},
        )

    async def _rendered(self, wanted: AuditFilter, page: AuditPage) -> AsyncIterator[bytes]:
        """The lines, a page at a time.

        Raises:
            ConnectionResetError: the database stopped answering; aiohttp then drops the connection.
        """
        while True:
            if page.records:
                lines = (describe_record(record).model_dump_json() for record in page.records)
                yield "".join(f"{line}\n" for line in lines).encode()
            if page.next_before_seq is None:
                return
            try:
                page = await self._registry.fetch_audit(replace(wanted, before_seq=page.next_before_seq))
            except LedgerUnavailable:
                self._telemetry.count("failures_total", system="ledger", step="audit_export")
                message = "the ledger stopped answering"
                raise ConnectionResetError(message) from None


def _filter_of(parameters: Parameters) -> AuditFilter:
    since, until = parameters.moment("since"), parameters.moment("until")
    if since is not None and until is not None and since > until:
        raise Problem(400, "since is later than until.", field="since")
    return AuditFilter(
        actor=_name(parameters, "actor"),
        action=_name(parameters, "action"),
        customer=parameters.customer(),
        since=since,
        until=until,
        before_seq=_before_seq(parameters),
        page_size=parameters.integer("page_size", default=PAGE_SIZE, at_least=1, at_most=PAGE_SIZE_MAX),
    )


def _name(parameters: Parameters, name: str) -> str | None:
    value = parameters.text(name)
    if value is not None and not (value.isprintable() and len(value) <= _TEXT_CHARS_MAX):
        raise Problem(400, f"{name} must be 1 to {_TEXT_CHARS_MAX} printable characters.", field=name)
    return value


def _before_seq(parameters: Parameters) -> int | None:
    token = parameters.text("page_token")
    if token is None:
        return None
    if not (token.isascii() and token.isdigit() and len(token) <= 18):
        raise Problem(400, "page_token is not one that the audit log gave.", field="page_token")
    return int(token)


def _accepts_lines(request: web.Request) -> bool:
    accepted = ",".join(request.headers.getall(hdrs.ACCEPT, ()))
    return any(part.partition(";")[0].strip().lower() == JSON_LINES for part in accepted.split(","))
