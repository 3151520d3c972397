"""Write the gate's log: one JSON object a line in production, colours and columns on a terminal.

Made by app (make_logger) before anything else; used through telemetry.PrometheusTelemetry. The moment in a line is the
Clock's, in RFC 3339. Every field passes redact.py. Lines of other libraries (logging.getLogger) take the same road once
route_stdlib was called. No global structlog configuration: two loggers in one process do not meet.
"""

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from typing import Any, Protocol, TextIO

import structlog

from bqgate.observe.redact import redact_line
from bqgate.ports import Clock


class LogFormat(StrEnum):
    """How a line looks. `auto`: console on a terminal, JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class Logger(Protocol):
    """What the gate uses of a logger."""

    def log(self, level: int, event: str, **fields: object) -> object:
        """Write one line."""


class LeveledLogger:
    """Writes lines, but for those below its `level`, as the logging module numbers them; it may be set at any time."""

    def __init__(
        self, stream: TextIO, clock: Clock, level: int, render: Callable[[dict[str, Any]], str], *, worker: int | None
    ) -> None:
        self.level = level
        self._always: dict[str, Any] = {} if worker is None else {"worker": worker}
        self._stream = stream
        self._clock = clock
        self._render = render

    def log(self, level: int, event: str, **fields: object) -> None:
        """Write one line, if it is important enough."""
        if level < self.level:
            return
        line: dict[str, Any] = {
            "at": self._clock.now().isoformat(timespec="milliseconds"),
            "level": logging.getLevelName(level).lower(),
        }
        if "exc_info" in fields:
            fields = dict(structlog.processors.format_exc_info(None, "", fields))
        line |= redact_line({"event": event, **self._always, **fields})  # an event may quote a credential, too
        with suppress(OSError):  # a full disk or a closed pipe must stop no query
            self._stream.write(f"{self._render(line)}\n")
            self._stream.flush()


def make_logger(
    stream: TextIO,
    clock: Clock,
    *,
    level: int = logging.INFO,
    log_format: LogFormat = LogFormat.AUTO,
    worker: int | None = None,
) -> LeveledLogger:
    """A logger that writes to `stream`, from `level` up; a line that cannot be written is lost.

    `worker`: which of several processes this is; its lines say so.
    """
    is_console = log_format is LogFormat.CONSOLE or (log_format is LogFormat.AUTO and stream.isatty())
    if not is_console:
        return LeveledLogger(stream, clock, level, json.dumps, worker=worker)
    console = structlog.dev.ConsoleRenderer()
    return LeveledLogger(stream, clock, level, lambda line: str(console(None, "", line)), worker=worker)


def route_stdlib(logger: Logger, *, level: int = logging.WARNING) -> None:
    """Send what other libraries log to `logger`, from `level` up, instead of to standard error."""
    root = logging.getLogger()
    root.handlers = [_Forwarding(logger)]
    root.setLevel(level)


class _Forwarding(logging.Handler):
    """Hand each record on as a line whose event is its text."""

    def __init__(self, logger: Logger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, object] = {"logger": record.name}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        self._logger.log(record.levelno, record.getMessage(), **fields)
