import pytest

from bqgate.domain.errors import UpstreamTimeout
from bqgate.domain.principal import Credential
from bqgate.observe.upstream import CountedUpstream
from bqgate.wire.exchange import Answer, Call


class Scripted:
    """An upstream that answers or fails as told, and a journal of what is counted."""

    def __init__(self) -> None:
        self.answer: Answer | UpstreamTimeout = Answer(200)
        self.read_timeout_s: float | None = None
        self.is_closed = False
        self.counted: list[str] = []

    async def exchange(self, call: Call, *, credential: Credential, read_timeout_s: float | None = None) -> Answer:
        self.read_timeout_s = read_timeout_s
        if isinstance(self.answer, UpstreamTimeout):
            raise self.answer
        return self.answer

    async def close(self) -> None:
        self.is_closed = True

    def count(self, name: str, /, amount: int = 1, **labels: str) -> None:
        assert name == "upstream_answers_total"
        self.counted.append(labels["status"])

    def observe(self, name: str, value_s: float, /, **labels: str) -> None:
        raise AssertionError(name)

    def note(self, event: str, /, **fields: object) -> None:
        raise AssertionError(event)


async def test_answers_are_counted_by_class_and_passed_on() -> None:
    """Each status is in its class; answer and time limit pass as they are."""
    scripted = Scripted()
    counted = CountedUpstream(scripted, scripted)
    for status in (200, 308, 404, 503):
        scripted.answer = Answer(status)
        assert await counted.exchange(Call("GET", "/"), credential=Credential(), read_timeout_s=7) is scripted.answer
    assert scripted.counted == ["2xx", "3xx", "4xx", "5xx"]
    assert scripted.read_timeout_s == 7


async def test_no_answer_is_counted_and_stays_an_error() -> None:
    """A timeout is counted as none and raised on."""
    scripted = Scripted()
    scripted.answer = UpstreamTimeout("late")
    with pytest.raises(UpstreamTimeout):
        await CountedUpstream(scripted, scripted).exchange(Call("GET", "/"), credential=Credential())
    assert scripted.counted == ["none"]


async def test_closing_closes_the_client() -> None:
    """Connections are given back."""
    scripted = Scripted()
    await CountedUpstream(scripted, scripted).close()
    assert scripted.is_closed
