"""What web pages make a browser send: to a running gate, on every surface, on one port and on two."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.free_ports import free_port
from tests.support.gate_stack import Stack, running_stack
from tests.support.raw_http import RawAnswer, send_raw

PLENTY = dict.fromkeys(
    [f"{kind}_per_minute" for kind in ("costs", "budget_checks", "analytics", "reports", "other")], 100_000
)
SECRET = "kTq3vXw8ZbN5sLr1yHd6mJf9cPa2gUe7"
QUERY = json.dumps({"query": "SELECT carrier FROM nycflights13.airlines", "useLegacySql": False}).encode()
DATASETS = "/bigquery/v2/projects/acme/datasets"
QUERIES = "/bigquery/v2/projects/acme/queries"
BATCH = (
    f"--b\r\nContent-Type: application/http\r\n\r\nPOST {QUERIES} HTTP/1.1\r\nHost: localhost\r\n"
    "Content-Type: application/json\r\n\r\n"
).encode() + QUERY
DATA_PLANE: dict[str, tuple[str, bytes, str]] = {
    "datasets": (f"GET {DATASETS}", b"", ""),
    "short path": ("GET /projects/acme/datasets", b"", ""),
    "workload": (f"GET /w/nightly{DATASETS}", b"", ""),
    "query": (f"POST {QUERIES}", QUERY, "application/json"),
    "query as text": (f"POST {QUERIES}", QUERY, "text/plain"),
    "job": ("POST /bigquery/v2/projects/acme/jobs", b'{"configuration": {"load": {}}}', "application/json"),
    "upload": ("POST /upload/bigquery/v2/projects/acme/jobs?uploadType=resumable", b"{}", "application/json"),
    "chunk": ("PUT /upload/bigquery/v2/projects/acme/jobs?upload_id=u", b"x", "text/plain"),
    "batch": ("POST /batch/bigquery/v2", BATCH + b"\r\n--b--\r\n", "multipart/mixed; boundary=b"),
    "discovery": ("GET /discovery/v1/apis/bigquery/v2/rest", b"", ""),
    "nothing": ("GET /nothing", b"", ""),
}
CONTROL_PLANE = {
    name: (f"GET {path}", b"", "")
    for name, path in {
        "landing page": "/",
        "openapi": "/openapi",
        "document": "/openapi.json",
        "metrics": "/metrics",
        "spend": "/v1/spend",
        "jobs": "/v1/jobs?customer=acme",
        "budget": "/v1/customers/acme/budget",
        "customers": "/admin/v1/customers",
        "audit": "/admin/v1/audit",
        "unknown": "/v1/nothing",
    }.items()
} | {"check": ("POST /v1/customers/acme/budget:check", b"{}", "text/plain")}
HEALTH = ("/healthz", "/readyz")
FOREIGN_HOSTS = (
    *("evil", "evil.example", "EVIL.example:8080", "evil.example.", "localhost.evil.example", "127.0.0.1.evil.example"),
    *("notlocalhost", "gate.example.evil.example", "evilgate.example", "xn--lcalhost-8ya", "127.1", "0", "0x7f.0.0.1"),
    *("googleapis.com.evil.example", "evilgoogleapis.com", "local_host"),
)
BROKEN_HOSTS = (
    *("localhost@evil.example", "evil.example@localhost", "localhost, evil.example", "localhost evil.example"),
    *("localhost/evil.example", "löcalhost", "localhost:80:80", "localhost:99999", "localhost:x", "[::1", "[evil]"),
    *("localhost..", ".localhost", "a..b", "%6cocalhost", "*", "[::1%25 x]"),
)
KNOWN_HOSTS = (
    *(
        "localhost",
        "LocalHost:1",
        "localhost.",
        "app.localhost:8080",
        "127.0.0.1",
        "127.0.0.1:9",
        "127.8.9.1",
        "[::1]:80",
    ),
    *("[::1]", "10.1.2.3:8080", "[fe80::1%25eth0]:8080", "[::ffff:10.1.2.3]", "192.0.2.1", "public.example:8443"),
    *("gate.example", "GATE.example.:443", "deep.below.example", "host.docker.internal:8080", "gate:8080", "bqgate"),
    *("bigquery.googleapis.com", "bigquery.europe-west3.rep.googleapis.com", "localhost:"),
)
FOREIGN_PAGES: dict[str, tuple[str, ...]] = {
    "another site": ("Origin: https://evil.example",),
    "another port": ("Origin: http://localhost:3000",),
    "another scheme": ("Origin: https://{host}",),
    "without a port": ("Origin: http://localhost",),
    "nowhere": ("Origin: null",),
    "empty": ("Origin:",),
    "broken": ("Origin: http://[",),
    "a file": ("Origin: file://",),
    "an extension": ("Origin: chrome-extension://abcdef",),
    "two": ("Origin: http://{host}", "Origin: https://evil.example"),
    "two in one": ("Origin: http://{host}, https://evil.example",),
    "with a login": ("Origin: http://{host}@evil.example",),
    "with a path": ("Origin: http://{host}/",),
    "prefix": ("Origin: http://{host}.evil.example",),
    "bearer": ("Origin: https://evil.example", "Authorization: Bearer anything"),
    "forwarded": ("Origin: https://evil.example", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https"),
    "no origin": ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script"),
    "a neighbour": ("Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: empty"),
    "in a frame": ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"),
}


@dataclass
class Scene:
    """A running gate, and which of its ports has what."""

    stack: Stack

    def send(self, call: tuple[str, bytes, str], *lines: str, host: str | None = None) -> RawAnswer:
        """The answer to a call of one of the tables, at the port that it is for; {host}: by what the gate is called."""
        first, body, kind = call
        is_control = call in CONTROL_PLANE.values() or first.split()[1] in HEALTH
        url = self.stack.gate.control_url if is_control else self.stack.gate.url
        called = url.partition("://")[2] if host is None else host
        kinds = [f"Content-Type: {kind}"] if kind else []
        given = [line.replace("{host}", called) for line in lines]
        return send_raw(url, f"{first} HTTP/1.1", f"Host: {called}", *kinds, *given, body=body)

    def upstream_calls(self) -> int:
        return len(self.stack.sandbox.journal.entries())


def open_scene(folder: Path, ports: str, mode: str, **server: Any) -> Iterator[Scene]:
    if ports == "two":
        server["control_port"] = free_port()
    identity = {"mode": mode, "public_url": "https://public.example:8443", "token_secret": SECRET}
    document = {"server": {"port": 0, **server}, "identity": identity, "rate_limits": PLENTY}
    with running_stack(folder, document) as stack:
        yield Scene(stack)


@pytest.fixture(scope="module", params=["one", "two"])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """An open gate with its planes on one port and on two."""
    names = ["gate.example", "*.below.example"]
    yield from open_scene(tmp_path_factory.mktemp("open"), request.param, "open", allowed_hosts=names)


def check_refusal(answer: RawAnswer, call: tuple[str, bytes, str], status: int, setting: str) -> None:
    """In the form of its plane, with the setting that would change it, and nothing that lets a page read it."""
    assert (answer.status, setting in answer.json.get("detail", answer.body.decode())) == (status, True), answer.body
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert answer.headers["x-bqgate-request-id"]
    if call in DATA_PLANE.values():
        assert answer.json["error"]["code"] == status
        assert answer.json["error"]["errors"][0]["reason"] == ("accessDenied" if status == 403 else "invalid")
    else:
        assert answer.headers["content-type"].startswith("application/problem+json")
        assert answer.json["status"] == status


@pytest.mark.parametrize("call", [*DATA_PLANE.values(), *CONTROL_PLANE.values()], ids=lambda call: call[0])
def test_a_rebound_name_reads_nothing(scene: Scene, call: tuple[str, bytes, str]) -> None:
    """A page whose own name leads to the gate is of the same origin; the name gives it away, whatever it bears."""
    before = scene.upstream_calls()
    for host in ("evil", "evil.example:8080"):
        for lines in ((), ("Origin: http://{host}", "Sec-Fetch-Site: same-origin", "Authorization: Bearer anything")):
            check_refusal(scene.send(call, *lines, host=host), call, 421, "server.allowed_hosts")
    assert scene.upstream_calls() == before


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_no_spelling_of_a_foreign_name_is_known(scene: Scene, host: str) -> None:
    """Names that begin, end or look like known ones, and addresses that only some programs read as such."""
    for call in (DATA_PLANE["datasets"], CONTROL_PLANE["spend"]):
        check_refusal(scene.send(call, host=host), call, 421, "server.allowed_hosts")


@pytest.mark.parametrize("host", BROKEN_HOSTS)
def test_a_host_that_is_none_is_malformed(scene: Scene, host: str) -> None:
    """Two readings of one host are none."""
    for call in (DATA_PLANE["datasets"], CONTROL_PLANE["spend"]):
        assert scene.send(call, host=host).status == 400


@pytest.mark.parametrize("host", KNOWN_HOSTS)
def test_known_names_and_addresses_are_answered(scene: Scene, host: str) -> None:
    """Loopback's, those of the settings and of BigQuery, every address: nobody else can make these lead here."""
    for call in (DATA_PLANE["datasets"], CONTROL_PLANE["spend"], CONTROL_PLANE["landing page"]):
        assert scene.send(call, host=host).status == 200


@pytest.mark.parametrize("call", [*DATA_PLANE.values(), *CONTROL_PLANE.values()], ids=lambda call: call[0])
def test_a_foreign_page_is_refused(scene: Scene, call: tuple[str, bytes, str]) -> None:
    """Whatever it bears, before anything of it is sent on, and without a header that lets it read the refusal."""
    before = scene.upstream_calls()
    for lines in FOREIGN_PAGES.values():
        check_refusal(scene.send(call, *lines), call, 403, "identity.mode")
    assert scene.upstream_calls() == before


@pytest.mark.parametrize("path", [QUERIES, DATASETS, "/v1/spend", "/batch/bigquery/v2", "/admin/v1/customers"])
def test_a_preflight_of_a_foreign_page_is_refused(scene: Scene, path: str) -> None:
    """So that the browser does not even send what the page wants."""
    answer = scene.send(
        (f"OPTIONS {path}", b"", ""),
        "Origin: https://evil.example",
        "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: authorization",
        "Access-Control-Request-Private-Network: true",
    )
    assert answer.status == 403
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_a_link_leads_to_the_control_plane_and_not_into_bigquerys_api(scene: Scene) -> None:
    """Somebody may follow a link in a chat to a page of the gate; nobody links to a query, and no form is sent."""
    followed = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
    for name in ("landing page", "openapi", "spend"):
        assert scene.send(CONTROL_PLANE[name], *followed).status == 200
    for call in (DATA_PLANE["datasets"], DATA_PLANE["query as text"], CONTROL_PLANE["check"]):
        assert scene.send(call, *followed).status == 403


def test_a_page_of_the_gates_own_and_who_is_no_page_are_answered(scene: Scene) -> None:
    """Its own origin as the browser sees it, that of the public URL, an address typed in, and a client's bare token."""
    for lines in (
        (),
        ("Authorization: Bearer anything",),
        ("Origin: http://{host}", "Sec-Fetch-Site: same-origin"),
        ("Origin: HTTPS://Public.example:8443",),
        ("Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"),
        ("Sec-Fetch-Mode: cors",),  # as Node's own fetch sends it
    ):
        for call in (DATA_PLANE["datasets"], DATA_PLANE["query"], CONTROL_PLANE["spend"]):
            assert scene.send(call, *lines).status == 200, (lines, call)
    assert scene.send(DATA_PLANE["datasets"], "Origin: http://localhost", host="localhost:80").status == 200


@pytest.mark.parametrize("mode", ["open", "required"])
def test_the_control_plane_is_at_its_own_port_alone(tmp_path: Path, mode: str) -> None:
    """Where it has one, the data plane's knows none of its paths, and the other knows none of BigQuery's."""
    for scene in open_scene(tmp_path, "two", mode):
        data, control = scene.stack.gate.url, scene.stack.gate.control_url
        for name, (first, body, _) in CONTROL_PLANE.items():
            if name != "landing page":
                assert send_raw(data, f"{first} HTTP/1.1", "Host: localhost", body=body).status == 501
        for first, body, _ in DATA_PLANE.values():
            assert send_raw(control, f"{first} HTTP/1.1", "Host: localhost", body=body).status == 404


@pytest.mark.parametrize("path", HEALTH)
def test_health_is_told_by_any_name_and_to_no_page(scene: Scene, path: str) -> None:
    """Load balancers and orchestrators call a gate by names of their own."""
    call = (f"GET {path}", b"", "")
    for host in ("evil.example", "10.1.2.3", "pod-7.internal"):
        assert scene.send(call, host=host).status == 200
    assert scene.send(call, "Origin: https://evil.example").status == 403
    assert scene.send((f"GET {path}/..;/v1/spend", b"", ""), host="evil.example").status == 421


def test_every_host_of_a_request_is_looked_at(scene: Scene) -> None:
    """An absolute target beats the Host header, so neither excuses the other; a login in it is none of a host."""
    url, read = scene.stack.url, DATASETS
    assert send_raw(url, f"GET http://evil.example{read} HTTP/1.1", "Host: localhost").status == 421
    assert send_raw(url, f"GET http://localhost{read} HTTP/1.1", "Host: evil.example").status == 421
    assert send_raw(url, f"GET http://localhost@evil.example{read} HTTP/1.1", "Host: localhost").status == 400
    assert send_raw(url, f"GET http://bigquery.googleapis.com{read} HTTP/1.1", "Host: localhost").status == 200
    assert send_raw(url, f"GET {read} HTTP/1.1", "Host: localhost", "Host: localhost").status == 400
    assert send_raw(url, f"GET {read} HTTP/1.1").status == 400
    page = ("Host: localhost", "Origin: http://gate.example:8080")
    assert send_raw(url, f"GET http://gate.example:8080{read} HTTP/1.1", *page).status == 200


def test_who_names_no_host_is_no_page(scene: Scene) -> None:
    """HTTP/1.0 knows no Host, and old load balancers leave it empty; a browser always names one."""
    assert send_raw(scene.stack.url, f"GET {DATASETS} HTTP/1.0").status == 200
    assert send_raw(scene.stack.url, f"GET {DATASETS} HTTP/1.1", "Host:").status == 200
    assert send_raw(scene.stack.url, f"GET {DATASETS} HTTP/1.0", "Origin: http://evil.example").status == 403


def test_refusals_are_counted_each_and_logged_once(tmp_path: Path) -> None:
    """A page that calls a hundred times leaves one line, with the name that may be missing in the settings."""
    for scene in open_scene(tmp_path, "one", "open"):
        for _ in range(100):
            assert scene.send(DATA_PLANE["datasets"], host="gate.corp.example").status == 421
            assert scene.send(CONTROL_PLANE["spend"], "Origin: https://evil.example").status == 403
        lines = [json.loads(line) for line in scene.stack.log.getvalue().splitlines()]
        told = [line for line in lines if line["event"] == "web_page_refused"]
        assert [(line["reason"], line["host"], line["origin"]) for line in told] == [
            ("UnknownHost", "gate.corp.example", ""),
            ("ForeignPage", scene.stack.url.partition("://")[2], "https://evil.example"),
        ]
        assert not [line for line in lines if line["event"] == "request"]
        for reason in ("UnknownHost", "ForeignPage"):
            assert scene.stack.gate.metrics.value("bqgate_refused_calls_total", reason=reason) == 100


def test_the_host_behind_a_trusted_proxy_counts_and_excuses_no_other(tmp_path: Path) -> None:
    """What the proxy says is judged, and so is Host: a page on the proxy's own machine may write its headers."""
    for scene in open_scene(tmp_path, "one", "open", trusted_proxies=["127.0.0.1"], allowed_hosts=["front.example"]):
        call, own = DATA_PLANE["datasets"], ("X-Forwarded-Host: front.example", "X-Forwarded-Proto: https")
        assert scene.send(call, *own).status == 200
        assert scene.send(call, *own, "Origin: https://front.example").status == 200
        assert scene.send(call, *own, "Origin: http://front.example").status == 403
        assert scene.send(call, *own, "Origin: http://{host}").status == 403
        assert scene.send(call, "X-Forwarded-Host: evil.example").status == 421
        assert scene.send(call, "Forwarded: host=evil.example").status == 421
        assert scene.send(call, *own, host="evil.example").status == 421
        target = f"GET http://localhost{DATASETS} HTTP/1.1"
        assert (
            send_raw(scene.stack.url, target, "Host: localhost", "X-Forwarded-Host: front.example:8443").status == 200
        )


@pytest.mark.parametrize("ports", ["one", "two"])
def test_where_logins_are_required_names_are_free_and_pages_need_a_token(tmp_path: Path, ports: str) -> None:
    """A page has no credential, whatever it is called; with a token, a foreign one may call as with BigQuery itself."""
    for scene in open_scene(tmp_path, ports, "required"):
        for call in (DATA_PLANE["datasets"], CONTROL_PLANE["spend"], CONTROL_PLANE["metrics"]):
            assert scene.send(call, "Origin: http://{host}", host="evil.example").status == 401
        assert scene.send(CONTROL_PLANE["openapi"], host="any.example").status == 200
        assert scene.send(DATA_PLANE["query"], "Origin: https://app.example", host="any.example").status == 401
        page = ("Origin: https://app.example", "Authorization: Bearer of-google")
        answer = scene.send(DATA_PLANE["query"], *page, host="any.example")
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://app.example")
        ask = (f"OPTIONS {QUERIES}", b"", "")
        assert scene.send(ask, "Origin: https://app.example", "Access-Control-Request-Method: POST").status == 204
        assert scene.send(DATA_PLANE["datasets"], "Origin: http://[").status == 401
        assert scene.send(DATA_PLANE["datasets"], host="a@b").status == 400


def test_listed_names_hold_where_logins_are_required_too(tmp_path: Path) -> None:
    """Whoever lists the names has meant them."""
    for scene in open_scene(tmp_path, "one", "required", allowed_hosts=["gate.example"]):
        assert scene.send(DATA_PLANE["discovery"], host="evil.example").status == 421
        assert scene.send(DATA_PLANE["discovery"], host="gate.example").status == 200


def test_open_metrics_are_for_known_names(tmp_path: Path) -> None:
    """They are the one thing of customers that is told without a login, so a page by a name of its own gets nothing."""
    identity = {"mode": "required", "open_metrics": True, "token_secret": SECRET}
    with running_stack(tmp_path, {"identity": identity}) as stack:
        scene = Scene(stack)
        check_refusal(
            scene.send(CONTROL_PLANE["metrics"], host="evil.example"), CONTROL_PLANE["metrics"], 421, "allowed_hosts"
        )
        for host in ("10.1.2.3:8080", "localhost"):
            assert scene.send(CONTROL_PLANE["metrics"], host=host).status == 200
        assert scene.send(CONTROL_PLANE["openapi"], host="evil.example").status == 200


def test_a_star_lets_every_name_in_and_no_foreign_page(tmp_path: Path) -> None:
    """For who has a reason; pages of other origins stay out."""
    for scene in open_scene(tmp_path, "one", "open", allowed_hosts=["*"]):
        assert scene.send(DATA_PLANE["datasets"], host="any.example").status == 200
        assert scene.send(DATA_PLANE["datasets"], "Origin: https://evil.example", host="any.example").status == 403
