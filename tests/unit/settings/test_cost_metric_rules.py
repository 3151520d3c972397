from bqgate.settings.cost_metric_rules import warnings_of
from bqgate.settings.cost_metric_section import CostMetricSection


def test_a_metric_that_no_package_brings_is_said() -> None:
    """By its section; of an import path nobody knows before it is imported."""
    given: dict[str, dict[str, str]] = {"nobody": {}, "path": {"metric": "no.such:Metric"}}
    sections = {name: CostMetricSection.model_validate(keys) for name, keys in given.items()}
    assert list(warnings_of(sections)) == [
        "cost_metrics.nobody.metric: no package that is installed brings the cost metric nobody"
    ]
