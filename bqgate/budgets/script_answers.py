"""Read what the Lua scripts answer into the domain's values. Pure.

Used by scripts alone. Answers are decimal text, for sums without a limit may pass what Lua's doubles hold exactly; they
are asserted to be no less than zero. Amounts are nano-dollars.
"""

from bqgate.budgets.keys import from_micros, unescape
from bqgate.budgets.refill import UnknownWindows
from bqgate.domain.budget import Balance, Rollover, Window, carried_nanos
from bqgate.domain.cost_breaker import CostBreaker


def expect_known(outcome: str, rest: list[str], windows: tuple[Window, ...]) -> None:
    """Raise UnknownWindows where a script says so; `rest` is then since when, and numbers of its windows, from 1."""
    if outcome == "unknown":
        unknown_since, *numbers = rest
        raise UnknownWindows(tuple(windows[int(number) - 1] for number in numbers), unknown_since)


def balances_of(
    windows: tuple[Window, ...], asked: tuple[Window, ...], values: list[str], *, held_nanos: int = 0
) -> tuple[Balance, ...]:
    """Balances of the windows; the windows after them in `asked` are those whose unused limit is carried over.

    `held_nanos` have been held in each of the windows since the answer was taken.
    """
    assert len(values) == 3 * len(asked), values
    captured, held = [int(value) for value in values[::3]], [int(value) for value in values[1::3]]
    assert min((*captured, *held), default=0) >= 0, values
    balances = []
    for place, window in enumerate(windows):
        started_us = values[3 * place + 2]
        started_at = from_micros(started_us) if started_us else None
        rolled_over = 0 if window.rollover is None else _rolled_over(window.rollover, asked, captured, held)
        balances.append(Balance(window, captured[place], held[place] + held_nanos, started_at, rolled_over))
    return tuple(balances)


def _rolled_over(rollover: Rollover, asked: tuple[Window, ...], captured: list[int], held: list[int]) -> int:
    before_id = rollover.window.id
    place = next(place for place, each in enumerate(asked) if each.id == before_id)
    return carried_nanos(rollover, captured_nanos=captured[place], held_nanos=held[place])


def breaker_of(values: list[str]) -> CostBreaker | None:
    """The breaker of its four fields, all text; None where there is none."""
    opened_at_us, until_us, probe, emergency_nanos = values
    if not opened_at_us:
        return None
    return CostBreaker(
        from_micros(opened_at_us),
        from_micros(until_us),
        unescape(probe) or None,
        int(emergency_nanos) if emergency_nanos else None,
    )
