"""Notice that Redis has lost writes, and say how long other gates need to put back what they hold.

Used by redis_store. A window that Redis has lost is filled with what the ledger knows and what this gate holds; a hold
that another gate has placed, and that the ledger does not know yet, is in neither. That gate puts it back within a
second. So whoever has met an account before, and finds that Redis goes on with another history of it (history.lua),
lets so much time pass before it fills a window. Pure: the caller says what time it is.
"""

from collections import OrderedDict
from dataclasses import dataclass

# How long other gates need: they keep their holds once a second (admission.hold_service), and may be busy.
PUT_BACK_S = 2.0

# Before the name of a history that began because Redis knew none; other names are of windows that were dropped.
FIRST = "first:"

_ACCOUNTS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class _Met:
    history: str
    filled_from_s: float


class Wipes:
    """The histories of the accounts that this gate has met lately. `put_back_s` 0: it is the only gate."""

    def __init__(self, put_back_s: float) -> None:
        self._put_back_s = put_back_s
        self._met: OrderedDict[str, _Met] = OrderedDict()

    def meet(self, account: str, history: str, now_s: float) -> float:
        """Note that Redis goes on with this history of an account; for how many seconds no window may be filled."""
        met = self._met.get(account)
        if met is None or met.history != history:
            is_lost = met is not None and _is_lost(met.history, history)
            met = self._met[account] = _Met(history, now_s + self._put_back_s if is_lost else now_s)
            if len(self._met) > _ACCOUNTS_MAX:
                self._met.popitem(last=False)
        self._met.move_to_end(account)
        return met.filled_from_s - now_s if met.filled_from_s > now_s else 0.0


def _is_lost(before: str, history: str) -> bool:
    """Whether writes may be lost between two histories that differ; else windows were dropped, and nothing else."""
    server_before, _, _ = before.partition("/")
    server, _, name = history.partition("/")
    return server != server_before or name.startswith(FIRST)
