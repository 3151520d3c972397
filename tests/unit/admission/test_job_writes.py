from bqgate.admission.estimates.job_writes import JobWrites
from bqgate.domain.touched import EVERYTHING, Touched, Writes, touched_names

T, U = touched_names(["p.d.t"]), touched_names(["p.d.u"])


class Gate:
    """The writes of one gate: what it dropped, and what it told others."""

    def __init__(self, *, jobs_max: int = 10) -> None:
        self.dropped: list[Touched] = []
        self.told: list[Writes] = []
        self.writes = JobWrites(self.dropped.append, self.told.append, jobs_max=jobs_max)


def test_a_write_is_told_at_its_beginning_at_each_look_and_at_its_end() -> None:
    """After its end a job writes nothing any more. Others learn its name, for its caller may ask after it there."""
    gate = Gate()
    gate.writes.begin("p:job", T)
    gate.writes.look("p:job")
    gate.writes.look("p:other")
    gate.writes.end("p:job")
    gate.writes.look("p:job")
    gate.writes.end("p:job")
    assert gate.dropped == [T, T, T]
    assert gate.told == [Writes(T, frozenset({"p:job"})), Writes(T), Writes(T)]


def test_what_has_no_job_is_told_once() -> None:
    """Streaming inserts end with their answer; who writes nothing is not remembered, and drops nothing."""
    gate = Gate()
    gate.writes.begin(None, T)
    gate.writes.begin("p:job", None)
    gate.writes.look("p:job")
    assert (gate.dropped, gate.told, len(gate.writes)) == ([T], [Writes(T)], 0)


def test_a_job_of_another_gate_is_looked_after_here() -> None:
    """It is dropped when that gate tells, without telling it on, and again when somebody asks here after the job."""
    gate = Gate()
    gate.writes.hear(Writes(T, frozenset({"p:job"})))
    gate.writes.hear(Writes(EVERYTHING))
    assert (gate.dropped, gate.told) == ([T, EVERYTHING], [])
    gate.writes.look("p:job")
    assert (gate.dropped[2:], gate.told) == ([T], [Writes(T)])


def test_jobs_are_bounded() -> None:
    """The oldest is forgotten; each is remembered in few names, and never by less than it writes."""
    gate = Gate(jobs_max=1)
    gate.writes.begin("p:a", T)
    gate.writes.begin("p:b", touched_names(f"p.d.t{number}" for number in range(1_000)))
    gate.writes.look("p:a")
    gate.writes.look("p:b")
    assert gate.dropped[2:] == [touched_names(["p.d"])]
    gate.writes.hear(Writes(U, frozenset({"p:c", "p:d"})))
    assert len(gate.writes) == 1
