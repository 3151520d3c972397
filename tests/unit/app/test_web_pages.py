"""Which names a gate knows as its own, by its settings."""

from pathlib import Path

from bqgate.app.web_pages import known_names, page_rules
from bqgate.settings import load_settings


def test_a_gate_knows_the_names_of_its_settings_and_of_its_machine(tmp_path: Path) -> None:
    """Where it listens, where callers reach it, what stands behind it, and what it is told; no addresses."""
    file = tmp_path / "bqgate.yaml"
    file.write_text(
        "server: {host: Inside.example, allowed_hosts: [Front.example., '*.below.example', 10.0.0.7]}\n"
        "identity: {public_url: 'https://public.example:8443'}\n"
        "upstream: {url: 'https://endpoint.p.example'}\n"
    )
    names = known_names(load_settings(file, {}), machine="Box_7")
    expected = {"inside.example", "front.example", "*.below.example", "public.example", "endpoint.p.example", "box_7"}
    assert expected <= names
    assert "localhost" in names
    assert not {"box", "10.0.0.1", "127.0.0.1", "*"} & names
    assert not {"", "none"} & known_names(load_settings(None, {}), machine="a machine")


def test_hosts_are_looked_at_where_a_page_needs_no_credential() -> None:
    """Before an open gate, wherever names are listed, and of what is told without a login."""
    required = {
        "BQGATE_IDENTITY__MODE": "required",
        "BQGATE_IDENTITY__TOKEN_SECRET": "kTq3vXw8ZbN5sLr1yHd6mJf9cPa2gUe7",
    }
    listed = {"BQGATE_SERVER__ALLOWED_HOSTS": "gate.example, front.example"}
    metrics = {"BQGATE_IDENTITY__OPEN_METRICS": "true"}
    told = []
    for environ in ({}, required, required | listed, required | metrics):
        rules = page_rules(load_settings(None, environ), machine="box")
        told.append((rules.refuses_foreign_pages, rules.checks_every_path, set(rules.open_paths)))
    assert told == [
        (True, True, set()),
        (False, False, set()),
        (False, True, set()),
        (False, False, {"/metrics"}),
    ]
