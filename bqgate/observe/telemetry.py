"""Implement ports.Telemetry: counters and histograms go to metrics.py, lines to logs.py.

Made by app, handed to every step. A name that metrics.py does not declare is a bug and raises KeyError at once, so that
a misspelt metric fails a test rather than a dashboard.
"""

import logging

from bqgate.observe.logs import Logger
from bqgate.observe.metrics import Metrics


class PrometheusTelemetry:
    """The Telemetry of a running gate."""

    def __init__(self, metrics: Metrics, logger: Logger) -> None:
        self._metrics = metrics
        self._logger = logger

    def count(self, name: str, /, amount: int = 1, **labels: str) -> None:
        """Add to a counter declared in metrics.COUNTERS."""
        self._metrics.add(name, amount, labels)

    def observe(self, name: str, value_s: float, /, **labels: str) -> None:
        """Record seconds in a histogram declared in metrics.HISTOGRAMS."""
        self._metrics.observe(name, value_s, labels)

    def log(self, event: str, /, **fields: object) -> None:
        """Write one line at level info; a field `error` lifts it to warning, so that failures can be filtered."""
        self._logger.log(logging.WARNING if "error" in fields else logging.INFO, event, **fields)
