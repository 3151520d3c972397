"""Compose the gate. The only room that names concrete stores and reads the settings' values.

    root.py              open_gate and serve: the rooms put together
    listening.py         the ports that callers come to
    dependencies.py      the outside systems, in the order in which they lean on one another
    adapters.py          which store, which credentials
    path.py              the request path and the settlement behind it
    sweep_wiring.py      what looks for jobs that nobody has booked
    metering_wiring.py   what measures costs that are no jobs
    mirror_wiring.py     what copies the ledger to BigQuery
    books.py             what commands work with that prove and correct the ledger, without a gate
    authentication.py    who finds out who calls
    isolation_wiring.py  what keeps customers apart
    control.py           the control plane
    reload.py            settings that changed while the gate runs
    file_versions.py     whether a file was replaced
    shares.py            what each of several workers has of what is the whole gate's
    drain.py             whether the gate is being stopped
    web_pages.py         by which names the gate is called, and what it refuses of web pages
    tls.py               the certificate, which may be replaced
    background.py        what runs beside the requests

Called by cli and by the tests of the whole gate.
"""

from bqgate.app.listening import CannotListen, bind_port, url_of
from bqgate.app.reload import SettingsSource
from bqgate.app.root import Gate, open_gate, serve
from bqgate.app.tls import CertificateUnusable
from bqgate.bigquery.credentials import CredentialsUnusable

__all__ = [
    "CannotListen",
    "CertificateUnusable",
    "CredentialsUnusable",
    "Gate",
    "SettingsSource",
    "bind_port",
    "open_gate",
    "serve",
    "url_of",
]
