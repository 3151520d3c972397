"""Send one call over and over, in a process of its own, until it is killed: python -m tests.support.evil_caller.

Arguments: the gate's host and port, the path, the headers as JSON; the body comes by standard input.
"""

import http.client
import json
import sys


def _send(netloc: str, path: str, headers: dict[str, str], body: bytes) -> None:
    connection = http.client.HTTPConnection(netloc, timeout=60)
    try:
        connection.request("POST", path, body, headers)
        connection.getresponse().read()
    except OSError:  # refused before all of it was sent
        pass
    finally:
        connection.close()


if __name__ == "__main__":
    _netloc, _path, _headers = sys.argv[1:]
    _body = sys.stdin.buffer.read()
    sys.stdout.write("calling\n")
    sys.stdout.flush()
    while True:
        _send(_netloc, _path, json.loads(_headers), _body)
