"""Say whether a gate with these settings can look for jobs that nobody has booked, and why not.

Used by app, and by the commands that show settings and try them. It is no warning: the sweep is on unless told
otherwise, and whoever lets callers' credentials pass has not asked for it.
"""

from bqgate.settings.sections import Credentials, UpstreamSection
from bqgate.settings.sweep_section import SweepMethod, SweepSection

_NO_CREDENTIALS = (
    "callers' credentials go to BigQuery and the gate has none of its own, so jobs past the gate are not seen; give "
    "upstream.service_account_file, or write sweep: {method: off}"
)


def why_no_sweep(upstream: UpstreamSection, sweep: SweepSection) -> str | None:
    """Why a gate does not look for jobs; None: it does."""
    if sweep.method is SweepMethod.OFF:
        return "sweep.method is off: jobs past the gate are not seen"
    if upstream.credentials is Credentials.CALLER and upstream.service_account_file is None:
        return _NO_CREDENTIALS
    return None
