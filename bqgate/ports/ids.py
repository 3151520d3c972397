"""Make ids that nobody can guess, with one read of the system's randomness for many of them.

No port; used for what every query needs: its request's id, its hold's and its booking's. To ask the system each time
takes longer than most steps of a query. A process that is forked starts with randomness of its own.
"""

import os

_READ_BYTES = 4_096
_ID_BYTES = 16


class _Randomness:
    """Bytes from the system that nobody has had yet."""

    def __init__(self) -> None:
        self._bytes = b""
        self._at = 0

    def take(self, size: int) -> bytes:
        """So many of them."""
        if self._at + size > len(self._bytes):
            self._bytes, self._at = os.urandom(_READ_BYTES), 0
        self._at += size
        return self._bytes[self._at - size : self._at]

    def forget(self) -> None:
        """Begin with new ones."""
        self._bytes, self._at = b"", 0


_RANDOMNESS = _Randomness()
os.register_at_fork(after_in_child=_RANDOMNESS.forget)


def new_id() -> str:
    """128 random bits in 32 hexadecimal digits."""
    return _RANDOMNESS.take(_ID_BYTES).hex()
