"""Tests of the settings of the mirror: what it takes, and what is refused with what to write instead."""

from pathlib import Path

import pytest

from tests.unit.settings.test_load import faults, load


def test_without_it_there_is_no_mirror(tmp_path: Path) -> None:
    """Off by default."""
    assert load(tmp_path, "ledger: {}").ledger.mirror is None


def test_a_mirror_has_a_dataset_and_readers(tmp_path: Path) -> None:
    """As written."""
    section = load(
        tmp_path,
        "upstream: {credentials: service_account}\n"
        "ledger: {mirror: acme-finops.bqgate, mirror_interval_s: 300, mirror_admins: ['group:finops@example.com']}",
    ).ledger
    assert (section.mirror, section.mirror_interval_s) == ("acme-finops.bqgate", 300)
    assert section.mirror_admins == ("group:finops@example.com",)


def test_callers_credentials_alone_are_not_enough(tmp_path: Path) -> None:
    """Nobody's token writes the mirror; a key file beside them does."""
    (fault,) = faults(tmp_path, "ledger: {mirror: acme-finops.bqgate}")
    assert "upstream.service_account_file" in fault
    (tmp_path / "key.json").write_text("{}")
    text = f"ledger: {{mirror: acme-finops.bqgate}}\nupstream: {{service_account_file: {tmp_path / 'key.json'}}}"
    assert load(tmp_path, text).ledger.mirror == "acme-finops.bqgate"


def test_readers_of_no_mirror_are_a_mistake(tmp_path: Path) -> None:
    """Whoever names them means to have one."""
    (fault,) = faults(tmp_path, "ledger: {mirror_admins: ['group:finops@example.com']}")
    assert "has no effect without ledger.mirror" in fault


@pytest.mark.parametrize("dataset", ["bqgate", "a.b.c", "acme-finops.bq-gate", "acme-finops:bqgate", "", "x`y.z"])
def test_what_is_no_dataset_is_refused(tmp_path: Path, dataset: str) -> None:
    """It must name its project, in the form of standard SQL."""
    (fault, *_) = faults(tmp_path, f"upstream: {{credentials: service_account}}\nledger: {{mirror: '{dataset}'}}")
    assert "project.dataset" in fault


@pytest.mark.parametrize(
    "member", ["finops@example.com", "group:finops", "allUsers", 'user:a"b@example.com', "domain:"]
)
def test_who_is_nobody_to_iam_is_refused(tmp_path: Path, member: str) -> None:
    """All users are nobody here: that would show every row to everybody."""
    text = f"upstream: {{credentials: service_account}}\nledger: {{mirror: acme-finops.d, mirror_admins: ['{member}']}}"
    (fault,) = faults(tmp_path, text)
    assert "nobody to IAM" in fault
