"""Remember that the gate is being stopped, so that it stops being ready before it stops answering.

Set by serve at the first signal, read by the control plane's /readyz.
"""

from bqgate.ports import Telemetry


class Drain:
    """Whether a gate is being stopped. It never goes back."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._is_begun = False

    @property
    def is_begun(self) -> bool:
        return self._is_begun

    def begin(self) -> None:
        """From now on the gate is not ready; requests are still answered."""
        self._is_begun = True
        self._telemetry.log("stopping")
