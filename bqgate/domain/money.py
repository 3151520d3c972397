"""Count money in whole nano-dollars, the unit of google.type.Money.

Used wherever a cost, a price, a limit or a balance is written. Nothing here rounds down a charge. Every amount stays
below 2**53, because Redis Lua computes in doubles: 9.0 million dollars is the largest amount there is.
Errors: ValueError with the reason, for text that is not an amount.
"""

from decimal import Decimal, InvalidOperation

NANOS_PER_USD = 1_000_000_000
MAX_NANOS = 2**53 - 1
_CENT_NANOS = NANOS_PER_USD // 100


def parse_usd(text: str) -> int:
    """Read a decimal string of dollars ("5.00") as nano-dollars.

    Raises:
        ValueError: not a plain decimal, negative, finer than a nano-dollar, or 2**53 nano-dollars and more.
    """
    try:
        amount = Decimal(text.strip())
    except InvalidOperation:
        raise ValueError(f'{text!r} is not an amount in dollars; write it like "12.50"') from None
    if not amount.is_finite():
        raise ValueError(f"{text!r} is not a finite amount")
    if amount < 0:
        raise ValueError(f"{text!r} is negative")
    if amount.adjusted() > 7:  # 10**8 dollars is far past the bound; do not multiply absurd exponents out
        raise ValueError(f"{text!r} is more than the largest amount, 9007199.25 dollars")
    nanos = amount * NANOS_PER_USD
    if nanos != nanos.to_integral_value():
        raise ValueError(f"{text!r} is finer than a nano-dollar")
    if nanos > MAX_NANOS:
        raise ValueError(f"{text!r} is more than the largest amount, 9007199.25 dollars")
    return int(nanos)


def format_usd(nanos: int, *, places: int = 2) -> str:
    """Write nano-dollars as a decimal string of dollars: at least `places` decimals, never more than it needs.

    The text is exact: parse_usd(format_usd(n)) == n for every n >= 0.
    """
    sign = "-" if nanos < 0 else ""
    whole, rest = divmod(abs(nanos), NANOS_PER_USD)
    decimals = f"{rest:09d}".rstrip("0").ljust(places, "0")
    return f"{sign}{whole}.{decimals}" if decimals else f"{sign}{whole}"


def show_usd(nanos: int, *, rounds_up: bool = True) -> str:
    """Write nano-dollars for people: in cents, and below ten cents with three digits, so that little never reads as 0.

    Costs and what is spent round up; say `rounds_up=False` for what is left and what is allowed. Then numbers in one
    sentence agree: what does not fit does not fit when its numbers are added up as shown either. Programs get
    format_usd, which is exact.
    """
    step = _CENT_NANOS if abs(nanos) >= 10 * _CENT_NANOS else 10 ** max(len(str(abs(nanos))) - 3, 0)
    return format_usd((-(-nanos // step) if rounds_up else nanos // step) * step)


def check_nanos(nanos: int) -> int:
    """Assert that an amount can cross into Redis and back without losing a digit; return it."""
    assert 0 <= nanos <= MAX_NANOS, f"{nanos} nano-dollars is outside 0..2**53-1"
    return nanos
