"""Say what of a gate is open to whom: by which names it answers, to which web pages, and where its control plane is.

Called by doctor_checks. None of it is a fault: it is what the settings say, in words that show what was not meant.
"""

import socket
from collections.abc import Iterator

from bqgate.app.web_pages import known_names, page_rules
from bqgate.cli.finding import Finding
from bqgate.settings import Settings
from bqgate.wire.authority import EVERY_HOST


def exposure_of(settings: Settings) -> Iterator[Finding]:
    """A finding for names and web pages, and one for the control plane."""
    rules = page_rules(settings, machine=socket.gethostname())
    names = known_names(settings, machine=socket.gethostname())
    if rules.checks_every_path and EVERY_HOST not in names:
        named = f"answers to addresses and to {', '.join(sorted(names))}"
    else:
        named = "answers to any name"
    pages = "refuses pages of other origins" if rules.refuses_foreign_pages else "pages of other origins need a token"
    yield Finding("web pages", None, f"{named}; {pages}")
    if settings.server.control_port is None and not settings.server.is_loopback:
        said = f"at port {settings.server.port}, where BigQuery's clients call"
        yield Finding("control", None, said, "give it one that only operators reach: server.control_port")
