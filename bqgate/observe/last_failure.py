"""Keep the last failure that was logged, for a command that says it in words of its own.

Implements ports.Telemetry, for commands that use a gate's parts without a gate: a token source logs why no token came.
"""


class LastFailure:
    """What was logged last: `error`, and `remedy` where one was told."""

    def __init__(self) -> None:
        self.error = ""
        self.remedy = ""

    def count(self, name: str, /, amount: int = 1, **labels: str) -> None:
        """Count nothing."""

    def observe(self, name: str, value_s: float, /, **labels: str) -> None:
        """Measure nothing."""

    def log(self, event: str, /, **fields: object) -> None:
        """Keep what failed."""
        self.error, self.remedy = str(fields.get("error", event)), str(fields.get("remedy", ""))
