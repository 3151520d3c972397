"""Stand in for Google's token endpoint and for IAM's generateAccessToken, in a thread: for tests of commands.

Answers /healthz as a gate does, too.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class OauthEndpoint(ThreadingHTTPServer):
    """The server. `iam_status` is what IAM answers with."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.iam_status = 200

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    server: OauthEndpoint

    def do_GET(self) -> None:
        self._answer(200, {"status": "alive"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.path.startswith("/iam/"):
            self._answer(200, {"access_token": "gates-token", "expires_in": 3600, "token_type": "Bearer"})
        elif self.server.iam_status == 200:
            self._answer(200, {"accessToken": "acmes-token", "expireTime": "2120-01-01T00:00:00Z"})
        else:
            message = "Permission 'iam.serviceAccounts.getAccessToken' denied"
            self._answer(self.server.iam_status, {"error": {"code": self.server.iam_status, "message": message}})

    def _answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@contextmanager
def oauth_endpoint() -> Iterator[OauthEndpoint]:
    """The endpoint as long as the context is open."""
    with OauthEndpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
