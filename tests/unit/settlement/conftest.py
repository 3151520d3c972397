from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.settlement_stand import Gate, Stand, settlement_stand


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    """A ledger, BigQuery and the time."""
    async with settlement_stand(tmp_path) as opened:
        yield opened


@pytest.fixture
def gate(stand: Stand) -> Gate:
    """A gate with budgets in memory."""
    return stand.gate()
