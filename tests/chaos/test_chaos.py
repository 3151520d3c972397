"""Everything breaks while queries run, for a quarter of a minute: nothing is lost, booked twice or let past a limit.

`make chaos` runs it for longer, with seeds that are drawn; docs/chaos.md says what it does.
"""

import os
from pathlib import Path

import pytest

from tests.chaos.gates import NoRevision, tree_of
from tests.chaos.plan import Stores, make_plan
from tests.chaos.run import PREVIOUS_REVISION, run_plan
from tests.support.postgres_server import find_postgres
from tests.support.redis_server import find_redis_server

SEED = 30
_AGAIN = f"again: pytest tests/chaos/test_chaos.py; more of this seed: make chaos SEED={SEED}"
_SECONDS = 15.0


def _tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - pytest shows it where the test fails


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_whatever_breaks_no_money_is_lost_or_spent_twice() -> None:
    """Two gates, Redis, PostgreSQL: billed is booked, each job once, no limit is passed, and Redis says the same."""
    missing = [name for name, found in (("Redis", find_redis_server()), ("PostgreSQL", find_postgres())) if not found]
    if missing:
        reason = f"{' and '.join(missing)} not found: chaos is NOT tried"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    _tell(f"seed {SEED}; {_AGAIN}")
    plan = make_plan(SEED, _SECONDS, stores=Stores.POSTGRESQL, calls_per_s=18, has_previous=False)
    outcome = await run_plan(plan, tell=_tell)
    _tell(str(outcome))
    assert outcome.is_clean, f"{outcome}\n{_AGAIN}"


def test_a_revision_that_git_does_not_have_is_told(tmp_path: Path) -> None:
    """A checkout without history says that it has none; a run then goes on without the other revision, and says so."""
    with pytest.raises(NoRevision):
        tree_of("0000000000000000000000000000000000000000", tmp_path)


def test_the_previous_revision_can_be_had_here(tmp_path: Path) -> None:
    """Where there is history, the revision that runs beside today's has the code of a gate."""
    try:
        tree = tree_of(PREVIOUS_REVISION, tmp_path)
    except NoRevision as error:
        pytest.skip(f"no history here: the previous revision is NOT tried beside this one ({error})")
    assert (tree / "bqgate" / "cli" / "serve.py").exists()
