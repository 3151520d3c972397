"""Find plug-ins that measure costs, and make them.

Called by app for each metric of the settings. A plug-in is named by its entry point in the group
`bqgate.cost_metrics` (https://packaging.python.org/en/latest/specifications/entry-points/), or by its import path,
"package.module:Class". Importing it runs code of others in the gate's process, and may raise whatever it likes;
metering.py looks to that.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from pydantic import ValidationError

from bqgate.ports.cost_metrics import ENTRY_POINTS, CostMetric


class MetricUnusable(Exception):
    """There is no such plug-in, or it is none that measures costs."""


def is_known(named: str) -> bool:
    """Whether there is an entry point of that name; of an import path nobody knows before it is imported."""
    return ":" in named or bool(entry_points(group=ENTRY_POINTS, name=named))


def load_metric(named: str, options: Mapping[str, Any]) -> CostMetric:
    """Make a plug-in with its options.

    Raises:
        MetricUnusable: there is none, two have this name, or it has not what a cost metric has.
            Also where its options do not fit.
        Exception: whatever its own code raises.
    """
    made = _class_of(named)
    model = getattr(made, "Options", None)
    if model is None and options:
        raise MetricUnusable(f"{named} takes no options")
    metric: CostMetric = made() if model is None else made(_validated(model, options))
    if not callable(getattr(metric, "measure", None)) or not hasattr(metric, "look_back"):
        raise MetricUnusable(f"{named} has not what a cost metric has: look_back and measure")
    return metric


def _validated(model: Any, options: Mapping[str, Any]) -> Any:
    """The options as the plug-in's own model has them; what is wrong is told without the values."""
    try:
        return model.model_validate(dict(options))
    except ValidationError as invalid:
        faults = invalid.errors(include_url=False, include_input=False, include_context=False)
        told = "; ".join(f"options.{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)
        raise MetricUnusable(told) from None


def _class_of(named: str) -> Any:
    module, colon, attribute = named.partition(":")
    if colon:
        return getattr(import_module(module), attribute)
    found = tuple(entry_points(group=ENTRY_POINTS, name=named))
    if len(found) != 1:
        count = "no" if not found else str(len(found))
        raise MetricUnusable(f"there are {count} entry points {named} in the group {ENTRY_POINTS}; install its package")
    return found[0].load()
