"""Space a customer's throttled queries: the less is left, the farther apart. Pure.

Called for a Throttle. The interval is the tier's wait where the first throttle threshold is passed,
grows in a straight line with the share in use, and is SLOWEST_FACTOR times the wait at the limit and beyond it (grace).
Shares are parts per million, times milliseconds.
"""

from bqgate.domain.budget import Balance
from bqgate.domain.units import PPM

# At the limit a tier that lets a query go every 2 s lets one go every 8 s.
SLOWEST_FACTOR = 4


def interval_ms(wait_ms: int, balances: tuple[Balance, ...]) -> int:
    """The time between two throttled queries of one customer, by its tightest budget.

    Args:
        wait_ms: the wait at the threshold.
        balances: the budgets after the hold was placed.
    """
    deepest_ppm = max((_depth_ppm(balance) for balance in balances if not balance.window.is_observed), default=0)
    return wait_ms + wait_ms * (SLOWEST_FACTOR - 1) * deepest_ppm // PPM


def _depth_ppm(balance: Balance) -> int:
    """How far between threshold (0) and limit (PPM) the share in use is."""
    used_ppm, start_ppm = balance.used_ppm, balance.window.throttle_ppm
    if used_ppm >= PPM:
        return PPM
    if start_ppm is None or start_ppm >= PPM:
        return 0
    return max(used_ppm - start_ppm, 0) * PPM // (PPM - start_ppm)
