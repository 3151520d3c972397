from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from bqgate.settings import Settings, load_settings
from bqgate.settings.changes import LIVE_KEYS, LIVE_LOGIN_KEYS, LIVE_SECTIONS, differences, is_taken_over
from bqgate.settings.sections import NAMED_SECTIONS, SECTIONS
from tests.house.tree import ROOT

SECRETS = ("4fJ9vQ2mXc7LrT1bZp8KwN6dYs3HgE0a", "Zp8KwN6dYs3HgE0a4fJ9vQ2mXc7LrT1b")
REQUIRED = {"identity": {"mode": "required", "token_secret": SECRETS[0]}}


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Reads settings that are written as a user would."""

    def read(document: Mapping[str, Any]) -> Settings:
        file = tmp_path / "bqgate.yaml"
        file.write_text(yaml.safe_dump(dict(document)), encoding="utf-8")
        return load_settings(file, {})

    return read


def test_the_same_settings_do_not_differ(read: Any) -> None:
    """Two readings of one file are alike, key by key."""
    assert differences(read(REQUIRED), read(REQUIRED)) == ()


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ({"server": {"port": 9999}}, "server.port"),
        ({"issuers": {"corp": {"issuer": "https://id.example", "audience": "gate"}}}, "issuers.corp"),
        ({"tiers": {"gold": {"daily_usd": 1, "monthly_usd": 2, "emergency_usd": 2}}}, "tiers.gold"),
        ({"tiers": {"standard": {"query_usd": 1}}}, "tiers.standard"),
        ({"customers": {"acme": {"projects": ["acme-prod"]}}}, "customers.acme"),
        ({"pricing": {"usd_per_tib": 7}}, "pricing.usd_per_tib"),
        ({"defaults": {"mode": "observe"}}, "defaults.mode"),
        ({"budgets": {"url": "redis://localhost/3"}}, "budgets.url"),
    ],
)
def test_a_difference_is_named_as_in_the_file(read: Any, section: dict[str, Any], path: str) -> None:
    """Keys by section and key, tiers, customers and issuers by their names; in both directions."""
    assert differences(read({}), read(section)) == (path,)
    assert differences(read(section), read({})) == (path,)


def test_another_password_is_a_difference_that_does_not_show_it(read: Any) -> None:
    """A URL with another password is another URL, though both are shown alike."""
    one, other = (read({"ledger": {"url": f"postgresql://gate:{each}@db/ledger"}}) for each in ("hunter2", "hunter3"))
    assert differences(one, other) == ("ledger.url",)


def test_a_running_gate_takes_over_what_is_listed_and_nothing_else(read: Any) -> None:
    """Every key that there is falls on one side; what sockets, stores and credentials were opened with waits."""
    settings = read(REQUIRED)
    known = {f"{name}.{key}" for name, model in SECTIONS.items() for key in model.model_fields}
    taken = {path for path in known if is_taken_over(path, settings, settings)}
    assert taken == LIVE_KEYS | LIVE_LOGIN_KEYS | {path for path in known if path.split(".")[0] in LIVE_SECTIONS}
    assert known >= LIVE_KEYS | LIVE_LOGIN_KEYS
    assert {"server.port", "upstream.url", "budgets.url", "ledger.url", "identity.mode"} <= known - taken
    assert not is_taken_over("issuers.corp", settings, settings)
    assert is_taken_over("tiers.gold", settings, settings)


def test_secrets_are_rotated_only_where_they_sign(read: Any) -> None:
    """A gate that was started open, or shall become so, goes on as it is until it is started anew."""
    required, is_open = read(REQUIRED), read({})
    rotated = read({"identity": {"mode": "required", "token_secret": SECRETS[1]}})
    assert differences(required, rotated) == ("identity.token_secret",)
    assert is_taken_over("identity.token_secret", required, rotated)
    assert not is_taken_over("identity.token_secret", is_open, required)
    assert not is_taken_over("identity.token_secret", required, is_open)


def test_the_docs_list_what_is_taken_over() -> None:
    """docs/settings.md names each key and section that a running gate takes over."""
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    _, _, said = page.partition("\n## What a running gate takes over\n")
    said, _, _ = said.partition("\n## ")
    names = LIVE_KEYS | LIVE_LOGIN_KEYS | LIVE_SECTIONS
    assert not {name for name in names if f"`{name}`" not in said}
    assert LIVE_SECTIONS <= SECTIONS.keys() | NAMED_SECTIONS.keys()
