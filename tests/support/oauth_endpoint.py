"""Stand in for Google's token endpoint and for IAM's generateAccessToken, in a thread.

The gate's own token is "gates-token". An account's is that of `tokens`, else "acmes-token"; IAM gives one only to who
bears the gate's. Answers /healthz as a gate does, too.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class OauthEndpoint(ThreadingHTTPServer):
    """The server. `iam_status` is what IAM answers with, `iam_body` what it says instead of a token.

    `refused` are accounts that IAM does not lend, `asked` those that it was asked for. It answers when `may_answer`.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.iam_status = 200
        self.iam_body: bytes | None = None
        self.tokens: dict[str, str] = {}
        self.refused: set[str] = set()
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

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
            return
        server, account = self.server, self.path.removeprefix("/iam/").partition(":")[0]
        server.asked.append(account)
        server.may_answer.wait(30)
        is_lent = account not in server.refused and self.headers.get("Authorization") == "Bearer gates-token"
        status = server.iam_status if is_lent else 403
        if status != 200:
            message = "Permission 'iam.serviceAccounts.getAccessToken' denied"
            self._answer(status, {"error": {"code": status, "message": message, "status": "PERMISSION_DENIED"}})
        elif server.iam_body is not None:
            self._send(200, server.iam_body)
        else:
            token = server.tokens.get(account, "acmes-token")
            self._answer(200, {"accessToken": token, "expireTime": "2120-01-01T00:00:00Z"})

    def _answer(self, status: int, document: object) -> None:
        self._send(status, json.dumps(document).encode())

    def _send(self, status: int, body: bytes) -> None:
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
