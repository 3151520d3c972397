"""Find contradictions in how the ledger is kept.

Used by rules. A URL whose driver is missing or makes nothing of it is a fault for every command that reads the ledger;
the rest keeps a gate from serving.
"""

from collections.abc import Iterator
from importlib.util import find_spec

from bqgate.settings.faults import Fault
from bqgate.settings.ledger_section import LedgerSection
from bqgate.settings.sweep_section import SweepMethod, SweepSection

# Months have 28 days at least.
_MONTH_DAYS = 28


def url_faults(ledger: LedgerSection) -> Iterator[Fault]:
    """A database whose driver is not installed, or whose URL the driver makes nothing of."""
    if ledger.url.scheme != "postgresql":
        return
    if find_spec("psycopg") is None:
        yield Fault("ledger.url", "needs the extra postgres: pip install 'bqgate[postgres]'")
    from bqgate.ledger.connections import read_url  # noqa: PLC0415 - SQLAlchemy takes half a second

    for key, url in (("url", ledger.url), ("replica_url", ledger.replica_url)):
        try:
            if url is not None:
                read_url(url.reveal(), is_async=True)
        except ValueError as error:
            yield Fault(f"ledger.{key}", str(error))


def keeping_faults(ledger: LedgerSection, sweep: SweepSection | None) -> Iterator[Fault]:
    """A replica or a retention where there can be none, and a sweep that would book dropped jobs again."""
    if ledger.url.scheme != "postgresql":
        for key in ("replica_url", "retention_months"):
            if getattr(ledger, key) is not None:
                yield Fault(f"ledger.{key}", "is for PostgreSQL; SQLite has neither replicas nor months to drop")
    elif ledger.replica_url is not None and ledger.replica_url.scheme != "postgresql":
        yield Fault("ledger.replica_url", "must be a replica of ledger.url, which is postgresql://")
    if ledger.retention_months is None or sweep is None or sweep.method is SweepMethod.OFF:
        return
    if (sweep.look_back_days or 0) > ledger.retention_months * _MONTH_DAYS:
        yield Fault(
            "sweep.look_back_days",
            "reaches back to before what ledger.retention_months keeps: jobs would be booked twice",
        )
