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
        self.count = metrics.add
        self.observe = metrics.observe
        self._logger = logger

    def log(self, event: str, /, **fields: object) -> None:
        """Write one line at level info; a field `error` lifts it to warning, so that failures can be filtered."""
        self._logger.log(logging.WARNING if "error" in fields else logging.INFO, event, **fields)
