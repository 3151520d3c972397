from collections.abc import AsyncIterator

import pytest

from bqgate.bigquery.credentials import CallerCredentials
from bqgate.bigquery.upstream import HttpUpstream
from tests.support.recording_upstream import RecordingUpstream, recording_upstream


@pytest.fixture
async def recorder() -> AsyncIterator[RecordingUpstream]:
    """What stands for BigQuery."""
    async with recording_upstream() as running:
        yield running


@pytest.fixture
async def upstream(recorder: RecordingUpstream) -> AsyncIterator[HttpUpstream]:
    """The way to it, with the caller's credentials."""
    made = HttpUpstream(recorder.url, CallerCredentials())
    yield made
    await made.close()
