"""Long texts are read in a thread, in turns by customer."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from bqgate.gate.long_texts import SHORT_CHARS_MAX, LongTexts
from bqgate.ports.turns import let_others_run

LONG = "x" * (SHORT_CHARS_MAX + 1)


class Text:
    """What a reading keeps alive."""


@asynccontextmanager
async def occupied(long_texts: LongTexts) -> AsyncIterator[threading.Event]:
    """The thread reads until the event is set."""
    begun, may_end = threading.Event(), threading.Event()

    def read() -> None:
        begun.set()
        may_end.wait()

    reading = asyncio.create_task(long_texts.read("first", LONG, read))
    await asyncio.to_thread(begun.wait)
    try:
        yield may_end
    finally:
        may_end.set()
        await reading


async def turns() -> None:
    """Let every task come as far as it can."""
    for _ in range(10):
        await let_others_run()


async def test_a_short_text_waits_for_nobody() -> None:
    """It is read where it is asked for."""
    long_texts = LongTexts()
    async with occupied(long_texts):
        assert await long_texts.read("acme", "x", threading.get_ident) == threading.get_ident()
    long_texts.close()


async def test_many_texts_of_one_customer_delay_anothers_by_one() -> None:
    """Customers take turns, however many texts one of them has sent."""
    long_texts = LongTexts()
    order: list[str] = []
    async with occupied(long_texts):
        many = [
            asyncio.create_task(long_texts.read("many", LONG, partial(order.append, f"many {number}")))
            for number in range(50)
        ]
        await turns()
        other = asyncio.create_task(long_texts.read("other", LONG, partial(order.append, "other")))
        await turns()
    await asyncio.gather(*many, other)
    assert order[:3] == ["many 0", "other", "many 1"]
    long_texts.close()


async def test_nothing_is_kept_of_texts_whose_callers_have_left() -> None:
    """Whoever sends a megabyte and hangs up, over and over, fills no memory while the thread reads another's text."""
    long_texts = LongTexts()
    async with occupied(long_texts):
        for _ in range(3):
            text = Text()
            kept = weakref.ref(text)
            left = asyncio.create_task(long_texts.read("acme", LONG, partial(id, text)))
            await turns()
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)
            del text, left
            await turns()  # what woke this task up knows the other
            gc.collect()
            assert kept() is None
    assert await long_texts.read("acme", LONG, lambda: 1) == 1
    long_texts.close()


async def test_a_text_that_is_being_read_is_the_only_one_also_when_its_caller_has_left() -> None:
    """Its customer's next text waits in line as any other's."""
    long_texts = LongTexts()
    begun, may_end = threading.Event(), threading.Event()
    order: list[str] = []

    def read() -> None:
        begun.set()
        may_end.wait()
        order.append("left")

    left = asyncio.create_task(long_texts.read("acme", LONG, read))
    await asyncio.to_thread(begun.wait)
    other = asyncio.create_task(long_texts.read("other", LONG, partial(order.append, "other")))
    await turns()
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    following = asyncio.create_task(long_texts.read("acme", LONG, partial(order.append, "following")))
    await turns()
    may_end.set()
    await asyncio.gather(other, following)
    assert order == ["left", "other", "following"]
    long_texts.close()


async def test_what_a_reading_raises_reaches_its_caller() -> None:
    """And the next text is read."""
    long_texts = LongTexts()
    result = await asyncio.gather(long_texts.read("acme", LONG, lambda: int("x")), return_exceptions=True)
    assert isinstance(result[0], ValueError)
    assert await long_texts.read("acme", LONG, lambda: 1) == 1
    long_texts.close()
