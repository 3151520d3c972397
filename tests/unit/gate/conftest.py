from collections.abc import AsyncIterator

import pytest

from tests.support.gate_stand import GateStand, gate_stand


@pytest.fixture
async def gate() -> AsyncIterator[GateStand]:
    """A data plane before a recording upstream."""
    async with gate_stand() as stand:
        yield stand
