"""Bound the callers' bodies that are in memory at once, and the time in which one must be there.

Opened by the HTTP server for each call, asked by body.py and multipart.py while they read, given back when the call is
answered. What streams through the gate is none of it. Bytes count when they have arrived, unpacked: what is declared
takes no room before a body has proven to be large. So many of each call are always granted, and with them nearly every
query. The rest is in two tiers, for what a body has up to a MiB and beyond it, and one source has at most half of each,
so that a few half-sent batches keep nobody else out. Who finds no room waits for some seconds with its bytes still on
the wire, and is then sent away.

What leaves: BodyTooSlow, NoRoomForBody.
"""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Self

from bqgate.domain.errors import BodyTooSlow, NoRoomForBody
from bqgate.domain.units import MIB
from bqgate.ports import Clock, Telemetry
from bqgate.wire.source_address import source_of

# Queries have a few kilobytes.
GRANTED_BYTES = 64 * 1024
LARGE_BYTES = MIB
WAIT_S = 5.0
# Who keeps up this pace sends 10 MB over a poor line, and is not slow.
STEADY_BYTES_S = 32 * 1024
_OTHERS_EVERY_BYTES = MIB
_NOTHING: tuple[int, ...] = (0, 0)  # of either tier


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How many bytes there may be, how long a body may take that is kept, and how long one may stand still at all."""

    room_bytes: int = 256 * MIB
    timeout_s: float = 60
    stall_s: float = 120
    wait_s: float = WAIT_S


class _Tier:
    """One part of the room, and who has how much of it."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.per_source_max = bytes_max // 2
        self.used: Counter[str] = Counter()

    def fits(self, source: str, more: int) -> bool:
        """Whether there are so many bytes more for a source."""
        return more <= 0 or (
            self.used.total() + more <= self.bytes_max and self.used[source] + more <= self.per_source_max
        )

    def add(self, source: str, more: int) -> None:
        """Count them. Sources that have nothing are not remembered."""
        self.used[source] += more
        if not self.used[source]:
            del self.used[source]


class BodyRoom:
    """The bytes of all callers' bodies that are kept: a quarter of it for what is small, the rest for what is large."""

    def __init__(self, limits: BodyLimits, clock: Clock, telemetry: Telemetry) -> None:
        self.limits = limits
        self.clock = clock
        self._telemetry = telemetry
        self._tiers = (_Tier(limits.room_bytes // 4), _Tier(limits.room_bytes * 3 // 4))
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def used_bytes(self) -> int:
        """How much of the room is taken."""
        return sum(tier.used.total() for tier in self._tiers)

    def share(self, peer: str) -> "BodyShare":
        """What one call keeps, until its `with` block is left: when it is answered."""
        return BodyShare(self, peer)

    async def take(self, share: "BodyShare", size: int, *, most: int) -> None:
        """Count `size` bytes more of a call, when there is room for them.

        A body that needs a tier takes as much of it as it may need in the end, so that of several none stands half read
        in the way of the others; it must have sent what comes before that tier.

        Args:
            share: the call's.
            size: how many bytes have come.
            most: how many there may be in the end, with those that are kept already.

        Raises:
            NoRoomForBody: there was none for some seconds.
        """
        needed, foreseen = _tiers_of(share.size + size), _tiers_of(most)
        wanted = tuple(
            has if need <= has else max(need, min(may, tier.per_source_max))
            for tier, has, need, may in zip(self._tiers, share.kept, needed, foreseen, strict=True)
        )
        if not self._fits(share, wanted):
            try:
                async with asyncio.timeout(self.limits.wait_s):
                    while not self._fits(share, wanted):
                        await self._wait()
            except TimeoutError:
                self._telemetry.count("shed_total", where="bodies")
                raise NoRoomForBody(retry_after_s=math.ceil(self.limits.wait_s)) from None
        self._set(share, wanted)
        share.size += size

    def settle(self, share: "BodyShare") -> None:
        """A body is whole: what it did not need is for others."""
        self._set(share, _tiers_of(share.size))

    def give_back(self, share: "BodyShare") -> None:
        """A call is answered."""
        self._set(share, _NOTHING)

    def _fits(self, share: "BodyShare", wanted: tuple[int, ...]) -> bool:
        each = zip(self._tiers, share.kept, wanted, strict=True)
        return all(tier.fits(share.source, want - has) for tier, has, want in each)

    def _set(self, share: "BodyShare", wanted: tuple[int, ...]) -> None:
        if wanted == share.kept:
            return
        has_freed = sum(wanted) < sum(share.kept)
        for tier, has, want in zip(self._tiers, share.kept, wanted, strict=True):
            tier.add(share.source, want - has)
        share.kept = wanted
        if has_freed:
            waiting, self._waiting = self._waiting, []
            for woken in waiting:
                if not woken.done():
                    woken.set_result(None)

    async def _wait(self) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._waiting.append(woken)
        try:
            await woken
        finally:
            if woken in self._waiting:
                self._waiting.remove(woken)


class BodyShare:
    """What one call keeps: so many bytes, and what it takes of each tier for them."""

    def __init__(self, room: BodyRoom, peer: str) -> None:
        self._room = room
        self._peer = peer
        self.size = 0
        self.kept = _NOTHING
        self._most = 0
        self._since_others = 0
        self._deadline: asyncio.Timeout | None = None
        self._outer: Token[BodyShare | None] | None = None

    @property
    def source(self) -> str:
        """From where the call came."""
        return source_of(self._peer)

    def __enter__(self) -> Self:
        self._outer = _SHARE.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._outer is not None, "it was entered"
        _SHARE.reset(self._outer)
        self._room.give_back(self)

    def part(self) -> "BodyShare":
        """What one call of a batch keeps besides, until it is answered."""
        return self._room.share(self._peer)

    @asynccontextmanager
    async def reading(self, bytes_max: int) -> AsyncIterator[None]:
        """Within this a body of at most `bytes_max` is read that is kept.

        Raises:
            BodyTooSlow: it took too long.
        """
        self._most = self.size + bytes_max
        try:
            async with asyncio.timeout(self._room.limits.timeout_s) as self._deadline:
                yield
        except TimeoutError:
            raise BodyTooSlow(math.ceil(self._room.limits.timeout_s)) from None
        finally:
            self._room.settle(self)

    def note_arrival(self, size: int) -> None:
        """So many bytes came over the wire. They bring time for more, but no hoard of it: who stops is cut off."""
        assert self._deadline is not None, "a body is being read"
        ends_s = self._deadline.when()
        if ends_s is not None and not self._deadline.expired():
            most_s = asyncio.get_running_loop().time() + self._room.limits.timeout_s
            self._deadline.reschedule(min(ends_s + size / STEADY_BYTES_S, most_s))

    async def take(self, size: int) -> None:
        """Keep `size` bytes more. Lets others run now and then: a packed body is unpacked without a pause.

        Raises:
            NoRoomForBody: as BodyRoom.take.
        """
        await self._room.take(self, size, most=self._most)
        self._since_others += size
        if self._since_others >= _OTHERS_EVERY_BYTES:
            self._since_others = 0
            await self._room.clock.sleep(0)


def share_of_call() -> BodyShare | None:
    """The share of the call that is being answered; None outside of one."""
    return _SHARE.get()


def _tiers_of(size: int) -> tuple[int, ...]:
    """What so many bytes take of each tier, beyond what is always granted."""
    counted = max(0, size - GRANTED_BYTES)
    return min(counted, LARGE_BYTES), max(0, counted - LARGE_BYTES)


_SHARE: ContextVar[BodyShare | None] = ContextVar("bqgate_body_share", default=None)
