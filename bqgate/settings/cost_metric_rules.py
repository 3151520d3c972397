"""Check what the section cost_metrics names: whether some package brings it. Nothing of it is run.

Called by rules.py, for check-config and the start of a gate.
"""

from collections.abc import Iterator, Mapping

from bqgate.metering.loading import is_known
from bqgate.settings.cost_metric_section import CostMetricSection


def warnings_of(sections: Mapping[str, CostMetricSection]) -> Iterator[str]:
    """Metrics that are not there."""
    for name, section in sections.items():
        metric = section.metric or name
        if not is_known(metric):
            yield f"cost_metrics.{name}.metric: no package that is installed brings the cost metric {metric}"
