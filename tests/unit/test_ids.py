import os

from bqgate.ports.ids import new_id

MANY = 10_000


def test_ids_are_32_digits_and_never_the_same() -> None:
    """Ids tell holds and bookings of all gates apart, and are of one form."""
    ids = {new_id() for _ in range(MANY)}
    assert len(ids) == MANY
    assert all(len(each) == 32 and int(each, 16) >= 0 for each in ids)


def test_ids_of_one_time_begin_alike() -> None:
    """They lie together in an index; what follows is different in every digit."""
    ids = [new_id() for _ in range(MANY)]
    seconds = sorted({int(each[:8], 16) for each in ids})
    assert seconds[-1] - seconds[0] < 60
    for place in range(8, 32):
        assert len({each[place] for each in ids}) == 16


def test_a_forked_process_has_ids_of_its_own() -> None:
    """Two processes that went on with the same randomness would give the same ids."""
    new_id()
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        os.write(writes, new_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reads, 32).decode() not in {new_id() for _ in range(300)}
    os.close(reads)
    os.close(writes)
