"""Show spend by day, week or month, divided by customer, principal, project, workload or label.

Mounted by control_plane; asks the ledger's reports, which add up in its database. Days are those of each customer's
time zone, as in its budgets, so that a day's spend here is what its budget shows as spent. Bounded: of too many rows
the latest and most expensive are told, with the totals of all.
"""

import re
from datetime import date, timedelta

from aiohttp import web

from bqgate.admin.documents import answer_document, write_moment
from bqgate.admin.operation import Answered, Operation, Parameter, RateClass
from bqgate.admin.parameters import CUSTOMER_IN_QUERY, PRINCIPAL_IN_QUERY, Parameters
from bqgate.admin.problem import Problem
from bqgate.admin.schemas import SpendDocument, SpendRowDocument, TotalDocument
from bqgate.domain.money import format_usd
from bqgate.domain.principal import Identity
from bqgate.domain.spend import SpendGroup, SpendPeriod, SpendQuery, SpendTable
from bqgate.ports import Clock, LedgerReports

ROWS = 1_000
ROWS_MAX = 10_000

_PERIODS = tuple(period.value for period in SpendPeriod)
_GROUPS = tuple(group.value for group in SpendGroup if group is not SpendGroup.LABEL)
# BigQuery's keys of labels have 63 characters at most.
_LABEL = re.compile(r"label:(?P<key>[^\x00-\x1f\x7f]{1,63})")
_DAY = {"type": "string", "format": "date"}
_PARAMETERS = (
    CUSTOMER_IN_QUERY,
    PRINCIPAL_IN_QUERY,
    Parameter(
        "period", "What a row adds up.", schema={"type": "string", "enum": list(_PERIODS), "default": SpendPeriod.DAY}
    ),
    Parameter(
        "group_by",
        "Whose a row is, beside its customer's; label:KEY divides by the values of one label.",
        schema={
            "type": "string",
            "pattern": rf"^({'|'.join(_GROUPS)}|label:[^\x00-\x1f\x7f]{{1,63}})$",
            "default": SpendGroup.CUSTOMER,
        },
    ),
    Parameter("since", "The first day; else 30 days, 12 weeks or 12 months with today's.", schema=_DAY),
    Parameter("until", "The last day, which counts too; else there is none.", schema=_DAY),
    Parameter(
        "rows_max",
        "How many rows at most.",
        schema={"type": "integer", "minimum": 1, "maximum": ROWS_MAX, "default": ROWS},
    ),
)


class SpendViews:
    """The view of spend over time."""

    def __init__(self, *, reports: LedgerReports, clock: Clock) -> None:
        self._reports = reports
        self._clock = clock

    def operations(self) -> tuple[Operation, ...]:
        """What is answered here."""
        return (
            Operation(
                "spend.show",
                "GET",
                "/v1/spend",
                "Spend by day, week or month, divided by whose it is",
                "costs",
                self.show,
                RateClass.COSTS,
                parameters=_PARAMETERS,
                answers={200: Answered("The spend.", SpendDocument)},
            ),
        )

    async def show(self, request: web.Request, _identity: Identity) -> web.Response:
        """GET /v1/spend."""
        parameters = Parameters(request, tuple(each.name for each in _PARAMETERS))
        now = self._clock.now()
        period = SpendPeriod(parameters.one_of("period", _PERIODS) or SpendPeriod.DAY)
        group, label_key = _group_of(parameters)
        until = parameters.day("until")
        since = parameters.day("since") or _usual_since(period, min(until or now.date(), now.date()))
        if until is not None and since > until:
            raise Problem(400, "since is later than until.", field="since")
        wanted = SpendQuery(
            period=period,
            group=group,
            since=since,
            until=until,
            label_key=label_key,
            customer=parameters.customer(),
            principal=parameters.principal(),
            rows_max=parameters.integer("rows_max", default=ROWS, at_least=1, at_most=ROWS_MAX),
        )
        return answer_document(_write_spend(wanted, await self._reports.fetch_spending(wanted), write_moment(now)))


def _group_of(parameters: Parameters) -> tuple[SpendGroup, str | None]:
    value = parameters.text("group_by") or SpendGroup.CUSTOMER.value
    label = _LABEL.fullmatch(value)
    if label is not None:
        return SpendGroup.LABEL, label["key"]
    if value not in _GROUPS:
        raise Problem(400, f"group_by must be one of {', '.join(_GROUPS)}, or label:KEY.", field="group_by")
    return SpendGroup(value), None


def _usual_since(period: SpendPeriod, last: date) -> date:
    """The first day of as much as fits a screen, whole weeks and whole months."""
    match period:
        case SpendPeriod.DAY:
            back = timedelta(days=29)
        case SpendPeriod.WEEK:
            back = timedelta(days=last.weekday() + 11 * 7)
        case SpendPeriod.MONTH:
            # Counted in months from the year 0, of which no calendar has a day.
            first = max(last.year * 12 + last.month - 1 - 11, 12)
            return date(first // 12, first % 12 + 1, 1)
    return max(last, date.min + back) - back


def _write_spend(wanted: SpendQuery, found: SpendTable, as_of: str) -> SpendDocument:
    group_by = wanted.group.value if wanted.label_key is None else f"{wanted.group}:{wanted.label_key}"
    return SpendDocument(
        customer=wanted.customer,
        principal=wanted.principal,
        period=wanted.period,
        group_by=group_by,
        since=wanted.since.isoformat(),
        until=None if wanted.until is None else wanted.until.isoformat(),
        total=TotalDocument(
            cost_usd=format_usd(found.cost_nanos),
            bytes_billed=found.bytes_billed,
            slot_ms=found.slot_ms,
            job_count=found.job_count,
        ),
        rows=tuple(
            SpendRowDocument(
                period=wanted.period.key_of(row.starts_on),
                starts_on=row.starts_on.isoformat(),
                customer=row.customer,
                value=row.value,
                cost_usd=format_usd(row.cost_nanos),
                bytes_billed=row.bytes_billed,
                slot_ms=row.slot_ms,
                job_count=row.job_count,
            )
            for row in found.rows
        ),
        rows_left_out=found.row_count - len(found.rows),
        as_of=as_of,
    )
