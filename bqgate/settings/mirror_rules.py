"""Check what the mirror of the ledger needs of other settings. Pure.

Called by rules.
"""

from collections.abc import Iterator

from bqgate.settings.faults import Fault
from bqgate.settings.ledger_section import LedgerSection
from bqgate.settings.sections import Credentials, UpstreamSection


def mirror_faults(ledger: LedgerSection, upstream: UpstreamSection) -> Iterator[Fault]:
    """A mirror that the gate has no credentials to write, or readers of none."""
    if ledger.mirror is None:
        if ledger.mirror_admins:
            yield Fault("ledger.mirror_admins", "has no effect without ledger.mirror; leave it out, or name a dataset")
    elif upstream.credentials is Credentials.CALLER and upstream.service_account_file is None:
        yield Fault(
            "ledger.mirror",
            "needs credentials of the gate's own: with upstream.credentials: caller, set upstream.service_account_file",
        )
