"""Say in a few words why there is no answer over HTTP: connection refused, DNS, TLS, time, a connection that broke off.

Called by whoever asks another system over aiohttp (bigquery.upstream, identity.jwks). What leaves is for the log and
for callers: no host, no address, nothing out of a request or an answer.
"""

import os
import re
import ssl

import aiohttp

# The first that fits: some are kinds of others.
_PLAIN: dict[type[Exception], str] = {
    aiohttp.ClientConnectorDNSError: "DNS does not know its name",
    aiohttp.ConnectionTimeoutError: "no connection in time",
    TimeoutError: "no answer in time",
    aiohttp.ServerDisconnectedError: "it closed the connection without an answer",
    aiohttp.ClientPayloadError: "its answer broke off",
}
_ERRNO = re.compile(r"\[Errno (\d+)\]")


def cause_of(error: Exception) -> str:
    """The cause, as it stands in brackets behind a sentence."""
    for kind, cause in _PLAIN.items():
        if isinstance(error, kind):
            return cause
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"TLS: {_verify_message(error.certificate_error)}"
        case aiohttp.ClientSSLError():
            return f"TLS: {_reason(error.os_error)}"
        case OSError():
            return _system_error(error)
        case _:
            return type(error).__name__


def _verify_message(error: Exception) -> str:
    """What OpenSSL says of a certificate: expired, self-signed, for another name."""
    return str(getattr(error, "verify_message", "")).rstrip(".") or type(error).__name__


def _reason(error: OSError) -> str:
    """OpenSSL's reason in words: WRONG_VERSION_NUMBER where the other side speaks no TLS at all."""
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return reason.replace("_", " ").lower() if reason else type(error).__name__


def _system_error(error: OSError) -> str:
    """The system's own words. Of several addresses that were tried, what the first one said."""
    number = error.errno
    if number is None and (found := _ERRNO.search(str(error))) is not None:
        number = int(found[1])
    return type(error).__name__ if number is None else os.strerror(number).lower()
