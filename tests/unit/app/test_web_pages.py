"""Which names a gate knows as its own, and what it refuses of pages, by its settings."""

import pytest
import yaml

from bqgate.app.web_pages import known_names, page_rules
from bqgate.settings import Settings, load_settings


@pytest.fixture
def load(tmp_path):  # type: ignore[no-untyped-def]
    def loaded(text: str) -> Settings:
        file = tmp_path / "bqgate.yaml"
        file.write_text(text)
        return load_settings(file, {})
    return loaded
