"""Tell where a gate with these settings listens, whatever else is wrong with them.

Called by `bqgate healthcheck`, which looks at a gate that runs already. A settings file that got a fault meanwhile
changes nothing for that gate (app.reload), so it must not make the gate look dead either: where the file cannot be
used, the environment and the built-in settings are what is left to go by.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from bqgate.settings.document import Document, read_document
from bqgate.settings.faults import Fault, SettingsInvalid
from bqgate.settings.server_section import ServerSection

_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - to be replaced, not listened at


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the control plane of a gate is reached from its own machine. `is_sure` False: the file cannot be used."""

    host: str
    port: int
    has_tls: bool
    is_sure: bool


def read_listening(path: Path | None, environ: Mapping[str, str]) -> Listening:
    """Read the section `server`, and nothing else.

    Raises:
        SettingsInvalid: not even the environment says where the gate listens.
    """
    document = read_document(path, environ)
    server = None if document.lacks_file else _server(document)
    is_sure = server is not None
    if server is None:
        server = _server(read_document(None, environ))
    if server is None:
        raise SettingsInvalid([Fault("server", "has a fault in the environment; `bqgate check-config` names it")])
    port = server.port if server.control_port is None else server.control_port
    if port == 0:
        raise SettingsInvalid([Fault("server.port", "0 takes a free one, which nobody else can know; write a port")])
    host = _EVERY_ADDRESS.get(server.host, server.host)
    return Listening(host, port, has_tls=server.tls_cert_file is not None, is_sure=is_sure)


def _server(document: Document) -> ServerSection | None:
    """The section; None where it has a fault."""
    try:
        return ServerSection.model_validate(document.tree.get("server", {}))
    except ValidationError:
        return None
