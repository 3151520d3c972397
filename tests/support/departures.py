"""Notice every connection that a client opens past the gate, and let none of them out.

The environment that a Departures gives names it as the proxy of all but loopback. Google's clients ask such a proxy to
CONNECT them, over plain HTTP as over gRPC; it writes down whereto and refuses. So a test sees on any machine what would
have gone to Google, and nothing goes.
"""

import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

_LOOPBACK = "127.0.0.1,localhost"
_REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass
class Departures:
    """Hosts with ports that somebody wanted to be connected to, in order."""

    port: int
    hosts: list[str] = field(default_factory=list)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a client's environment must have beside its own."""
        proxy = f"http://127.0.0.1:{self.port}"
        names = ("https_proxy", "http_proxy", "grpc_proxy", "all_proxy")
        return {
            **dict.fromkeys((*names, *(name.upper() for name in names)), proxy),
            "no_proxy": _LOOPBACK,
            "NO_PROXY": _LOOPBACK,
        }


@contextmanager
def watched_departures() -> Iterator[Departures]:
    """A proxy on loopback that refuses everybody."""

    class Handler(socketserver.StreamRequestHandler):
        timeout = 10

        def handle(self) -> None:
            words = self.rfile.readline(65_536).decode("latin-1").split()
            if len(words) >= 2:
                seen.hosts.append(words[1])
                self.wfile.write(_REFUSAL)

    class Proxy(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Proxy(("127.0.0.1", 0), Handler) as server:
        seen = Departures(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield seen
        finally:
            server.shutdown()
            thread.join(10)
