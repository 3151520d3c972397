"""Read the beginning of an answer before it goes to the caller, and lose nothing of it.

Used where the gate must see a small answer whole: to apply a field mask, to recognise a refusal by the gate's cap.
"""

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace

from bqgate.domain.errors import BqgateError
from bqgate.gate.body import chunks_of, close_body
from bqgate.wire.http_message import Body, HttpResponse


async def read_ahead(answer: HttpResponse, *, bytes_max: int) -> tuple[HttpResponse, bytes | None]:
    """The answer with a body that can still be read, and all of it; None where it is longer, or broke off."""
    if isinstance(answer.body, bytes):
        return answer, answer.body if len(answer.body) <= bytes_max else None
    body = ReadAhead(answer.body)
    data = await body.read(bytes_max)
    return replace(answer, body=body), data


class ReadAhead:
    """A body whose beginning was read ahead; reading it starts with that."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._rest = chunks_of(body)
        self._seen: deque[bytes] = deque()
        self._failure: BqgateError | None = None

    async def read(self, bytes_max: int) -> bytes | None:
        """All of the body; None where it is longer than `bytes_max`, or broke off."""
        size = 0
        try:
            async for chunk in self._rest:
                self._seen.append(chunk)
                size += len(chunk)
                if size > bytes_max:
                    return None
        except BqgateError as failure:
            self._failure = failure  # raised for whoever reads on
            return None
        except BaseException:
            await self.aclose()
            raise
        return b"".join(self._seen)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._seen:
            return self._seen.popleft()
        if self._failure is not None:
            raise self._failure
        return await anext(self._rest)

    async def aclose(self) -> None:
        """Stop reading."""
        await close_body(self._body)
