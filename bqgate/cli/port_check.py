"""Check that a gate could listen at its ports: opens each and closes it again, or finds this gate there already.

Called by doctor_checks. A port that is taken is a cross, unless a bqgate answers there: doctor is run beside gates that
run.
"""

import errno
from collections.abc import AsyncIterator

import aiohttp

from bqgate.app.listening import CannotListen, try_port
from bqgate.cli.finding import Finding
from bqgate.settings.server_section import ServerSection

_PATIENCE_S = 3


async def check_ports(server: ServerSection) -> AsyncIterator[Finding]:
    """Could a gate listen at each of its ports?"""
    control_port = server.port if server.control_port is None else server.control_port
    for subject, port in (("port", server.port), ("control port", server.control_port)):
        if port is None:
            continue
        try:
            await try_port(server.host, port)
        except CannotListen as error:
            if error.errno == errno.EADDRINUSE and await _is_gate(server, control_port):
                yield Finding(subject, None, f"{server.host}:{port} is in use by a bqgate that answers")
            else:
                yield Finding(subject, False, str(error), error.remedy)
        else:
            yield Finding(subject, True, f"{server.host}:{port} can be listened at")


async def _is_gate(server: ServerSection, port: int) -> bool:
    """Whether a gate's control plane answers at a port of this machine."""
    scheme = "http" if server.tls_cert_file is None else "https"
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)  # noqa: S104 - looked up, not listened at
    address = f"[{host}]" if ":" in host else host
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PATIENCE_S)) as session,
            # The certificate is for the gate's public name; who answers is all that is asked here.
            session.get(f"{scheme}://{address}:{port}/healthz", ssl=False, allow_redirects=False) as answer,
        ):
            content = await answer.json(content_type=None)
    except (aiohttp.ClientError, OSError, ValueError):
        return False
    return bool(content == {"status": "alive"})
