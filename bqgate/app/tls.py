"""Serve TLS with a certificate that may be replaced while the gate runs.

Made by root where the settings name a certificate; its `context` goes to the listening sockets, `watch` to Background.
A pair of files is looked at every few seconds, through symbolic links, because an orchestrator replaces a mounted
secret by moving a link (https://kubernetes.io/docs/concepts/configuration/secret/). A new pair is read into a context
of its own first and taken only when it is whole: from then on handshakes are answered with it, while connections that
stand live on with the old one. What leaves: CertificateUnusable at the start; later a bad pair changes nothing, is
noted, and counted in tls_reloads_total.
"""

import asyncio
import ssl
from pathlib import Path
from typing import NoReturn

from bqgate.app.file_versions import FileVersion, file_version
from bqgate.ports import Clock, Telemetry

# How long a new pair may lie there unnoticed. Certificates are renewed days before they end.
WATCH_S = 5


class CertificateUnusable(OSError):
    """The two files cannot be served with; the message names them and says why, and holds nothing of the key."""

    remedy = "Write server.tls_cert_file and server.tls_key_file as one pair of PEM files that this user can read."


class TlsContext:
    """The server's side of TLS, from a certificate file (with its chain) and a key file, both PEM.

    Raises:
        CertificateUnusable: as load_certificate.
    """

    def __init__(self, cert_file: Path, key_file: Path, *, clock: Clock, telemetry: Telemetry) -> None:
        self._cert_file = cert_file
        self._key_file = key_file
        self._clock = clock
        self._telemetry = telemetry
        self._file_versions = self._look()
        self._is_current = True
        self._current = self._load()
        self._context = self._load()
        # Asked at every handshake, also of clients that name no server.
        self._context.sni_callback = self._answer_with_current

    @property
    def context(self) -> ssl.SSLContext:
        """What the listening socket takes; the same object before and after every change of the files."""
        return self._context

    async def watch(self) -> None:
        """Look at the files for ever."""
        while True:
            await self._clock.sleep(WATCH_S)
            await self._renew()

    async def _renew(self) -> None:
        """Take the pair that lies there now where it is another one, and whole."""
        # Looked at before it is read: what changes in between is seen at the next look.
        file_versions = await asyncio.to_thread(self._look)
        if file_versions == self._file_versions and self._is_current:
            return
        is_news = file_versions != self._file_versions
        self._file_versions = file_versions
        try:
            self._current = await asyncio.to_thread(self._load)
        except CertificateUnusable as unusable:
            self._is_current = False  # and is tried again at every look, but told of once
            if is_news:
                self._telemetry.count("tls_reloads_total", result="failed")
                self._telemetry.log("certificate_not_reloaded", error=str(unusable))
            return
        self._is_current = True
        self._telemetry.count("tls_reloads_total", result="loaded")
        self._telemetry.log("certificate_reloaded", file=str(self._cert_file))

    def _answer_with_current(self, connection: ssl.SSLObject, _server: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current

    def _look(self) -> tuple[FileVersion, FileVersion]:
        return file_version(self._cert_file), file_version(self._key_file)

    def _load(self) -> ssl.SSLContext:
        return load_certificate(self._cert_file, self._key_file)


def load_certificate(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """A server's context for TLS 1.2 and later with this certificate.

    Raises:
        CertificateUnusable: a file is not there, not PEM, encrypted, or the key is not the certificate's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert_file, key_file, password=_refuse_encrypted)
    except OSError as error:  # an ssl.SSLError is one
        raise CertificateUnusable(
            f"the certificate {cert_file} cannot be served with the key {key_file}: {_reason(error)}"
        ) from None
    return context


def _refuse_encrypted() -> NoReturn:
    """Called where a key is encrypted; without this OpenSSL would ask for the password on the terminal."""
    raise OSError("the key is encrypted; write it without a password, readable for the gate alone")


def _reason(error: OSError) -> str:
    if not isinstance(error, ssl.SSLError):
        return error.strerror or str(error)
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key is not this certificate's"
    return f"one of them is not whole, or not PEM ({error.reason or 'unreadable'})"
