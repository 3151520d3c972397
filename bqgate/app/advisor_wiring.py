"""Build the query advisor where the settings want one.

Called by root. The advisor parses SQL with sqlglot, which is an extra: it is imported only here and only then.
"""

from contextlib import AsyncExitStack

from bqgate.app.dependencies import Dependencies
from bqgate.domain.units import MS_PER_S
from bqgate.ports import Advisor, DryRunner
from bqgate.settings.refusals_section import Advice


def wire_advisor(deps: Dependencies, stack: AsyncExitStack, dry_runs: DryRunner) -> Advisor | None:
    """The advisor, closed by the stack; None: refusals say what they say without one."""
    section = deps.settings.refusals
    if section.advice is Advice.OFF:
        return None
    from bqgate.advice.query_advisor import Asking, QueryAdvisor  # noqa: PLC0415 - sqlglot is an extra

    asks = section.advice is Advice.DRY_RUN
    advisor = QueryAdvisor(
        clock=deps.clock,
        telemetry=deps.telemetry,
        deadline_s=section.deadline_ms / MS_PER_S,
        asking=Asking(dry_runs, deps.bigquery) if asks else None,
    )
    stack.push_async_callback(advisor.close)
    return advisor
