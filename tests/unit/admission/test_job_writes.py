from bqgate.admission.estimates.job_writes import JobWrites
from bqgate.domain.touched import Touched, touched_names

T, U = touched_names(["p.d.t"]), touched_names(["p.d.u"])


class Told:
    """What was said to be written."""

    def __init__(self) -> None:
        self.writes: list[Touched] = []

    def wrote(self, touched: Touched | None) -> None:
        if touched is not None:
            self.writes.append(touched)


def test_a_write_is_told_at_its_beginning_at_each_look_and_at_its_end() -> None:
    """After its end a job writes nothing any more."""
    told = Told()
    writes = JobWrites(told.wrote)
    writes.begin("p:job", T)
    writes.look("p:job")
    writes.look("p:other")
    writes.end("p:job")
    writes.look("p:job")
    writes.end("p:job")
    assert told.writes == [T, T, T]


def test_what_has_no_job_is_told_once() -> None:
    """Streaming inserts end with their answer; who writes nothing is not remembered."""
    told = Told()
    writes = JobWrites(told.wrote)
    writes.begin(None, T)
    writes.begin("p:job", None)
    writes.look("p:job")
    assert (told.writes, len(writes)) == ([T], 0)


def test_jobs_are_bounded() -> None:
    """The oldest is forgotten; each is remembered in few names, and never by less than it writes."""
    told = Told()
    writes = JobWrites(told.wrote, jobs_max=1)
    writes.begin("p:a", T)
    writes.begin("p:b", touched_names(f"p.d.t{number}" for number in range(1_000)))
    writes.look("p:a")
    writes.look("p:b")
    assert told.writes[2:] == [touched_names(["p.d"])]
