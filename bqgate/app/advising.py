"""Make the advisor of refused callers where the settings want one.

Called by root. sqlglot, which the advisor reads queries with, is an extra: it is imported only here and only then.
"""

from contextlib import AsyncExitStack

from bqgate.app.outside import Outside
from bqgate.domain.units import MS_PER_S
from bqgate.ports import Advisor, DryRunner
from bqgate.settings.refusals_section import Advice


def wire_advisor(outside: Outside, stack: AsyncExitStack, dry_runs: DryRunner) -> Advisor | None:
    """The advisor, closed by the stack; None: refusals say what they say without one."""
    section = outside.settings.refusals
    if section.advice is Advice.OFF:
        return None
    from bqgate.advice.mender import Asking, Mender  # noqa: PLC0415 - sqlglot is an extra

    asks = section.advice is Advice.DRY_RUN
    mender = Mender(
        clock=outside.clock,
        journal=outside.journal,
        deadline_s=section.deadline_ms / MS_PER_S,
        asking=Asking(dry_runs, outside.bigquery) if asks else None,
    )
    stack.push_async_callback(mender.close)
    return mender
