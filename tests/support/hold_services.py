"""Place holds as the settings have it by themselves: closed for enforce, open for observe."""

from collections.abc import Mapping

from bqgate.admission.allowance import Allowance
from bqgate.admission.hold_service import HoldService
from bqgate.domain.degradation import Conduct, Degradation, System
from bqgate.domain.money import NANOS_PER_USD
from bqgate.ports import BudgetStore, Clock, Ledger


class CountingTelemetry:
    """Keeps what was counted."""

    def __init__(self) -> None:
        self.counted: list[tuple[str, dict[str, str]]] = []

    def count(self, name: str, /, amount: int = 1, **labels: str) -> None:
        self.counted.append((name, labels))

    def observe(self, name: str, value_s: float, /, **labels: str) -> None:
        pass

    def log(self, event: str, /, **fields: object) -> None:
        pass


def hold_service_over(
    budgets: BudgetStore,
    ledger: Ledger,
    clock: Clock,
    *,
    chosen: Mapping[System, Conduct] | None = None,
    allowance_nanos: int = NANOS_PER_USD,
    telemetry: CountingTelemetry | None = None,
) -> HoldService:
    """A HoldService over two stores."""
    return HoldService(
        budgets=budgets,
        ledger=ledger,
        under_way={},
        degradation=Degradation(chosen or {}, allowance_nanos),
        allowance=Allowance(clock),
        clock=clock,
        telemetry=telemetry or CountingTelemetry(),
    )
