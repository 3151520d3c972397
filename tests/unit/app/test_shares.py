import pytest

from bqgate.app.shares import degradation_of, failed_logins_per_minute
from bqgate.settings import load_settings


@pytest.mark.parametrize(("workers", "allowance_nanos", "failures"), [(1, 1_000_000_000, 30), (4, 250_000_000, 8)])
def test_workers_share_what_the_settings_allow_a_gate(workers: int, allowance_nanos: int, failures: int) -> None:
    """What may be spent unasked is never more, however many there are; a login may fail once at each."""
    variables = {"BQGATE_SERVER__WORKERS": str(workers), "BQGATE_BUDGETS__URL": "redis://c"}
    settings = load_settings(None, variables)
    assert degradation_of(settings).allowance_nanos == allowance_nanos
    assert failed_logins_per_minute(settings) == failures
