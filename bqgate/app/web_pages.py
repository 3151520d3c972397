"""Put together what the gate refuses of web pages: the hosts that it knows as its own, and whether it trusts callers.

Called by root for each port. Beside the names of `server.allowed_hosts` the gate knows those of its own machine and
settings, and BigQuery's: a gate may stand at BigQuery's own name by DNS, or be taken for a proxy before it. No page of
an attacker's can have one of them.
"""

from urllib.parse import urlsplit

from aiohttp import web

from bqgate.admin.problem import Problem, write_problem
from bqgate.gate.http.web_pages import PageRules
from bqgate.settings import Settings
from bqgate.settings.sections import IdentityMode
from bqgate.wire.authority import KnownHosts, read_authority

# What the documentation, the compose file and the image call it: only in networks of one's own is there such a name.
_OWN_NAMES = frozenset({"gate", "bqgate"})
# Containers call their machine by the last two.
_LOOPBACK_NAMES = frozenset({"localhost", "*.localhost", "host.docker.internal", "host.containers.internal"})
_GOOGLES_NAMES = frozenset({"*.googleapis.com"})
_METRICS_PATH = "/metrics"


def page_rules(settings: Settings, *, machine: str) -> PageRules:
    """The rules; `machine` is what this machine calls itself."""
    is_open = settings.identity.mode is IdentityMode.OPEN
    return PageRules(
        known_hosts=KnownHosts(known_names(settings, machine=machine)),
        checks_every_path=is_open or bool(settings.server.allowed_hosts),
        open_paths=frozenset({_METRICS_PATH} if settings.identity.open_metrics else ()),
        refuses_foreign_pages=is_open,
        public_url=settings.identity.public_url,
    )


def known_names(settings: Settings, *, machine: str) -> frozenset[str]:
    """Every name by which callers may call the gate, beside all addresses."""
    urls = (settings.identity.public_url, settings.upstream.url)
    own = (machine, settings.server.host, *(urlsplit(url).hostname for url in urls if url is not None))
    authorities = [read_authority(each) for each in own if each]
    names = {each.host for each in authorities if each is not None and not each.is_address}
    return _LOOPBACK_NAMES | _OWN_NAMES | _GOOGLES_NAMES | names | frozenset(settings.server.allowed_hosts)


def answer_problem(status: int, detail: str) -> web.Response:
    """A refusal of the control plane's."""
    return write_problem(Problem(status, detail))
