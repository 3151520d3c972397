import errno
import io
import json
import logging
from collections.abc import Iterator

import pytest

from bqgate.observe.logs import LogFormat, make_logger, route_stdlib
from tests.support.manual_clock import ManualClock


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def _root_logger_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)


class Full(io.StringIO):
    """A stream with no room."""

    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_line_that_cannot_be_written_is_lost() -> None:
    """Whoever logs goes on: a full disk stops no query."""
    make_logger(Full(), ManualClock()).log(logging.INFO, "request")


def test_a_line_is_one_json_object_with_the_clocks_moment() -> None:
    """Off a terminal a line is JSON: moment, level, event, then the fields."""
    out = io.StringIO()
    make_logger(out, ManualClock()).log(logging.INFO, "request", customer="acme", cost_nanos=5)
    [line] = out.getvalue().splitlines()
    assert json.loads(line) == {
        "at": "2026-11-24T12:00:00.000+00:00",
        "level": "info",
        "event": "request",
        "customer": "acme",
        "cost_nanos": 5,
    }
    assert line.startswith('{"at"')


def test_a_line_break_in_a_field_does_not_make_a_second_line() -> None:
    """What a caller sends cannot forge a line."""
    out = io.StringIO()
    make_logger(out, ManualClock()).log(logging.INFO, "request", path='/x\n{"event":"forged"}')
    assert len(out.getvalue().splitlines()) == 1


def test_a_terminal_gets_columns_unless_told_otherwise() -> None:
    """`auto` looks at the stream; `json` does not."""
    terminal, forced = Terminal(), Terminal()
    make_logger(terminal, ManualClock()).log(logging.INFO, "request")
    make_logger(forced, ManualClock(), log_format=LogFormat.JSON).log(logging.INFO, "request")
    assert not terminal.getvalue().startswith("{")
    assert forced.getvalue().startswith("{")


def test_lines_below_the_level_are_dropped() -> None:
    """At level warning an info line is not written."""
    out = io.StringIO()
    logger = make_logger(out, ManualClock(), level=logging.WARNING)
    logger.log(logging.INFO, "quiet")
    logger.log(logging.WARNING, "loud")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["loud"]


@pytest.mark.usefixtures("_root_logger_as_it_was")
def test_other_libraries_lines_are_redacted_too() -> None:
    """A library's record comes out as JSON, without the token that it quotes, in text and in traceback."""
    out = io.StringIO()
    route_stdlib(make_logger(out, ManualClock()))
    failure = RuntimeError("refused Bearer abc.def-ghi")
    logging.getLogger("aiohttp.server").error("failed with %s", "ya29.secret-token", exc_info=failure)
    logging.getLogger("aiohttp.access").info("below the level")
    [line] = out.getvalue().splitlines()
    written = json.loads(line)
    assert (written["logger"], written["level"]) == ("aiohttp.server", "error")
    assert "RuntimeError" in written["exception"]
    assert "abc.def-ghi" not in line
    assert "secret-token" not in line


def test_the_level_may_change_while_it_writes() -> None:
    """A logger that is told another level drops, or writes, from the next line on."""
    out = io.StringIO()
    logger = make_logger(out, ManualClock(), level=logging.WARNING)
    logger.log(logging.INFO, "unimportant")
    logger.level = logging.INFO
    logger.log(logging.INFO, "important")
    logger.level = logging.ERROR
    logger.log(logging.WARNING, "unimportant")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["important"]


@pytest.mark.parametrize("value", [2**70, "caf\u00e9", "\udc80", 0.5, None, ["a", {"b": True}]])
def test_every_value_is_told_in_plain_characters(value: object) -> None:
    """Large numbers, letters beyond ASCII and halves of characters come out as JSON that any stream takes."""
    out = io.StringIO()
    make_logger(out, ManualClock()).log(logging.INFO, "request", value=value)
    assert out.getvalue().isascii()
    assert json.loads(out.getvalue())["value"] == value
