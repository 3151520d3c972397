"""Log in one line what aiohttp's server would log as a traceback: a request that is not HTTP, or a malformed body.

Given to the server by app in place of a logger. Such requests reach no handler: aiohttp answers 400 and closes the
connection. Nobody should fill the log by sending garbage, so a line has only the error's name and the caller's address.
Anything else that aiohttp catches is a bug, logged with where it happened and without what was in it.
"""

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from bqgate.observe.bugs import frames_of
from bqgate.ports import Telemetry


class ServerLog:
    """What aiohttp's server uses of a logger."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def exception(self, message: str, *args: object, exc_info: BaseException | None = None) -> None:
        """An error that no handler caught; `args` are those of the message: the caller's address, if any."""
        source = str(args[0]) if args else ""
        if isinstance(exc_info, HttpProcessingError | web.RequestPayloadError | ConnectionError):
            self._telemetry.count("refused_calls_total", reason="MalformedRequest")
            self._telemetry.log("malformed_request", source=source, cause=type(exc_info).__name__)
            return
        error = type(exc_info).__name__ if exc_info is not None else message
        where = [] if exc_info is None else frames_of(exc_info)
        self._telemetry.count("refused_calls_total", reason=error)
        self._telemetry.log("bug", error=error, where=where)

    def debug(self, message: str, *args: object, exc_info: BaseException | None = None) -> None:
        """Details, and requests that are no HTTP at all, which any open port hears: not worth a line."""

    def warning(self, message: str, *args: object) -> None:
        """Something that aiohttp can live with."""
        self._telemetry.log("server_warning", error=message % args)
