import pytest

from bqgate.settings import SettingsInvalid, load_settings, rules


def test_advice_without_its_package_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wants advice is told at the start what to install; whoever does not needs nothing."""
    monkeypatch.setattr(rules, "find_spec", lambda _name: None)
    load_settings(None, {})
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(None, {"BQGATE_REFUSALS__ADVICE": "text"})
    (fault,) = caught.value.faults
    assert fault.path == "refusals.advice"
    assert "pip install 'bqgate[advice]'" in fault.message


def test_advice_with_its_package_is_taken() -> None:
    """dry_run needs no more than text does."""
    assert load_settings(None, {"BQGATE_REFUSALS__ADVICE": "dry_run"}).refusals.advice == "dry_run"
