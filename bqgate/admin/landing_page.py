"""Say at `GET /` what answers here: as a page to browsers, as JSON to everything else. Public, and without any secret.

Mounted by app on each port, before the data plane's catch-all: beside the control plane it links to what is there, on
a data plane alone it has nothing to link to. Load balancers that probe `/` get their 200. Other methods at `/` are
none of BigQuery's and are refused as before. It knows no customer and no number.
"""

from collections.abc import Collection, Iterator
from html import escape

from aiohttp import hdrs, web

from bqgate import __version__
from bqgate.admin.documents import answer_json
from bqgate.admin.operation import Operation
from bqgate.admin.page import answer_page, write_page

_ABOUT = "A gate in front of BigQuery: every query is priced, held against a budget, and booked."
_LINKS = (
    ("/dashboard", "The dashboard"),
    ("/openapi", "The control plane's API, to read"),
    ("/openapi.json", "The same as OpenAPI 3.1"),
    ("/healthz", "Is it alive"),
    ("/readyz", "Can it work"),
    ("/metrics", "Metrics for Prometheus"),
)
_HTML = frozenset({"text/html", "application/xhtml+xml"})
_JSON = frozenset({"application/json"})


class LandingPage:
    """What answers at `/` of one port.

    Args of the constructor: the operations that are mounted on that port, and whether callers must prove who they are.
    """

    def __init__(self, operations: Collection[Operation], *, requires_identity: bool) -> None:
        paths = {each.path for each in operations if each.method == hdrs.METH_GET}
        links = {path: about for path, about in _LINKS if path in paths}
        identity = "required" if requires_identity else "open"
        self._page = write_page(f"bqgate {__version__}", _body(links, requires_identity=requires_identity))
        self._document = {
            "name": "bqgate",
            "version": __version__,
            "description": _ABOUT,
            "identity": identity,
            "links": list(links),
        }

    async def show(self, request: web.Request) -> web.Response:
        """GET /, and HEAD."""
        response = answer_page(self._page) if wants_html(request) else answer_json(self._document)
        response.headers[hdrs.VARY] = hdrs.ACCEPT
        return response


def add_landing_page(app: web.Application, operations: Collection[Operation], *, requires_identity: bool) -> None:
    """Mount it."""
    app.router.add_get("/", LandingPage(operations, requires_identity=requires_identity).show)


def wants_html(request: web.Request) -> bool:
    """Whether the caller names HTML and does not like JSON better (RFC 9110 section 12.5.1). `*/*` names nothing."""
    wishes = dict(_wishes(",".join(request.headers.getall(hdrs.ACCEPT, []))))
    html, plain = (max((wishes.get(name, 0.0) for name in names), default=0.0) for names in (_HTML, _JSON))
    return html > 0 and html >= plain


def _wishes(accept: str) -> Iterator[tuple[str, float]]:
    """The media types that are named, with their weights; a weight that is none counts as 0."""
    for wish in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in wish.split(";"))
        weights = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
        try:
            yield media_type, float(weights[0]) if weights else 1.0
        except ValueError:
            yield media_type, 0.0


def _body(links: dict[str, str], *, requires_identity: bool) -> Iterator[str]:
    yield f"<p>{escape(_ABOUT)} Point a BigQuery client at this address instead of bigquery.googleapis.com:</p>"
    yield (
        "<pre>from google.cloud import bigquery\n\n"
        'client = bigquery.Client(project="…", client_options={"api_endpoint": "http://this-address"})</pre>'
    )
    if requires_identity:
        yield "<p>Callers must prove who they are here: with a key, a token, or as the operator of this gate says.</p>"
    else:
        yield "<p>Everybody who reaches this gate is let in. That is for trials and networks that are trusted.</p>"
    if not links:
        yield "<p>Budgets, health and metrics are on a port of their own, which the operator knows.</p>"
    yield "<nav><ul>"
    for path, about in links.items():
        yield f'<li><a href="{escape(path)}"><code>{escape(path)}</code> {escape(about)}</a></li>'
    yield "</ul></nav>"
    yield "<p>How clients log in, what refusals mean, every setting: in the folder <code>docs</code> of bqgate.</p>"
