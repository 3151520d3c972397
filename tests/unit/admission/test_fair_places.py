import itertools

from bqgate.admission.estimates.fair_places import FairPlaces
from bqgate.admission.queue.fair_queue import QueuedQuery


class Scene:
    """Places, and who came to them."""

    def __init__(self, places: int, waiting_max: int = 1_000) -> None:
        self.places = FairPlaces(places, waiting_max=waiting_max)
        self.numbers = itertools.count()
        self.inside: list[QueuedQuery] = []
        self.all_queued: dict[str, QueuedQuery] = {}
        self.refused: list[QueuedQuery] = []

    def come(self, customer: str, count: int = 1, caller: str = "") -> None:
        """Let so many come."""
        for _ in range(count):
            queued = QueuedQuery(f"{customer}{next(self.numbers)}", customer, caller)
            self.all_queued[queued.hold_id] = queued
            moves = self.places.arrive(queued, 0)
            self.inside += [self.all_queued[ticket] for ticket in moves.granted]
            self.refused += [self.all_queued[ticket] for ticket in moves.refused]

    def end(self, customer: str) -> list[str]:
        """End the oldest dry run of a customer; returns whose began then."""
        ending = next(queued for queued in self.inside if queued.customer == customer)
        self.inside.remove(ending)
        granted = [self.all_queued[ticket] for ticket in self.places.leave(ending.hold_id).granted]
        self.inside += granted
        return [queued.customer for queued in granted]

    def count(self, customer: str) -> int:
        """How many of a customer are under way."""
        return sum(queued.customer == customer for queued in self.inside)


def test_one_customer_never_takes_the_last_places() -> None:
    """Of 100 places 400 slow dry runs fill 75; whoever comes then goes at once."""
    scene = Scene(100)
    scene.come("slow", 400)
    assert (75, 325) == (scene.count("slow"), scene.places.waiting_count)
    scene.come("other")
    assert scene.count("other") == 1


def test_customers_come_to_equal_shares() -> None:
    """As the first one's end, others fill up until all have as many, and a few places stay free for newcomers."""
    scene = Scene(100)
    for customer in ("a", "b", "c"):
        scene.come(customer, 400)
    for _ in range(300):
        scene.end(max("abc", key=scene.count))
    shares = [scene.count(customer) for customer in "abc"]
    assert max(shares) - min(shares) <= 2
    assert 85 <= sum(shares) < 100


def test_a_single_place_is_used() -> None:
    """However few places there are, somebody has one, and customers take turns at it."""
    scene = Scene(1)
    scene.come("a", 3)
    scene.come("b", 3)
    order = ["a"]
    while scene.inside:
        order += scene.end(scene.inside[0].customer)
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert (0, 0) == (scene.places.taken_count, scene.places.waiting_count)


def test_callers_of_a_customer_take_turns() -> None:
    """One user's many do not hold up a colleague's one."""
    scene = Scene(4)
    scene.come("a", 20, caller="ann")
    scene.come("a", 1, caller="bob")
    for _ in range(2):
        scene.end("a")
    assert "bob" in {queued.principal for queued in scene.inside}


def test_a_full_queue_makes_room_for_who_has_less_waiting() -> None:
    """Past the bound the newest of who has most is sent away, not whoever comes last."""
    scene = Scene(1, waiting_max=3)
    scene.come("a", 4)
    scene.come("b", 1)
    assert [queued.hold_id for queued in scene.refused] == ["a3"]
    scene.come("a", 1)
    assert scene.refused[-1].customer == "a"


def test_leaving_twice_gives_nothing_twice() -> None:
    """A place that was given back is free once."""
    scene = Scene(2)
    scene.come("a", 2)
    ticket = scene.inside[0].hold_id
    scene.places.leave(ticket)
    scene.places.leave(ticket)
    scene.places.leave("nobody")
    assert scene.places.taken_count == 1
