"""Remember what running jobs write, so that estimates made meanwhile are dropped when a job ends, at every gate.

Told by the gate when a writing call is sent and when somebody has asked after its job, by settlement when the job has
ended, and by other gates (write_broadcast.py). A load or copy job has no hold and nobody here waits for its end, but
its caller does: it asks once more right before it goes on, perhaps at another gate. Bounded: the jobs longest unseen
are forgotten.
"""

from collections import OrderedDict
from collections.abc import Callable

from bqgate.domain.hold import Hold
from bqgate.domain.job import JobRef
from bqgate.domain.touched import Touched, Writes

JOBS_MAX = 10_000
# How many tables are remembered of one job; a script may name more.
_NAMES_MAX = 50


class JobWrites:
    """What running jobs write. Jobs are named "project:jobid".

    `drop` is Estimator.drop; `tell` sends what is written here to other gates, without waiting.
    """

    def __init__(
        self, drop: Callable[[Touched], None], tell: Callable[[Writes], None], *, jobs_max: int = JOBS_MAX
    ) -> None:
        self._drop = drop
        self._tell = tell
        self._jobs_max = jobs_max
        self._writing: OrderedDict[str, Touched] = OrderedDict()

    def __len__(self) -> int:
        return len(self._writing)

    def begin(self, job: str | None, touched: Touched | None) -> None:
        """Note a write that is being sent to BigQuery.

        Args:
            job: None: it has none, or none that is known yet.
            touched: None: it writes nothing.
        """
        if touched is None:
            return
        if job is not None:
            self._remember(job, touched)
        self._note(touched, job)

    def look(self, job: str) -> None:
        """Note that somebody asked after a job, which may have ended by now."""
        touched = self._writing.get(job)
        if touched is not None:
            self._note(touched)

    def end(self, job: str) -> None:
        """Note that a job has ended. Again, or unknown: nothing changes."""
        touched = self._writing.pop(job, None)
        if touched is not None:
            self._note(touched)

    def begin_under(self, hold: Hold, touched: Touched | None) -> None:
        """Note a query that is being sent under its hold."""
        self.begin(_name_of(hold), touched)

    def learn_job(self, hold: Hold, job: JobRef) -> None:
        """Note under which job the query of a hold runs, for its caller will ask after that."""
        touched = self._writing.get(_name_of(hold))
        if touched is not None:
            self.begin(f"{hold.project_id}:{job.job_id}", touched)

    def end_of(self, hold: Hold) -> None:
        """Note that the query of a hold has ended."""
        if self._writing:
            self.end(hold.id)
            self.end(_name_of(hold))

    def hear(self, writes: Writes) -> None:
        """Take what another gate tells of its writes. Whose end is told there only is remembered here for a while."""
        self._drop(writes.touched)
        for job in writes.jobs:
            self._remember(job, writes.touched)

    def _note(self, touched: Touched, job: str | None = None) -> None:
        self._drop(touched)
        self._tell(Writes(touched, frozenset() if job is None else frozenset({job})))

    def _remember(self, job: str, touched: Touched) -> None:
        self._writing[job] = touched.within(_NAMES_MAX)
        self._writing.move_to_end(job)
        while len(self._writing) > self._jobs_max:
            self._writing.popitem(last=False)


def _name_of(hold: Hold) -> str:
    """The job's name, or the hold's id where the job is not known when the query is sent."""
    return hold.id if hold.job is None else f"{hold.job.project_id}:{hold.job.job_id}"
