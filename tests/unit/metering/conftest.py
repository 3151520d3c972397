from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.metering_stand import MeteringStand, metering_stand


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[MeteringStand]:
    """A ledger, a sandbox with two datasets of acme's, and the time."""
    async with metering_stand(tmp_path) as opened:
        yield opened
