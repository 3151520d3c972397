"""Divide among the workers of a gate what the settings say of the whole gate, and each worker counts by itself.

Called by dependencies and control. Connections are dealt out evenly, and so is what comes over them.
"""

import math
from dataclasses import replace

from bqgate.domain.degradation import Degradation
from bqgate.settings import Settings


def degradation_of(settings: Settings) -> Degradation:
    """What happens while a system is away; of the allowance a worker's share, so that all together exceed it never."""
    chosen = settings.degraded.degradation
    return replace(chosen, allowance_nanos=chosen.allowance_nanos // settings.server.workers)


def failed_logins_per_minute(settings: Settings) -> int:
    """After how many failures a worker takes no more; at least one."""
    return math.ceil(settings.identity.failed_logins_per_minute / settings.server.workers)
