import asyncio

import pytest

from bqgate.bigquery.places import Places
from bqgate.ports.turns import let_others_run


async def test_who_waits_longest_is_next() -> None:
    """A place that is given back goes down the line; when nobody waits it is free again."""
    places = Places(1)
    assert places.take()
    assert not places.take()
    order: list[str] = []

    async def wait(name: str) -> None:
        await places.wait()
        order.append(name)
        places.release()

    waiting = [asyncio.create_task(wait(name)) for name in ("first", "second")]
    await let_others_run()
    places.release()
    assert not places.take()  # it is the first one's already
    await asyncio.gather(*waiting)
    assert order == ["first", "second"]
    assert places.take()


@pytest.mark.parametrize("has_turn", [False, True])
async def test_who_leaves_the_line_takes_no_place_along(has_turn: bool) -> None:
    """Not while it waits, and not when its turn has just come."""
    places = Places(1)
    assert places.take()
    leaving = asyncio.create_task(places.wait())
    await let_others_run()
    if has_turn:
        places.release()
    leaving.cancel()
    await asyncio.wait([leaving])
    assert leaving.cancelled()
    if not has_turn:
        places.release()
    assert places.take()
    assert not places.take()
