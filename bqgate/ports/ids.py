"""Make ids that nobody can guess, with one read of the system's randomness for many of them.

No port; used for what every query needs: its request's id, its hold's and its booking's. To ask the system each time
takes longer than most steps of a query. A process that is forked starts with randomness of its own.
"""

import os

_MADE_AT_ONCE = 256
_ID_BYTES = 16
_HEX_DIGITS = 2 * _ID_BYTES

# Ids that nobody has had yet.
_made: list[str] = []
os.register_at_fork(after_in_child=_made.clear)


def new_id() -> str:
    """128 random bits in 32 hexadecimal digits."""
    try:
        return _made.pop()
    except IndexError:
        text = os.urandom(_MADE_AT_ONCE * _ID_BYTES).hex()
        _made.extend(text[at : at + _HEX_DIGITS] for at in range(0, len(text), _HEX_DIGITS))
        return _made.pop()
