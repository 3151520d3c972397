"""Name what is wrong with policies: where it shows, and what to write instead.

Made by rules and compose, read by the settings, the command line and the control plane.
"""

from collections.abc import Collection
from typing import NamedTuple

from bqgate.domain.errors import BqgateError


class PolicyFault(NamedTuple):
    """One contradiction, where it shows."""

    path: str
    message: str


class PolicyFaults(BqgateError):
    """The policies contradict one another; `faults` has every reason."""

    def __init__(self, faults: Collection[PolicyFault]) -> None:
        super().__init__("\n".join(f"{fault.path}: {fault.message}" for fault in faults))
        self.faults = tuple(faults)
