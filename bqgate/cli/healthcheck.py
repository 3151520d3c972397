"""Ask the gate of this machine whether it lives: ``bqgate healthcheck``, for a container's HEALTHCHECK.

Reads where the gate listens as serve does (file, environment), so that it follows control_port and TLS, and asks
/healthz there. Exit status 0: it answers; 1: it does not; 2: the settings do not say where. The certificate is not
verified: it bears the name by which callers know the gate, which is never 127.0.0.1's, and the question goes over
loopback, bears no secret, and its answer tells none.
"""

import http.client
import os
import ssl
from threading import Thread
from typing import Annotated

import typer

from bqgate.cli.config_file import ConfigFile
from bqgate.cli.loading import fail, refuse
from bqgate.settings import Listening, SettingsInvalid, read_listening

PATH = "/healthz"


def healthcheck(
    config: ConfigFile = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout-s", help="Seconds that all of it may take.", min=0.1, max=600)
    ] = 3.0,
) -> None:
    """Say whether the gate on this machine answers; for HEALTHCHECK."""
    try:
        listening = read_listening(config, os.environ)
    except SettingsInvalid as invalid:
        refuse(str(config or "environment"), [str(fault) for fault in invalid.faults])
    # A certificate that was added or taken away waits for the gate's restart; until then the other scheme is spoken.
    schemes = ("https", "http") if listening.has_tls else ("http", "https")
    complaints: list[str | None] = []
    # A socket's timeout is for each piece, and who sends a byte now and then would keep the check for ever.
    asking = Thread(target=_ask, args=(schemes, listening, timeout_s, complaints), daemon=True)
    asking.start()
    asking.join(timeout_s)
    said = tuple(complaints)
    if None in said:
        typer.echo("alive")
        return
    fail(said[0] if said and said[0] is not None else f"no answer at {_url(schemes[0], listening)}: timed out")


def _ask(schemes: tuple[str, ...], listening: Listening, timeout_s: float, complaints: list[str | None]) -> None:
    """Collect what is wrong with the answer over each scheme, until it answers over one."""
    for scheme in schemes:
        complaints.append(_complaint_of(scheme, listening, timeout_s))
        if complaints[-1] is None:
            return


def _complaint_of(scheme: str, listening: Listening, timeout_s: float) -> str | None:
    """What is wrong with the answer over a scheme; None: nothing."""
    where = _url(scheme, listening)
    connection = _connect(scheme, listening, timeout_s)
    try:
        connection.request("GET", PATH)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"no answer at {where}: {error or type(error).__name__}"
    finally:
        connection.close()
    # Without its file nobody knows whether the control plane has a port of its own: then any answer is a sign of life.
    if status == http.client.OK or not listening.is_sure:
        return None
    return f"{where} answered {status}; is this the gate's port?"


def _url(scheme: str, listening: Listening) -> str:
    host = f"[{listening.host}]" if ":" in listening.host else listening.host
    return f"{scheme}://{host}:{listening.port}{PATH}"


def _connect(scheme: str, listening: Listening, timeout_s: float) -> http.client.HTTPConnection:
    """A connection that goes straight there, whatever proxy the environment names."""
    if scheme == "http":
        return http.client.HTTPConnection(listening.host, listening.port, timeout=timeout_s)
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(listening.host, listening.port, timeout=timeout_s, context=trusting)
