"""Give the tests with real clients one stack to share and a project of their own each."""

from collections.abc import Iterator

import pytest

from tests.support.client_scene import Scene, open_scene


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Sandbox and gate, shared by all tests of the session."""
    with open_scene(tmp_path_factory.mktemp("clients")) as opened:
        yield opened


@pytest.fixture(scope="session")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A gate whose waiting room has no place, and a project `crowd` that is throttled from the first cent on."""
    tier = {"daily_usd": "10", "monthly_usd": "300", "emergency_usd": "50", "throttle_wait_ms": 2_000}
    document = {
        "admission": {"waiting_max": 0},
        "tiers": {"tight": {**tier, "thresholds": [{"used_ratio": "0.0001", "action": "throttle"}]}},
        "customers": {"crowd": {"tier": "tight", "projects": ["crowd"]}},
    }
    with open_scene(tmp_path_factory.mktemp("crowded"), document) as opened:
        opened.declare("crowd", t=10)
        yield opened


@pytest.fixture
def project(scene: Scene) -> str:
    """A project, and customer, of the test's own."""
    return scene.new_project()
