"""Read prices in the options of the plug-ins that come with the gate. Pure.

Written as everywhere in the settings: a quoted decimal of dollars, or a whole number. They are nano-dollars inside.
"""

from typing import Annotated

from pydantic import BeforeValidator

from bqgate.domain.money import parse_usd


def _read(value: object) -> int:
    is_amount = isinstance(value, str | int) and not isinstance(value, bool)
    if not is_amount:
        raise ValueError('must be an amount in dollars, in quotes, like "0.02"')
    return parse_usd(str(value))


UsdNanos = Annotated[int, BeforeValidator(_read)]
