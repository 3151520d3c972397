import resource
from collections.abc import Iterator

import pytest

from bqgate.app.listening import allow_open_files, connection_limits
from bqgate.gate.http.connections import ConnectionLimits
from bqgate.settings.server_section import ServerSection

FILES = 800


@pytest.fixture
def few_files() -> Iterator[None]:
    """This process may open few files, and more if it asks for them."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def section_of(**settings: int) -> ServerSection:
    """The section with some settings, and the others as they are by default."""
    return ServerSection.model_validate(settings)


def waiting_of(limits: ConnectionLimits) -> int:
    """How many connections may wait for their callers: with heads, bodies, answers and nothing."""
    return limits.heads_max + 2 * limits.bodies_max + limits.idle_max


@pytest.mark.usefixtures("few_files")
def test_connections_that_wait_leave_half_of_the_files_for_queries() -> None:
    """On one port, and on two together, whatever the settings say."""
    assert waiting_of(connection_limits(section_of())) == FILES // 2
    assert 2 * waiting_of(connection_limits(section_of(control_port=8081))) == FILES // 2
    assert connection_limits(section_of(open_bodies_max=10)).bodies_max == 10


@pytest.mark.usefixtures("few_files")
def test_a_gate_opens_as_many_files_as_it_may() -> None:
    """The soft limit is what shells and containers happen to set."""
    allow_open_files()
    files_max, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert files_max == most
    assert connection_limits(section_of()).heads_max > FILES // 8
