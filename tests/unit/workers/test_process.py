from bqgate.workers.process import PAUSE_S_MAX, SHORT_LIFE_S, WorkerProcess
from bqgate.workers.seats import SILENT_S, make_seats
from tests.support.manual_clock import ManualClock


def come_up(worker: WorkerProcess) -> None:
    """As if it had said that it listens."""
    worker.has_come_up = True


def test_who_lives_shortly_again_and_again_is_waited_for_longer() -> None:
    """The pause doubles up to its bound; one long life, and the next worker begins at once."""
    clock = ManualClock()
    seats, _ = make_seats(1, clock)
    worker = WorkerProcess(0, seats[0], clock)
    come_up(worker)
    assert [worker.pause_s() for _ in range(7)] == [1, 2, 4, 8, 16, PAUSE_S_MAX, PAUSE_S_MAX]
    clock.advance(SHORT_LIFE_S)
    assert worker.pause_s() == 0
    worker.has_come_up = False
    assert worker.pause_s() == 1


def test_who_does_not_beat_is_silent_and_counted_only_while_somebody_looks() -> None:
    """A supervisor that stood still itself finds one silent moment, not many."""
    clock = ManualClock()
    clock.advance(100)
    seats, _ = make_seats(2, clock)
    worker = WorkerProcess(0, seats[0], clock)
    assert worker.silent_ticks() == 0  # it has not come up
    seats[0].beat()
    assert worker.silent_ticks() == 0
    clock.advance(3600)
    assert [worker.silent_ticks() for _ in range(3)] == [1, 2, 3]
    seats[0].beat()
    assert worker.silent_ticks() == 0


def test_who_has_not_beaten_for_seconds_is_not_up() -> None:
    """Neither is one that has never beaten."""
    clock = ManualClock()
    clock.advance(100)
    (beating, hung, beginning), _ = make_seats(3, clock)
    hung.beat()
    clock.advance(SILENT_S)
    beating.beat()
    assert [seat.is_up for seat in (beating, hung, beginning)] == [True, False, False]


def test_connections_on_their_way_count_as_load() -> None:
    """What was given and not taken yet is a connection, and so is what is open."""
    clock = ManualClock()
    seats, _ = make_seats(1, clock)
    worker = WorkerProcess(0, seats[0], clock)
    seats[0].say(taken=0, is_open=3)
    assert worker.load == 3
