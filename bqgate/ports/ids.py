"""Make ids that nobody can guess, with one read of the system's randomness for many of them.

No port; used for what every query needs: its request's id, its hold's and its booking's. To ask the system each time
takes longer than most steps of a query. A process that is forked starts with randomness of its own.

An id begins with the second in which it was made, so that those of one time lie together in a database's indexes: with
millions of entries each booking would else write to pages that nothing else touches, once per index.
"""

import os
import time

_MADE_AT_ONCE = 256
_RANDOM_BYTES = 12
_RANDOM_DIGITS = 2 * _RANDOM_BYTES

# Ids that nobody has had yet.
_made: list[str] = []
os.register_at_fork(after_in_child=_made.clear)


def new_id() -> str:
    """The seconds since 1970 and 96 random bits, in 32 hexadecimal digits. Of a quiet gate the seconds are old ones."""
    try:
        return _made.pop()
    except IndexError:
        second = f"{int(time.time()):08x}"  # noqa: TID251 - nothing is decided by it
        text = os.urandom(_MADE_AT_ONCE * _RANDOM_BYTES).hex()
        _made.extend(second + text[at : at + _RANDOM_DIGITS] for at in range(0, len(text), _RANDOM_DIGITS))
        return _made.pop()
