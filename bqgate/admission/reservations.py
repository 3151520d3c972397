"""Refuse a query that names a reservation which its customer may not use. Pure.

Called by the handler before anything is asked or held. Where prices depend on where a query runs, choosing the
reservation is choosing the price: `none` turns ten TiB of scans into slots that nobody used, another project's
reservation makes others pay. So the choice needs the customer's allow-list. Under other price models it changes no
price and passes, unless the customer has a list.
"""

from bqgate.domain.errors import AccessDenied
from bqgate.domain.job import QueryRequest
from bqgate.domain.pricing import PriceList
from bqgate.domain.tier import Customer, Mode
from bqgate.wire.reservations import reservations_named

# Of what a caller wrote, in an answer and in the audit log.
_SHOWN_MAX = 200


def judge_reservations(request: QueryRequest, customer: Customer, prices: PriceList) -> None:
    """Return where the query may run where it says.

    Raises:
        AccessDenied: it names a reservation that is not in the customer's list; in BigQuery's words.
        MalformedRequest: a field is of the wrong type.
    """
    if customer.mode is not Mode.ENFORCE or (customer.reservations is None and not prices.depends_on_reservation):
        return
    allowed = {name.lower() for name in customer.reservations or ()}
    for name in reservations_named(request):
        if name is None or name.lower() not in allowed:
            raise _denied(name)


def _denied(name: str | None) -> AccessDenied:
    shown = "@@reservation" if name is None else name[:_SHOWN_MAX]
    return AccessDenied(
        f"Access Denied: Reservation {shown}: Permission bigquery.reservations.use denied on reservation {shown} "
        "(or it may not exist); bqgate's setting customers.<name>.reservations lists what may be used.",
        target=f"reservation {shown}",
    )
