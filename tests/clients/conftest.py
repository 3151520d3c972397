"""Give the tests with real clients one stack to share and a project of their own each."""

from collections.abc import Iterator

import pytest

from tests.support.client_scene import Scene, open_scene


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Sandbox and gate, shared by all tests of the session."""
    with open_scene(tmp_path_factory.mktemp("clients")) as opened:
        yield opened


@pytest.fixture
def project(scene: Scene) -> str:
    """A project, and customer, of the test's own."""
    return scene.new_project()
