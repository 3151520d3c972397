"""Read the jobs of a span of time from its beginning, as far as all of them are read at once.

Used by sweep.py and by `bqgate ledger check`; calls a JobReader. A span with more jobs than are kept in memory is cut
in halves.
"""

from datetime import datetime, timedelta

from bqgate.domain.errors import UpstreamUnavailable
from bqgate.domain.place import Place
from bqgate.ports import JobReader, JobsRead

# A long way is taken in pieces, so that what was done of it is kept and told.
PIECE = timedelta(hours=6)
MASKED = b"others' jobs are shown without whose they are and what they used"
_SHORTEST = timedelta(milliseconds=2)


async def read_beginning(
    reader: JobReader, place: Place, *, since: datetime, until: datetime
) -> tuple[JobsRead, datetime]:
    """All jobs of the beginning of a span, and where that ends; some of them where others are masked.

    Raises:
        UpstreamRefused, OwnQueriesSpent, LedgerUnavailable: as JobReader.read_jobs.
        UpstreamUnavailable: no answer; or more jobs at one moment than are read at once.
    """
    while True:
        read = await reader.read_jobs(place, since=since, until=until)
        if read.is_whole or read.masked_count:
            return read, until
        if until - since <= _SHORTEST:
            raise UpstreamUnavailable(f"More jobs were made in {place.project_id} at once than are read at once.")
        until = since + (until - since) / 2
