"""Say what is wrong with the settings: where, what, and what to write instead.

Made by document, load and rules; shown by `bqgate check-config` and `bqgate serve`. All faults are reported at once.
A message never quotes a value that may hold a password.
"""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `path` is as in the file ("tiers.standard.daily_usd"), `source` the environment variable, if any."""

    path: str
    message: str
    source: str | None = None

    def __str__(self) -> str:
        origin = f" (from {self.source})" if self.source else ""
        return f"{self.path}: {self.message}{origin}"


class SettingsInvalid(Exception):
    """The settings cannot be used; `faults` has every reason, in the order of the document."""

    def __init__(self, faults: Collection[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)
