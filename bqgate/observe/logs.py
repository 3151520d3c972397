"""Write the gate's log: one JSON object a line in production, colours and columns on a terminal.

Made by app (make_logger) before anything else; used through telemetry.PrometheusTelemetry. The moment in a line is the
Clock's, in RFC 3339. Every field passes redact.py. Lines of other libraries (logging.getLogger) take the same road once
route_stdlib was called. No global structlog configuration: two loggers in one process do not meet.
"""

import logging
from collections.abc import MutableMapping
from contextlib import suppress
from enum import StrEnum
from typing import Any, Protocol, TextIO, cast

import structlog

from bqgate.observe.redact import redact_field
from bqgate.ports import Clock

# Fields that structlog renders itself and that are never secret.
_OWN_FIELDS = frozenset({"event", "level", "at"})


class LogFormat(StrEnum):
    """How a line looks. `auto`: console on a terminal, JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class Logger(Protocol):
    """What the gate uses of structlog's logger."""

    def log(self, level: int, event: str, **fields: object) -> object:
        """Write one line."""


class LeveledLogger:
    """A Logger that drops lines below its `level`, as the logging module numbers them; it may be set at any time."""

    def __init__(self, logger: Logger, level: int) -> None:
        self.level = level
        self._logger = logger

    def log(self, level: int, event: str, **fields: object) -> object:
        """Write one line, if it is important enough."""
        return self._logger.log(level, event, **fields) if level >= self.level else None


class _Lossy:
    """A stream that loses what cannot be written: a full disk or a closed pipe must stop no query."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
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
    renderer = structlog.dev.ConsoleRenderer() if is_console else structlog.processors.JSONRenderer(sort_keys=False)

    def stamp(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        first = {"at": clock.now().isoformat(timespec="milliseconds"), "level": line["level"], "event": line["event"]}
        return {**first, **line}

    logger: Logger = structlog.wrap_logger(
        structlog.PrintLogger(cast("TextIO", _Lossy(stream))),
        processors=[structlog.processors.add_log_level, stamp, structlog.processors.format_exc_info, _redact, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
    ).bind(**({} if worker is None else {"worker": worker}))
    return LeveledLogger(logger, level)


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


def _redact(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Structlog's last step before rendering. The event's text may quote a credential too."""
    return {name: redact_field("" if name in _OWN_FIELDS else name, value) for name, value in line.items()}
