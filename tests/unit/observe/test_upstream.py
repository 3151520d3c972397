import pytest

from bqgate.domain.errors import UpstreamNotTried, UpstreamTimeout, UpstreamUnavailable
from bqgate.domain.principal import Credential
from bqgate.observe.upstream import CountedUpstream
from bqgate.wire.exchange import Answer, Call


class Scripted:
    """An upstream that answers or fails as told, and a journal of what is counted."""

    def __init__(self) -> None:
        self.answer: Answer | UpstreamUnavailable = Answer(200)
        self.read_timeout_s: float | None = None
        self.is_closed = False
        self.counted: list[str] = []
        self.noted: list[tuple[str, dict[str, object]]] = []

    async def exchange(self, call: Call, *, credential: Credential, read_timeout_s: float | None = None) -> Answer:
        self.read_timeout_s = read_timeout_s
        if isinstance(self.answer, UpstreamUnavailable):
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
        self.noted.append((event, fields))


async def test_answers_are_counted_by_class_and_passed_on() -> None:
    """Each status is in its class; answer and time limit pass as they are."""
    scripted = Scripted()
    counted = CountedUpstream(scripted, scripted)
    for status in (200, 308, 404, 501, 503):
        scripted.answer = Answer(status)
        assert await counted.exchange(Call("GET", "/"), credential=Credential(), read_timeout_s=7) is scripted.answer
    assert scripted.counted == ["2xx", "3xx", "4xx", "5xx", "5xx"]
    assert scripted.read_timeout_s == 7
    told = {"method": "GET", "path": "/", "error": "BigQuery is not answering (status 503)."}
    assert scripted.noted == [("upstream_failed", told)]


async def test_no_answer_is_counted_and_stays_an_error() -> None:
    """A timeout is counted as none and raised on."""
    scripted = Scripted()
    scripted.answer = UpstreamTimeout("late")
    call = Call("GET", "/jobs", "key=secret", request_id="r1")
    with pytest.raises(UpstreamTimeout):
        await CountedUpstream(scripted, scripted).exchange(call, credential=Credential())
    assert scripted.counted == ["none"]
    told = {"method": "GET", "path": "/jobs", "error": "late", "request_id": "r1"}
    assert scripted.noted == [("upstream_failed", told)]


async def test_a_call_that_was_not_sent_has_no_line() -> None:
    """While BigQuery is left alone, the breaker has told so once, and thousands of calls are not told again."""
    scripted = Scripted()
    scripted.answer = UpstreamNotTried("left alone")
    with pytest.raises(UpstreamNotTried):
        await CountedUpstream(scripted, scripted).exchange(Call("GET", "/"), credential=Credential())
    assert (scripted.counted, scripted.noted) == (["none"], [])


async def test_closing_closes_the_client() -> None:
    """Connections are given back."""
    scripted = Scripted()
    await CountedUpstream(scripted, scripted).close()
    assert scripted.is_closed
